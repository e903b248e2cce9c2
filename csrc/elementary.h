/* Exponentials and arc sines of vectors, to about the last bit and relative to the result. */

#include "elementary_coefficients.h"

#if REAL_IS_FLOAT
#define LEAST_EXPONENT (-85.0f) /* of exp: beyond it nothing is left of a result, and powers of two stay normal */
#define LOG2_HIGH 0x1.62e4p-1f  /* of log 2: its multiples by whole numbers in range are exact */
#define LOG2_LOW 0x1.7f7d1cp-20f
#else
#define LEAST_EXPONENT (-700.0)
#define LOG2_HIGH 0x1.62e42fefp-1
#define LOG2_LOW 0x1.473de6af278edp-34
#endif
#define N_TERMS(coefficients) ((int)(sizeof(coefficients) / sizeof(coefficients)[0]))

ALWAYS_INLINE vreal NAME(polynomial)(const real *coefficients, const int n_terms, vreal x)
{
    vreal result = vreal_set(coefficients[n_terms - 1]);
#pragma GCC unroll 20
    for (int k = n_terms - 2; k >= 0; k--)
        result = vreal_fma(result, x, vreal_set(coefficients[k]));
    return result;
}

/* Of n vectors at once: a polynomial is a chain of operations, each of which waits for the one before. */
ALWAYS_INLINE void NAME(polynomials)(const real *coefficients, const int n_terms, const vreal *x, vreal *result, const int n)
{
#pragma GCC unroll 4
    for (int g = 0; g < n; g++)
        result[g] = vreal_set(coefficients[n_terms - 1]);
#pragma GCC unroll 20
    for (int k = n_terms - 2; k >= 0; k--) {
        const vreal coefficient = vreal_set(coefficients[k]);
#pragma GCC unroll 4
        for (int g = 0; g < n; g++)
            result[g] = vreal_fma(result[g], x[g], coefficient);
    }
}

typedef struct {
    vreal power, less_one; /* exp x and exp x - 1 */
} exponential;

/* Of x <= 0. With x = k log 2 + r: exp x - 1 = 2^k (exp r - 1) + (2^k - 1). */
ALWAYS_INLINE exponential NAME(exponential_of)(vreal x)
{
    const vreal shift = vreal_set((real)ROUNDING_SHIFT), one = vreal_set(1), zero = vreal_set(0);
    x = vreal_max(x, vreal_set(LEAST_EXPONENT));
    const vreal shifted = vreal_fma(x, vreal_set((real)1.4426950408889634), shift), k = vreal_sub(shifted, shift);
    const vreal minus_k = vreal_sub(zero, k);
    const vreal r = vreal_fma(minus_k, vreal_set(LOG2_LOW), vreal_fma(minus_k, vreal_set(LOG2_HIGH), x));
    const vreal scale = vreal_power(shifted);
    const vreal rest = NAME(polynomial)(EXP_REST, N_TERMS(EXP_REST), r);
    const vreal change = vreal_fma(vreal_mul(r, r), rest, r);
    const exponential result = {vreal_fma(scale, change, scale), vreal_fma(scale, change, vreal_sub(scale, one))};
    return result;
}

/* asin(x) / x of n vectors of x^2 <= 1/2. */
ALWAYS_INLINE void NAME(arcs_over_sines)(const vreal *square, vreal *result, const int n)
{
    NAME(polynomials)(ASIN_REST, N_TERMS(ASIN_REST), square, result, n);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++)
        result[g] = vreal_fma(square[g], result[g], vreal_set(1));
}

/* asin x of n vectors of x >= 0, given sqrt(1 - x^2) with digits of its own: where x^2 > 1/2 it is pi/2 less the arc of that. */
ALWAYS_INLINE void NAME(arc_sines)(const vreal *x, const vreal *root, vreal *result, const int n)
{
    vreal square[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < n; g++) {
        const vreal sine = vreal_min(x[g], root[g]);
        square[g] = vreal_mul(sine, sine);
    }
    NAME(arcs_over_sines)(square, result, n);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++) {
        const vreal arc = vreal_mul(vreal_min(x[g], root[g]), result[g]);
        const vreal other = vreal_sub(vreal_set((real)1.5707963267948966), arc);
        result[g] = vreal_select(vreal_less(root[g], x[g]), other, arc);
    }
}
