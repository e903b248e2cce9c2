/* The vector vocabulary of one instruction set and one real type.
 *
 * Included once per (instruction set, real type), after REAL_IS_FLOAT and one of NTK_AVX512, NTK_AVX2 (or neither: the
 * baseline, plain C on one lane that compilers vectorise by themselves) are set.
 *
 *   vreal        LANES reals              vmask    LANES truth values
 *   vindex       LANES table positions, made from the bits of a real by vreal_index
 *                vreal_power: 2^k of the whole number k that vreal_index would read, where it is in range
 *   PIECES       columns of a coefficient table that vreal_lookup can address: half for cosine >= 0, half for cosine < 0
 *   OPPOSITE     what vreal_index adds for cosine < 0; even, so that a tie rounds to the right half
 */

#if REAL_IS_FLOAT
typedef float real;
#define ROUNDING_SHIFT 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer and leaves it in the low bits */
#define LEAST_NORMAL FLT_MIN
#else
typedef double real;
#define ROUNDING_SHIFT 6755399441055744.0 /* 1.5 * 2^52 */
#define LEAST_NORMAL DBL_MIN
#endif

#if defined(NTK_AVX512) && !REAL_IS_FLOAT
#define LANES 8
#define PIECES 16
#define OPPOSITE 8
typedef __m512d vreal;
typedef __mmask8 vmask;
typedef __m512i vindex;
static inline vreal vreal_set(real a) { return _mm512_set1_pd(a); }
static inline vreal vreal_load(const real *p) { return _mm512_loadu_pd(p); }
static inline void vreal_store(real *p, vreal a) { _mm512_storeu_pd(p, a); }
static inline void vreal_stream(real *p, vreal a) { _mm512_stream_pd(p, a); }
static inline vreal vreal_add(vreal a, vreal b) { return _mm512_add_pd(a, b); }
static inline vreal vreal_sub(vreal a, vreal b) { return _mm512_sub_pd(a, b); }
static inline vreal vreal_mul(vreal a, vreal b) { return _mm512_mul_pd(a, b); }
static inline vreal vreal_div(vreal a, vreal b) { return _mm512_div_pd(a, b); }
static inline vreal vreal_fma(vreal a, vreal b, vreal c) { return _mm512_fmadd_pd(a, b, c); }
static inline vreal vreal_sqrt(vreal a) { return _mm512_sqrt_pd(a); }
static inline vreal vreal_abs(vreal a) { return _mm512_abs_pd(a); }
static inline vreal vreal_max(vreal a, vreal b) { return _mm512_max_pd(a, b); }
static inline vreal vreal_min(vreal a, vreal b) { return _mm512_min_pd(a, b); }
static inline vmask vreal_less(vreal a, vreal b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
static inline vreal vreal_select(vmask m, vreal yes, vreal no) { return _mm512_mask_blend_pd(m, no, yes); }
static inline int vmask_any(vmask m) { return m != 0; }
static inline real vreal_largest(vreal a) { return _mm512_reduce_max_pd(a); }
static inline vindex vreal_index(vreal shifted) { return _mm512_castpd_si512(shifted); }
static inline vreal vreal_power(vreal shifted)
{
    const __m512i k = _mm512_slli_epi64(_mm512_castpd_si512(shifted), 52);
    return _mm512_castsi512_pd(_mm512_add_epi64(k, _mm512_castpd_si512(_mm512_set1_pd(1))));
}
static inline vreal vreal_lookup(const real *table, vindex i)
{
    return _mm512_permutex2var_pd(_mm512_load_pd(table), i, _mm512_load_pd(table + 8));
}
static inline vreal vreal_scale_product(double a, const double *b)
{
    return _mm512_mul_pd(_mm512_set1_pd(a), _mm512_loadu_pd(b));
}

#elif defined(NTK_AVX512)
#define LANES 16
#define PIECES 16
#define OPPOSITE 8
typedef __m512 vreal;
typedef __mmask16 vmask;
typedef __m512i vindex;
static inline vreal vreal_set(real a) { return _mm512_set1_ps(a); }
static inline vreal vreal_load(const real *p) { return _mm512_loadu_ps(p); }
static inline void vreal_store(real *p, vreal a) { _mm512_storeu_ps(p, a); }
static inline void vreal_stream(real *p, vreal a) { _mm512_stream_ps(p, a); }
static inline vreal vreal_add(vreal a, vreal b) { return _mm512_add_ps(a, b); }
static inline vreal vreal_sub(vreal a, vreal b) { return _mm512_sub_ps(a, b); }
static inline vreal vreal_mul(vreal a, vreal b) { return _mm512_mul_ps(a, b); }
static inline vreal vreal_div(vreal a, vreal b) { return _mm512_div_ps(a, b); }
static inline vreal vreal_fma(vreal a, vreal b, vreal c) { return _mm512_fmadd_ps(a, b, c); }
static inline vreal vreal_sqrt(vreal a) { return _mm512_sqrt_ps(a); }
static inline vreal vreal_abs(vreal a) { return _mm512_abs_ps(a); }
static inline vreal vreal_max(vreal a, vreal b) { return _mm512_max_ps(a, b); }
static inline vreal vreal_min(vreal a, vreal b) { return _mm512_min_ps(a, b); }
static inline vmask vreal_less(vreal a, vreal b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vreal vreal_select(vmask m, vreal yes, vreal no) { return _mm512_mask_blend_ps(m, no, yes); }
static inline int vmask_any(vmask m) { return m != 0; }
static inline real vreal_largest(vreal a) { return _mm512_reduce_max_ps(a); }
static inline vindex vreal_index(vreal shifted) { return _mm512_castps_si512(shifted); }
static inline vreal vreal_power(vreal shifted)
{
    const __m512i k = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(k, _mm512_castps_si512(_mm512_set1_ps(1))));
}
static inline vreal vreal_lookup(const real *table, vindex i) { return _mm512_permutexvar_ps(i, _mm512_load_ps(table)); }
static inline vreal vreal_scale_product(double a, const double *b)
{
    __m512d s = _mm512_set1_pd(a);
    __m256 low = _mm512_cvtpd_ps(_mm512_mul_pd(s, _mm512_loadu_pd(b)));
    __m256 high = _mm512_cvtpd_ps(_mm512_mul_pd(s, _mm512_loadu_pd(b + 8)));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

#elif defined(NTK_AVX2) && !REAL_IS_FLOAT
#define LANES 4
#define PIECES 4
#define OPPOSITE 2
typedef __m256d vreal;
typedef __m256d vmask;
typedef __m256i vindex;
static inline vreal vreal_set(real a) { return _mm256_set1_pd(a); }
static inline vreal vreal_load(const real *p) { return _mm256_loadu_pd(p); }
static inline void vreal_store(real *p, vreal a) { _mm256_storeu_pd(p, a); }
static inline void vreal_stream(real *p, vreal a) { _mm256_stream_pd(p, a); }
static inline vreal vreal_add(vreal a, vreal b) { return _mm256_add_pd(a, b); }
static inline vreal vreal_sub(vreal a, vreal b) { return _mm256_sub_pd(a, b); }
static inline vreal vreal_mul(vreal a, vreal b) { return _mm256_mul_pd(a, b); }
static inline vreal vreal_div(vreal a, vreal b) { return _mm256_div_pd(a, b); }
static inline vreal vreal_fma(vreal a, vreal b, vreal c) { return _mm256_fmadd_pd(a, b, c); }
static inline vreal vreal_sqrt(vreal a) { return _mm256_sqrt_pd(a); }
static inline vreal vreal_abs(vreal a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
static inline vreal vreal_max(vreal a, vreal b) { return _mm256_max_pd(a, b); }
static inline vreal vreal_min(vreal a, vreal b) { return _mm256_min_pd(a, b); }
static inline vmask vreal_less(vreal a, vreal b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
static inline vreal vreal_select(vmask m, vreal yes, vreal no) { return _mm256_blendv_pd(no, yes, m); }
static inline int vmask_any(vmask m) { return _mm256_movemask_pd(m) != 0; }
static inline vreal vreal_power(vreal shifted)
{
    const __m256i k = _mm256_slli_epi64(_mm256_castpd_si256(shifted), 52);
    return _mm256_castsi256_pd(_mm256_add_epi64(k, _mm256_castpd_si256(_mm256_set1_pd(1))));
}
static inline vindex vreal_index(vreal shifted)
{
    /* position i becomes the pair (2i, 2i + 1) of 32-bit halves, which is what the only variable permute here moves */
    __m256i low = _mm256_shuffle_epi32(_mm256_castpd_si256(shifted), _MM_SHUFFLE(2, 2, 0, 0));
    return _mm256_add_epi32(_mm256_add_epi32(low, low), _mm256_set_epi32(1, 0, 1, 0, 1, 0, 1, 0));
}
static inline vreal vreal_lookup(const real *table, vindex i)
{
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(_mm256_load_pd(table)), i));
}
static inline vreal vreal_scale_product(double a, const double *b)
{
    return _mm256_mul_pd(_mm256_set1_pd(a), _mm256_loadu_pd(b));
}

#elif defined(NTK_AVX2)
#define LANES 8
#define PIECES 8
#define OPPOSITE 4
typedef __m256 vreal;
typedef __m256 vmask;
typedef __m256i vindex;
static inline vreal vreal_set(real a) { return _mm256_set1_ps(a); }
static inline vreal vreal_load(const real *p) { return _mm256_loadu_ps(p); }
static inline void vreal_store(real *p, vreal a) { _mm256_storeu_ps(p, a); }
static inline void vreal_stream(real *p, vreal a) { _mm256_stream_ps(p, a); }
static inline vreal vreal_add(vreal a, vreal b) { return _mm256_add_ps(a, b); }
static inline vreal vreal_sub(vreal a, vreal b) { return _mm256_sub_ps(a, b); }
static inline vreal vreal_mul(vreal a, vreal b) { return _mm256_mul_ps(a, b); }
static inline vreal vreal_div(vreal a, vreal b) { return _mm256_div_ps(a, b); }
static inline vreal vreal_fma(vreal a, vreal b, vreal c) { return _mm256_fmadd_ps(a, b, c); }
static inline vreal vreal_sqrt(vreal a) { return _mm256_sqrt_ps(a); }
static inline vreal vreal_abs(vreal a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vreal vreal_max(vreal a, vreal b) { return _mm256_max_ps(a, b); }
static inline vreal vreal_min(vreal a, vreal b) { return _mm256_min_ps(a, b); }
static inline vmask vreal_less(vreal a, vreal b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vreal vreal_select(vmask m, vreal yes, vreal no) { return _mm256_blendv_ps(no, yes, m); }
static inline int vmask_any(vmask m) { return _mm256_movemask_ps(m) != 0; }
static inline vindex vreal_index(vreal shifted) { return _mm256_castps_si256(shifted); }
static inline vreal vreal_power(vreal shifted)
{
    const __m256i k = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(k, _mm256_castps_si256(_mm256_set1_ps(1))));
}
static inline vreal vreal_lookup(const real *table, vindex i) { return _mm256_permutevar8x32_ps(_mm256_load_ps(table), i); }
static inline vreal vreal_scale_product(double a, const double *b)
{
    __m256d s = _mm256_set1_pd(a);
    __m128 low = _mm256_cvtpd_ps(_mm256_mul_pd(s, _mm256_loadu_pd(b)));
    __m128 high = _mm256_cvtpd_ps(_mm256_mul_pd(s, _mm256_loadu_pd(b + 4)));
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

#else
#define LANES 1
#define PIECES 16
#define OPPOSITE 8
typedef real vreal;
typedef int vmask;
typedef ptrdiff_t vindex;
#if REAL_IS_FLOAT
static inline vreal vreal_fma_exact(vreal a, vreal b, vreal c) { return fmaf(a, b, c); }
#else
static inline vreal vreal_fma_exact(vreal a, vreal b, vreal c) { return fma(a, b, c); }
#endif
#ifdef FP_FAST_FMA
#define vreal_fma vreal_fma_exact
#else /* no such instruction: rounding twice is good enough except where a name says exact */
static inline vreal vreal_fma(vreal a, vreal b, vreal c) { return a * b + c; }
#endif
static inline vreal vreal_set(real a) { return a; }
static inline vreal vreal_load(const real *p) { return *p; }
static inline void vreal_store(real *p, vreal a) { *p = a; }
static inline void vreal_stream(real *p, vreal a) { *p = a; }
static inline vreal vreal_add(vreal a, vreal b) { return a + b; }
static inline vreal vreal_sub(vreal a, vreal b) { return a - b; }
static inline vreal vreal_mul(vreal a, vreal b) { return a * b; }
static inline vreal vreal_div(vreal a, vreal b) { return a / b; }
#if REAL_IS_FLOAT
static inline vreal vreal_sqrt(vreal a) { return sqrtf(a); }
static inline vreal vreal_abs(vreal a) { return fabsf(a); }
#else
static inline vreal vreal_sqrt(vreal a) { return sqrt(a); }
static inline vreal vreal_abs(vreal a) { return fabs(a); }
#endif
static inline vreal vreal_max(vreal a, vreal b) { return a > b ? a : b; }
static inline vreal vreal_min(vreal a, vreal b) { return a < b ? a : b; }
static inline vmask vreal_less(vreal a, vreal b) { return a < b; }
static inline vreal vreal_select(vmask m, vreal yes, vreal no) { return m ? yes : no; }
static inline int vmask_any(vmask m) { return m; }
static inline vindex vreal_index(vreal shifted) { return (ptrdiff_t)(shifted - ROUNDING_SHIFT); }
static inline vreal vreal_power(vreal shifted)
{
    vreal power;
#if REAL_IS_FLOAT
    const uint32_t bits = (uint32_t)((int32_t)(shifted - ROUNDING_SHIFT) + 127) << 23;
#else
    const uint64_t bits = (uint64_t)((int64_t)(shifted - ROUNDING_SHIFT) + 1023) << 52;
#endif
    memcpy(&power, &bits, sizeof power);
    return power;
}
static inline vreal vreal_lookup(const real *table, vindex i) { return table[i & (PIECES - 1)]; } /* as permutes do */
static inline vreal vreal_scale_product(double a, const double *b) { return (real)(a * *b); }
#endif

#if LANES > 1
#define vreal_fma_exact vreal_fma
#endif

#if LANES == 1
static inline real vreal_largest(vreal a) { return a; }
#elif !defined(NTK_AVX512)
static inline real vreal_largest(vreal a)
{
    real lanes[LANES];
    vreal_store(lanes, a);
    for (int lane = 1; lane < LANES; lane++)
        if (lanes[lane] > lanes[0])
            lanes[0] = lanes[lane];
    return lanes[0];
}
#endif
