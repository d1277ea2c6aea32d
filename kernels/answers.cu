/* What is made of probabilities before they leave the device: one byte a pixel instead of four a class.

   in    proba (count, classes), or values (count) of 0 to 1
   out   likeliest: column of the largest, the first of equals;  doubt: 1 less its lead over the next
         stretch8, stretch16: values times `most`, rounded half to even
   cost  reads and writes everything once: bound by memory
   host  gpuseg/backends/_cuda/answers.py */

__global__ void likeliest(const float* __restrict__ proba, long long count, int classes, unsigned char* __restrict__ out) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        const float* __restrict__ p = proba + i * classes;
        int best = 0;
        float most = p[0];
        for (int k = 1; k < classes; ++k)
            if (p[k] > most) {
                best = k;
                most = p[k];
            }
        out[i] = best;
    }
}

__global__ void doubt(const float* __restrict__ proba, long long count, int classes, float* __restrict__ out) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        const float* __restrict__ p = proba + i * classes;
        float first = p[0], second = p[0];
        for (int k = 1; k < classes; ++k) {
            if (p[k] > first) {
                second = first;
                first = p[k];
            } else if (k == 1 || p[k] > second) {
                second = p[k];
            }
        }
        out[i] = classes == 1 ? 0.f : 1.f - (first - second);
    }
}

template <typename T>
__device__ void stretch(const float* __restrict__ values, long long count, float most, T* __restrict__ out) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride)
        out[i] = (T)rintf(most * values[i]);
}

__global__ void stretch8(const float* __restrict__ values, long long count, float most, unsigned char* __restrict__ out) {
    stretch(values, count, most, out);
}

__global__ void stretch16(const float* __restrict__ values, long long count, float most, unsigned short* __restrict__ out) {
    stretch(values, count, most, out);
}
