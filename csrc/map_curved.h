/* Activations whose map depends on the two rows' variances (layers/curved.py). At |cosine| it is the sum of an odd and an even
 * part, neither negative, and with shortfall = 1 - odd - even
 *
 *     cosine >= 0:  m' = shortfall              p' = shortfall + 2 (odd + even)      D = odd' + even'
 *     cosine < 0:   m' = shortfall + 2 odd      p' = shortfall + 2 even              D = odd' - even'
 *
 * Pairs whose outputs are near get their shortfall without cancellation (layers/near_pairs.py). The first two parameters of
 * a row are for that: ell, the arc length of the curve of its output, and bend, the curve's squared curvature.
 */

#define VECTORS_WITH_NOISE GROUP

/* alpha alpha', beta beta' and 1 - alpha alpha' of shares of signal and noise: planes `first` and `first + 1`. */
typedef struct {
    vreal kept, noise, shortfall, normalisation;
} noise_shares;

ALWAYS_INLINE noise_shares NAME(noise_shares_of)(parameters at, ptrdiff_t first, int g)
{
    const vreal alpha_i = NAME(of_left)(at, first, g), alpha_j = NAME(of_columns)(at, first, g);
    const vreal beta_i = NAME(of_left)(at, first + 1, g), beta_j = NAME(of_columns)(at, first + 1, g);
    const shares mixed = NAME(shares_of)(alpha_i, alpha_j, beta_i, beta_j);
    const noise_shares result = {mixed.rho, mixed.tau, vreal_add(mixed.tau, mixed.gap),
                                 vreal_mul(NAME(of_left)(at, first + 2, g), NAME(of_columns)(at, first + 2, g))};
    return result;
}

/* x = kept cosine, sqrt(1 - x^2) and asin x of pairs with their noise, and that. */
typedef struct {
    noise_shares shares[GROUP];
    vreal x[GROUP], root[GROUP], arc[GROUP];
} noisy_pairs;

ALWAYS_INLINE noisy_pairs NAME(with_noise)(parameters at, ptrdiff_t first, int g, const int n, const vreal *m,
                                           const vreal *cosine)
{
    noisy_pairs noisy;
#pragma GCC unroll 4
    for (int k = 0; k < n; k++) {
        const noise_shares s = NAME(noise_shares_of)(at, first, g + k);
        const vreal one_less = vreal_fma(s.kept, m[k], s.shortfall), x = vreal_mul(s.kept, cosine[k]);
        noisy.shares[k] = s;
        noisy.x[k] = x;
        noisy.root[k] = vreal_sqrt(vreal_mul(one_less, vreal_add(vreal_set(1), x)));
    }
    NAME(arc_sines)(noisy.x, noisy.root, noisy.arc, n);
    return noisy;
}

/* layers/erf.py */
ALWAYS_INLINE parts NAME(erf_parts)(noise_shares s, vreal root, vreal arc)
{
    const vreal zero = vreal_set(0);
    const parts result = {vreal_mul(s.normalisation, arc), zero, vreal_div(vreal_mul(s.normalisation, s.kept), root), zero};
    return result;
}

/* layers/gelu.py */
ALWAYS_INLINE parts NAME(gelu_parts)(noise_shares s, vreal cosine, vreal x, vreal root, vreal arc)
{
    const vreal one = vreal_set(1), quarter = vreal_set((real)0.25), turn = vreal_set((real)0.15915494309189534);
    const vreal inverse = vreal_div(one, root), even_scale = vreal_mul(s.normalisation, turn);
    const vreal square = vreal_mul(s.noise, s.noise);
    const vreal noisy_cosine = vreal_mul(s.noise, cosine);
    const vreal outer = vreal_fma(vreal_mul(noisy_cosine, noisy_cosine), inverse, root);
    const vreal inner =
        vreal_fma(s.shortfall, vreal_add(one, s.kept), vreal_fma(vreal_mul(inverse, inverse), square, square));
    const parts result = {
        vreal_mul(s.normalisation, vreal_mul(cosine, quarter)),
        vreal_mul(even_scale, vreal_fma(cosine, arc, vreal_mul(s.kept, outer))),
        vreal_mul(s.normalisation, quarter),
        vreal_mul(even_scale, vreal_fma(vreal_mul(x, inverse), inner, arc)),
    };
    return result;
}

/* layers/sine.py; constants: the squares of o and e. The order of factors matters: normalisations are up to 1e17 each. */
ALWAYS_INLINE parts NAME(sine_parts)(const ntk_map *map, parameters at, int g, vreal m, vreal cosine)
{
    const ptrdiff_t first = map->first_parameter + NEAR_PARAMETERS;
    const vreal odd = vreal_set((real)map->constants[0]), even = vreal_set((real)map->constants[1]);
    const vreal half = vreal_set((real)0.5), zero = vreal_set(0), one = vreal_set(1), two = vreal_set(2);
    const vreal scale_i = NAME(of_left)(at, first + 2, g), scale_j = NAME(of_columns)(at, first + 2, g);
    const two_parts u = NAME(step_and_product)(at, first, g);
    const vreal turn = u.product;
    const vreal exponent = vreal_fma(vreal_mul(half, u.step), u.step, vreal_mul(turn, m));
    const vreal kept = vreal_mul(half, NAME(exponential_of)(vreal_sub(zero, exponent)).power);
    const exponential decay = NAME(exponential_of)(vreal_sub(zero, vreal_mul(turn, cosine)));
    const vreal rise = vreal_sub(zero, decay.less_one), other = vreal_sub(two, rise), left = vreal_sub(one, rise);
    const vreal scaled = vreal_mul(kept, vreal_mul(rise, scale_i));
    const vreal slope = vreal_mul(kept, vreal_mul(turn, scale_i));
    const parts result = {
        vreal_mul(odd, vreal_mul(scaled, vreal_mul(other, scale_j))),
        vreal_mul(even, vreal_mul(scaled, vreal_mul(rise, scale_j))),
        vreal_mul(odd, vreal_mul(slope, vreal_mul(vreal_fma(left, left, one), scale_j))),
        vreal_mul(even, vreal_mul(slope, vreal_mul(vreal_mul(rise, other), scale_j))),
    };
    return result;
}

/* The parts of n vectors from the g-th on, at m >= 0 and cosine = 1 - m >= 0. */
ALWAYS_INLINE void NAME(parts_of)(const ntk_map *map, parameters at, int g, const int n, const vreal *m,
                                  const vreal *cosine, parts *result, const int kind, const int parity,
                                  const int has_slope)
{
    const ptrdiff_t first = map->first_parameter + NEAR_PARAMETERS;
    if (kind == NTK_POLYNOMIAL) {
        NAME(polynomial_parts)(map, at, g, n, m, cosine, result, has_slope, parity);
        return;
    }
    if (kind == NTK_SINE) {
        for (int k = 0; k < n; k++)
            result[k] = NAME(sine_parts)(map, at, g + k, m[k], cosine[k]);
        return;
    }
    const noisy_pairs noisy = NAME(with_noise)(at, first, g, n, m, cosine);
#pragma GCC unroll 4
    for (int k = 0; k < n; k++)
        result[k] = kind == NTK_ERF
                        ? NAME(erf_parts)(noisy.shares[k], noisy.root[k], noisy.arc[k])
                        : NAME(gelu_parts)(noisy.shares[k], cosine[k], noisy.x[k], noisy.root[k], noisy.arc[k]);
}

/* The shortfall of the g-th vector where outputs are near: from L = ell - ell', bend, and the integral of D, by three
 * Gauss-Legendre nodes. Where noise is mixed in, D is a function of sqrt(m + (1 - alpha alpha') / (alpha alpha')), which is
 * then the variable of integration; and, after a kink, of sqrt(m). */
ALWAYS_INLINE vreal NAME(near_shortfall)(const ntk_map *map, parameters at, int g, vreal m, vreal shortfall,
                                         const int kind, const int parity)
{
    static const double nodes[3] = {0.11270166537925831, 0.5, 0.88729833462074169};
    static const double weights[3] = {5.0 / 18, 8.0 / 18, 5.0 / 18};
    const vreal zero = vreal_set(0), one = vreal_set(1), two = vreal_set(2), half = vreal_set((real)0.5);
    const ptrdiff_t first = map->first_parameter;
    const vreal length = vreal_sub(NAME(of_left)(at, first, g), NAME(of_columns)(at, first, g));
    const vreal bend = vreal_mul(half, vreal_add(NAME(of_left)(at, first + 1, g), NAME(of_columns)(at, first + 1, g)));
    const vreal square = vreal_mul(length, length);
    const vreal bending = vreal_abs(vreal_mul(vreal_mul(length, square), bend));
    const vreal series = vreal_fma(vreal_mul(bend, vreal_set((real)(-1.0 / 12))), square, one);
    const int has_noise = kind == NTK_ERF || kind == NTK_GELU;
    const int has_root = has_noise || (kind == NTK_POLYNOMIAL && map->tail.n_functions);
    vreal start = zero, whole = one, step = m, lost = zero;
    if (has_noise) {
        const noise_shares s = NAME(noise_shares_of)(at, first + NEAR_PARAMETERS, g);
        const vreal noise = vreal_div(s.shortfall, s.kept);
        start = vreal_sqrt(noise);
        whole = vreal_max(vreal_add(start, vreal_sqrt(vreal_add(m, noise))), vreal_set(LEAST_NORMAL));
        step = vreal_div(m, whole); /* of the root */
    } else if (has_root) {
        whole = vreal_max(vreal_sqrt(m), vreal_set(LEAST_NORMAL));
        step = vreal_div(m, whole);
    }
    for (int k = 0; k < 3; k++) {
        vreal node = vreal_mul(step, vreal_set((real)nodes[k])), weight = vreal_set((real)weights[k]);
        if (has_root) {
            const vreal root = vreal_add(start, node);
            weight = vreal_mul(weight, vreal_div(vreal_mul(two, root), whole));
            node = vreal_mul(node, vreal_add(start, root));
        }
        const vreal cosine = vreal_sub(one, node);
        parts slopes;
        NAME(parts_of)(map, at, g, 1, &node, &cosine, &slopes, kind, parity, 1);
        lost = vreal_fma(weight, vreal_add(slopes.odd_slope, slopes.even_slope), lost);
    }
    const vreal near = vreal_fma(m, lost, vreal_mul(vreal_mul(half, square), series));
    const vreal chosen = vreal_select(vreal_less(bending, vreal_set((real)map->near_bending)), near, shortfall);
    return vreal_select(vreal_less(shortfall, vreal_set((real)map->near_shortfall)), chosen, shortfall);
}

ALWAYS_INLINE void NAME(apply_curved)(const ntk_map *map, parameters at, const pairs *from, pairs *to, const int kind,
                                      const int parity, const int has_tangent,
                                      vreal (*near)(const ntk_map *, parameters, int, vreal, vreal))
{
    const int block = kind == NTK_POLYNOMIAL ? VECTORS_OF_POLYNOMIAL : kind == NTK_SINE ? 1 : VECTORS_WITH_NOISE;
    const vreal zero = vreal_set(0), one = vreal_set(1);
    vreal m[GROUP], shortfall[GROUP], nearest = one;
    parts found[GROUP];
    for (int g = 0; g < GROUP; g += block) {
        vreal cosine[GROUP];
        for (int k = 0; k < block; k++) {
            m[g + k] = vreal_min(from->m[g + k], from->p[g + k]);
            cosine[k] = vreal_sub(one, m[g + k]);
        }
        NAME(parts_of)(map, at, g, block, m + g, cosine, found + g, kind, parity, has_tangent);
        for (int k = g; k < g + block; k++) {
            shortfall[k] = vreal_max(vreal_sub(one, vreal_add(found[k].odd, found[k].even)), zero);
            nearest = vreal_min(nearest, shortfall[k]);
        }
    }
    if (__builtin_expect(vmask_any(vreal_less(nearest, vreal_set((real)map->near_shortfall))), 0))
        for (int g = 0; g < GROUP; g++)
            if (vmask_any(vreal_less(shortfall[g], vreal_set((real)map->near_shortfall))))
                shortfall[g] = near(map, at, g, m[g], shortfall[g]);
#pragma GCC unroll 2
    for (int g = 0; g < GROUP; g++) {
        const vmask opposite = vreal_less(from->p[g], from->m[g]);
        const vreal twice_odd = vreal_add(found[g].odd, found[g].odd);
        const vreal twice_even = vreal_add(found[g].even, found[g].even);
        const vreal slope = vreal_add(found[g].odd_slope, vreal_select(opposite, vreal_sub(zero, found[g].even_slope),
                                                                       found[g].even_slope));
        const pair new = {vreal_select(opposite, vreal_add(shortfall[g], twice_odd), shortfall[g]),
                          vreal_add(shortfall[g], vreal_select(opposite, twice_even, vreal_add(twice_odd, twice_even))),
                          vreal_mul(slope, vreal_add(from->t[g], from->rest[g])), zero};
        NAME(put_pair)(to, g, new, has_tangent);
    }
}

#define APPLY_CURVED(name, kind, parity) \
    NEVER_INLINE vreal NAME(near_##name)(const ntk_map *map, parameters at, int g, vreal m, vreal shortfall) \
    { \
        return NAME(near_shortfall)(map, at, g, m, shortfall, kind, parity); \
    } \
    NEVER_INLINE void NAME(apply_##name)(const ntk_map *map, parameters at, const pairs *from, pairs *to, \
                                         int has_tangent) \
    { \
        if (has_tangent || kind != NTK_POLYNOMIAL) /* elsewhere slopes come at no cost */ \
            NAME(apply_curved)(map, at, from, to, kind, parity, 1, NAME(near_##name)); \
        else \
            NAME(apply_curved)(map, at, from, to, kind, parity, 0, NAME(near_##name)); \
    }

APPLY_CURVED(erf, NTK_ERF, -1)
APPLY_CURVED(gelu, NTK_GELU, 0)
APPLY_CURVED(sine, NTK_SINE, 0)
APPLY_CURVED(polynomial, NTK_POLYNOMIAL, 0)
APPLY_CURVED(even_polynomial, NTK_POLYNOMIAL, 1)
APPLY_CURVED(odd_polynomial, NTK_POLYNOMIAL, -1)
