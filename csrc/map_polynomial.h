/* Activations by their Hermite coefficients (layers/hermite_map.py): polynomials in the cosine, whose coefficients are
 * products of what the two rows bring; and what a kink leaves after their last terms (layers/hermite_tails.py). */

#define NEAR_PARAMETERS 2 /* ell and bend: see map_curved.h */

typedef struct {
    vreal odd, even, odd_slope, even_slope;
} parts;

#if defined(NTK_AVX512)
#define VECTORS_OF_POLYNOMIAL 4 /* with four sums each and a square: 20 of 32 registers */
#else
#define VECTORS_OF_POLYNOMIAL 2
#endif

/* The plane before that of a_1: of the number of terms that a row needs, or of the last of its tail's. */
ALWAYS_INLINE ptrdiff_t NAME(before_terms)(const ntk_map *map)
{
    return map->first_parameter + NEAR_PARAMETERS + (map->tail.n_functions ? 2 * NTK_TAIL_NODES : 0);
}

/* The tails of n vectors from the g-th on, added to their parts: with F_i products of what the rows bring at the nodes and
 * F(0) = sum_i l_i(0) F_i, for even orders and for odd ones
 *
 *     value = sum_i F_i tau_i,    slope = [r^2 F(0) tau_0 + sum_i (r / x_i (F_i - F(0)) - shift F_i) tau_i] / cosine
 */
ALWAYS_INLINE void NAME(tails_of)(const ntk_map *map, parameters at, int g, const int n, const vreal *m,
                                  const vreal *cosine, parts *result, const int has_slope)
{
    const ntk_tail *tail = &map->tail;
    const vreal zero = vreal_set(0), half = vreal_set((real)0.5), shift = vreal_set((real)ROUNDING_SHIFT);
    const vreal largest = vreal_set((real)tail->largest_square), scale = vreal_set((real)tail->functions->scale);
    const vreal less = vreal_set((real)-tail->shift);
    vreal u[VECTORS_OF_POLYNOMIAL];
    vindex piece[VECTORS_OF_POLYNOMIAL];
    vmask is_near[VECTORS_OF_POLYNOMIAL];
    int any = 0;
#pragma GCC unroll 4
    for (int k = 0; k < n; k++) {
        const vreal square = vreal_mul(half, m[k]);
        const vreal z = vreal_sub(vreal_mul(vreal_sqrt(square), scale), half), shifted = vreal_add(z, shift);
        piece[k] = vreal_index(shifted);
        u[k] = vreal_sub(z, vreal_sub(shifted, shift));
        is_near[k] = vreal_less(square, largest);
        any |= vmask_any(is_near[k]);
    }
    if (!any)
        return;
    ptrdiff_t plane = map->first_parameter + NEAR_PARAMETERS + 1;
    for (int parity = 0; parity < 2; parity++, plane += NTK_TAIL_NODES) {
        const ntk_table *functions = tail->functions + parity * (NTK_TAIL_NODES + 1);
        vreal products[NTK_TAIL_NODES][VECTORS_OF_POLYNOMIAL], at_zero[VECTORS_OF_POLYNOMIAL];
        vreal value[VECTORS_OF_POLYNOMIAL], slope[VECTORS_OF_POLYNOMIAL], function[VECTORS_OF_POLYNOMIAL];
        if (map->parity == (parity ? 1 : -1))
            continue;
#pragma GCC unroll 4
        for (int k = 0; k < n; k++)
            value[k] = slope[k] = at_zero[k] = zero;
        for (int i = 0; i < NTK_TAIL_NODES; i++) {
            const vreal share = vreal_set((real)tail->at_zero[i]);
#pragma GCC unroll 4
            for (int k = 0; k < n; k++) {
                products[i][k] = vreal_mul(NAME(of_left)(at, plane + i, g + k), NAME(of_columns)(at, plane + i, g + k));
                at_zero[k] = vreal_fma(share, products[i][k], at_zero[k]);
            }
        }
        if (has_slope) {
            const vreal reach = vreal_set((real)tail->reach);
            NAME(evaluate_some)(functions, u, piece, n, function);
#pragma GCC unroll 4
            for (int k = 0; k < n; k++)
                slope[k] = vreal_mul(vreal_mul(reach, at_zero[k]), function[k]);
        }
        for (int i = 0; i < NTK_TAIL_NODES; i++) {
            const vreal step = vreal_set((real)tail->steps[i]);
            NAME(evaluate_some)(functions + 1 + i, u, piece, n, function);
#pragma GCC unroll 4
            for (int k = 0; k < n; k++) {
                const vreal product = products[i][k];
                value[k] = vreal_fma(product, function[k], value[k]);
                if (has_slope)
                    slope[k] = vreal_fma(
                        vreal_fma(step, vreal_sub(product, at_zero[k]), vreal_mul(less, product)), function[k], slope[k]);
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < n; k++) {
            vreal *whole = parity ? &result[k].odd : &result[k].even;
            vreal *whole_slope = parity ? &result[k].odd_slope : &result[k].even_slope;
            *whole = vreal_add(*whole, vreal_select(is_near[k], value[k], zero));
            if (has_slope)
                *whole_slope = vreal_add(*whole_slope, vreal_select(is_near[k], vreal_div(slope[k], cosine[k]), zero));
        }
    }
}

NEVER_INLINE void NAME(one_tail)(const ntk_map *map, parameters at, int g, const vreal *m, const vreal *cosine,
                                 parts *result)
{
    NAME(tails_of)(map, at, g, 1, m, cosine, result, 1);
}

NEVER_INLINE void NAME(tails_with_slopes)(const ntk_map *map, parameters at, int g, const vreal *m,
                                          const vreal *cosine, parts *result)
{
    NAME(tails_of)(map, at, g, VECTORS_OF_POLYNOMIAL, m, cosine, result, 1);
}

NEVER_INLINE void NAME(tails_alone)(const ntk_map *map, parameters at, int g, const vreal *m, const vreal *cosine,
                                    parts *result)
{
    NAME(tails_of)(map, at, g, VECTORS_OF_POLYNOMIAL, m, cosine, result, 0);
}

ALWAYS_INLINE void NAME(add_tails)(const ntk_map *map, parameters at, int g, const int n, const vreal *m,
                                   const vreal *cosine, parts *result, const int has_slope)
{
    if (n == 1)
        NAME(one_tail)(map, at, g, m, cosine, result);
    else if (has_slope)
        NAME(tails_with_slopes)(map, at, g, m, cosine, result);
    else
        NAME(tails_alone)(map, at, g, m, cosine, result);
}

/* layers/hermite_map.py: sums of a_n a_n' cosine^n over odd and over even n = 1, 2, ..., as polynomials in cosine^2. The
 * parameters: how many terms the row needs, a_1, a_2, ... A pair takes as many as the one of its rows that needs more. */
typedef struct {
    vreal sum[VECTORS_OF_POLYNOMIAL], rise[VECTORS_OF_POLYNOMIAL]; /* rise: the derivative by cosine^2 */
} series;

/* The next term by Horner's rule; beyond what the row needs, of the columns that need it. */
ALWAYS_INLINE void NAME(add_term)(series *s, parameters at, ptrdiff_t needed, ptrdiff_t before, int term, int g,
                                  const int n, const vreal *square, const int has_slope, const int is_masked)
{
    const vreal order = vreal_set((real)(term - 0.5));
#pragma GCC unroll 4
    for (int k = 0; k < n; k++) {
        vreal product = vreal_mul(NAME(of_left)(at, before + term, g + k), NAME(of_columns)(at, before + term, g + k));
        if (is_masked)
            product = vreal_select(vreal_less(order, NAME(of_columns)(at, needed, g + k)), product, vreal_set(0));
        if (has_slope)
            s->rise[k] = vreal_fma(s->rise[k], square[k], s->sum[k]);
        s->sum[k] = vreal_fma(s->sum[k], square[k], product);
    }
}

ALWAYS_INLINE void NAME(polynomial_parts)(const ntk_map *map, parameters at, int g, const int n, const vreal *m,
                                          const vreal *cosine, parts *result, const int has_slope, const int parity)
{
    const vreal zero = vreal_set(0), two = vreal_set(2);
    const ptrdiff_t needed = map->first_parameter + NEAR_PARAMETERS, before = NAME(before_terms)(map);
    vreal square[VECTORS_OF_POLYNOMIAL], most = NAME(of_left)(at, needed, g);
    series odd, even;
#pragma GCC unroll 4
    for (int k = 0; k < n; k++) {
        odd.sum[k] = odd.rise[k] = even.sum[k] = even.rise[k] = zero;
        square[k] = vreal_mul(cosine[k], cosine[k]);
        most = vreal_max(most, NAME(of_columns)(at, needed, g + k));
        if (at.is_spread)
            most = vreal_max(most, NAME(of_left)(at, needed, g + k));
    }
    const int step = parity ? 2 : 1, row_terms = at.is_spread ? 0 : (int)at.row[needed];
    int term = (int)vreal_largest(most);
    if (parity)
        term -= (term & 1) != (parity < 0);
    for (; term > row_terms; term -= step) {
        if (parity < 0 || (parity == 0 && term % 2))
            NAME(add_term)(&odd, at, needed, before, term, g, n, square, has_slope, 1);
        else
            NAME(add_term)(&even, at, needed, before, term, g, n, square, has_slope, 1);
    }
    if (parity == 0 && term % 2) {
        NAME(add_term)(&odd, at, needed, before, term, g, n, square, has_slope, 0);
        term--;
    }
    for (; term > 0; term -= 2) {
        if (parity >= 0)
            NAME(add_term)(&even, at, needed, before, term, g, n, square, has_slope, 0);
        if (parity <= 0)
            NAME(add_term)(&odd, at, needed, before, parity < 0 ? term : term - 1, g, n, square, has_slope, 0);
    }
#pragma GCC unroll 4
    for (int k = 0; k < n; k++) {
        result[k].odd = vreal_mul(cosine[k], odd.sum[k]);
        result[k].even = vreal_mul(square[k], even.sum[k]);
        result[k].odd_slope = vreal_fma(vreal_mul(two, square[k]), odd.rise[k], odd.sum[k]);
        result[k].even_slope =
            vreal_mul(vreal_mul(two, cosine[k]), vreal_fma(square[k], even.rise[k], even.sum[k]));
    }
    if (__builtin_expect(map->tail.n_functions != 0, 0))
        NAME(add_tails)(map, at, g, n, m, cosine, result, has_slope);
}
