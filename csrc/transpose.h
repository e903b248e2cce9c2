/* A LANES x LANES block from rows to columns: out[c][r] = in[r][c]. */

#if defined(NTK_AVX512) && !REAL_IS_FLOAT
static inline void NAME(transpose)(const real *in, ptrdiff_t in_stride, real *out, ptrdiff_t out_stride)
{
    __m512d r[8], t[8];
    for (int k = 0; k < 8; k++)
        r[k] = _mm512_loadu_pd(in + k * in_stride);
    for (int k = 0; k < 8; k += 2) {
        t[k] = _mm512_unpacklo_pd(r[k], r[k + 1]);
        t[k + 1] = _mm512_unpackhi_pd(r[k], r[k + 1]);
    }
    for (int odd = 0; odd < 2; odd++) {
        const __m512d a = _mm512_shuffle_f64x2(t[odd], t[odd + 2], 0x88), b = _mm512_shuffle_f64x2(t[odd], t[odd + 2], 0xdd);
        const __m512d c = _mm512_shuffle_f64x2(t[odd + 4], t[odd + 6], 0x88);
        const __m512d d = _mm512_shuffle_f64x2(t[odd + 4], t[odd + 6], 0xdd);
        _mm512_storeu_pd(out + (odd + 0) * out_stride, _mm512_shuffle_f64x2(a, c, 0x88));
        _mm512_storeu_pd(out + (odd + 4) * out_stride, _mm512_shuffle_f64x2(a, c, 0xdd));
        _mm512_storeu_pd(out + (odd + 2) * out_stride, _mm512_shuffle_f64x2(b, d, 0x88));
        _mm512_storeu_pd(out + (odd + 6) * out_stride, _mm512_shuffle_f64x2(b, d, 0xdd));
    }
}

#elif defined(NTK_AVX512)
static inline void NAME(transpose)(const real *in, ptrdiff_t in_stride, real *out, ptrdiff_t out_stride)
{
    __m512 r[16], t[16];
    for (int k = 0; k < 16; k++)
        r[k] = _mm512_loadu_ps(in + k * in_stride);
    for (int k = 0; k < 16; k += 2) {
        t[k] = _mm512_unpacklo_ps(r[k], r[k + 1]);
        t[k + 1] = _mm512_unpackhi_ps(r[k], r[k + 1]);
    }
    for (int k = 0; k < 16; k += 4)
        for (int odd = 0; odd < 2; odd++) { /* r[k + c]: column c of each 128-bit lane, rows k to k + 3 */
            const __m512d low = _mm512_castps_pd(t[k + odd]), high = _mm512_castps_pd(t[k + odd + 2]);
            r[k + 2 * odd] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            r[k + 2 * odd + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    for (int c = 0; c < 4; c++) {
        const __m512 a = _mm512_shuffle_f32x4(r[c], r[c + 4], 0x88), b = _mm512_shuffle_f32x4(r[c], r[c + 4], 0xdd);
        const __m512 d = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0x88), e = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0xdd);
        _mm512_storeu_ps(out + (c + 0) * out_stride, _mm512_shuffle_f32x4(a, d, 0x88));
        _mm512_storeu_ps(out + (c + 8) * out_stride, _mm512_shuffle_f32x4(a, d, 0xdd));
        _mm512_storeu_ps(out + (c + 4) * out_stride, _mm512_shuffle_f32x4(b, e, 0x88));
        _mm512_storeu_ps(out + (c + 12) * out_stride, _mm512_shuffle_f32x4(b, e, 0xdd));
    }
}

#elif defined(NTK_AVX2) && !REAL_IS_FLOAT
static inline void NAME(transpose)(const real *in, ptrdiff_t in_stride, real *out, ptrdiff_t out_stride)
{
    __m256d r[4];
    for (int k = 0; k < 4; k++)
        r[k] = _mm256_loadu_pd(in + k * in_stride);
    const __m256d a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const __m256d c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    _mm256_storeu_pd(out, _mm256_permute2f128_pd(a, c, 0x20));
    _mm256_storeu_pd(out + out_stride, _mm256_permute2f128_pd(b, d, 0x20));
    _mm256_storeu_pd(out + 2 * out_stride, _mm256_permute2f128_pd(a, c, 0x31));
    _mm256_storeu_pd(out + 3 * out_stride, _mm256_permute2f128_pd(b, d, 0x31));
}

#elif defined(NTK_AVX2)
static inline void NAME(transpose)(const real *in, ptrdiff_t in_stride, real *out, ptrdiff_t out_stride)
{
    __m256 r[8], t[8];
    for (int k = 0; k < 8; k++)
        r[k] = _mm256_loadu_ps(in + k * in_stride);
    for (int k = 0; k < 8; k += 2) {
        t[k] = _mm256_unpacklo_ps(r[k], r[k + 1]);
        t[k + 1] = _mm256_unpackhi_ps(r[k], r[k + 1]);
    }
    for (int k = 0; k < 8; k += 4)
        for (int odd = 0; odd < 2; odd++) {
            const __m256d low = _mm256_castps_pd(t[k + odd]), high = _mm256_castps_pd(t[k + odd + 2]);
            r[k + 2 * odd] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
            r[k + 2 * odd + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
        }
    for (int c = 0; c < 4; c++) {
        _mm256_storeu_ps(out + c * out_stride, _mm256_permute2f128_ps(r[c], r[c + 4], 0x20));
        _mm256_storeu_ps(out + (c + 4) * out_stride, _mm256_permute2f128_ps(r[c], r[c + 4], 0x31));
    }
}

#else
static inline void NAME(transpose)(const real *in, ptrdiff_t in_stride, real *out, ptrdiff_t out_stride)
{
    (void)in_stride;
    (void)out_stride;
    *out = *in;
}
#endif
