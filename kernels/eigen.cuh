/* Eigenvalues of symmetric matrices. Behind it: eigen.cu, filters2d.cu, classify2d.cu, filters3d.cu.

   ref   O. K. Smith, "Eigenvalues of a symmetric 3x3 matrix", CACM 4(4), 1961, as in backends/_numba/eigen3.py */

/* Eigenvalues of [[xx xy] [xy yy]], larger first. */
__device__ __forceinline__ float2 eigen2(float xx, float xy, float yy) {
    const float mean = 0.5f * (xx + yy), gap = 0.5f * (xx - yy), root = sqrtf(fmaf(gap, gap, xy * xy));
    return make_float2(mean + root, mean - root);
}

__device__ __forceinline__ float polynomial(const float (&c)[8], float u) {
    float s = c[7];
#pragma unroll
    for (int i = 6; i >= 0; --i) s = fmaf(s, u, c[i]);
    return s;
}

/* Eigenvalues, largest first, of zz zy zx yy yx xx. The determinant is formed in double precision, and 1 - |cos|
   enters a polynomial for the sine: near equal eigenvalues the arc cosine would lose half of its digits. */
__device__ __forceinline__ void eigen3(const float (&m)[6], float (&value)[3]) {
    // cos and sin/s of 2/3 asin(s), as polynomials of s * s
    constexpr float COS[8] = {1.0f, -0.22222427f, -0.06576121f, -0.035390735f,
                              -0.012547846f, -0.050373368f, 0.058481388f, -0.07087102f};
    constexpr float SIN[8] = {0.6666667f, 0.061729494f, 0.026361724f, 0.016110037f,
                              0.005507605f, 0.02644689f, -0.03165306f, 0.037768725f};
    constexpr float ROOT3 = 1.7320508f;
    constexpr double THIRD = 1.0 / 3, TINY = 1e-300;  // TINY keeps 0/0 out of multiples of the identity
    double a = m[0], b = m[3], c = m[5];
    const double d = m[1], e = m[2], f = m[4], mean = (a + b + c) * THIRD;
    a -= mean;
    b -= mean;
    c -= mean;
    const double squares = fma(a, a, fma(b, b, c * c));
    const double spread = (0.5 * squares + fma(d, d, fma(e, e, f * f))) * THIRD;
    const double det = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e);
    const double p = sqrt(spread);
    const double cosine = 0.5 * det / (spread * p + TINY), rest = 0.5 - 0.5 * fabs(cosine);
    const float u = (float)(rest > 0 ? rest : 0.0);  // square of the sine of half the angle
    const float middle = (float)mean, size = (float)p;
    const float cos = size * polynomial(COS, u), sin = size * sqrtf(u) * polynomial(SIN, u);
    const float twice = cos + cos, far = fmaf(ROOT3, sin, cos), near = fmaf(-ROOT3, sin, cos);
    const bool acute = cosine >= 0;
    value[0] = middle + (acute ? twice : far);
    value[1] = middle + (acute ? 0.0f - near : near);
    value[2] = middle - (acute ? far : twice);
}
