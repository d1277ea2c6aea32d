/* All filters of all scales of pre-smoothed planes, stored.

   in    smooth (steps, slices, rows, columns): planes over the box that `frame` describes
         taps   (steps, 3, TAPS) along z, y, x;  planes (steps, 6): place of each filter's first plane, -1: not wanted
   out   out (planes, slices, height, width): the pixels of the core, whose first is (y0, x0) of the image
   cost  8 planes: reads 4 B, writes 32 B a pixel of device memory; about 50 numbers through shared memory and 150
         operations, the halo included
   host  gpuseg/backends/_cuda/flat.py */

constexpr int TX = 64, TY = 16, THREADS = 256;

/* grid: all tiles of all slices, 1, steps. */
__global__ void __launch_bounds__(THREADS) filters2d(const float* __restrict__ smooth, const float* __restrict__ taps,
                                                     const int* __restrict__ planes, const int* __restrict__ frame,
                                                     int slices, int y0, int x0, int height, int width,
                                                     float* __restrict__ out) {
    __shared__ Tile<TX, TY> tile;
    const Frame f = framed(frame);
    const int step = blockIdx.z, beside = (width + TX - 1) / TX, down = (height + TY - 1) / TY;
    const int z = blockIdx.x / beside / down, y = blockIdx.x / beside % down * TY, x = blockIdx.x % beside * TX;
    const float* __restrict__ plane = smooth + ((long long)step * slices + z) * f.rows * f.columns;
    float* __restrict__ corner = out + ((long long)z * height + y) * width + x;
    const long long apart = (long long)slices * height * width;
    filter_tile(tile, plane, f, y0 + y, x0 + x, taps + step * 3 * TAPS, planes + step * 6, [] {},
                [=](int, int p, int r, int c, float value) {
                    if (y + r < height && x + c < width) corner[p * apart + (long long)r * width + c] = value;
                });
}
