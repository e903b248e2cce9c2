/* The state of GROUP vectors of pairs at a node of a network, and how nodes are mixed and multiplied.
 *
 * Everything is normalised by sqrt(q q') of the node. Both m and p keep relative accuracy: near 0 they hold the digits that
 * a cosine has lost.
 */

typedef struct {
    vreal m[GROUP], p[GROUP]; /* 1 - cosine, 1 + cosine */
    vreal t[GROUP];           /* the tangent kernel ... */
    vreal rest[GROUP];        /* ... and what rounding took from it */
    vreal m_rest[GROUP];      /* what it took from the nearer one of m and p, of m: where programs keep it, alone */
} pairs;

/* One vector of them. */
typedef struct {
    vreal m, p, t, rest;
} pair;

/* Parameters of one row, a real a plane, and of a group of columns, GROUP_REALS a plane; positions of images have their own on
 * both sides, and then `row` is as `columns`. */
typedef struct {
    const real *row, *columns;
    int is_spread;
} parameters;

ALWAYS_INLINE vreal NAME(of_row)(parameters at, ptrdiff_t plane) { return vreal_set(at.row[plane]); }

ALWAYS_INLINE vreal NAME(of_left)(parameters at, ptrdiff_t plane, int g)
{
    return at.is_spread ? vreal_load(at.row + plane * GROUP_REALS + g * LANES) : vreal_set(at.row[plane]);
}

ALWAYS_INLINE vreal NAME(of_columns)(parameters at, ptrdiff_t plane, int g)
{
    return vreal_load(at.columns + plane * GROUP_REALS + g * LANES);
}

/* What one source keeps in a mix: rho = r r', and 1 - rho = tau tau' + gap with digits of its own, where
 * gap = (r - r')^2 / 2 + (tau - tau')^2 / 2. */
typedef struct {
    vreal rho, tau, gap, lost;
} shares;

ALWAYS_INLINE shares NAME(shares_of)(vreal r_i, vreal r_j, vreal tau_i, vreal tau_j)
{
    const vreal r_step = vreal_sub(r_i, r_j), tau_step = vreal_sub(tau_i, tau_j);
    shares s;
    s.rho = vreal_mul(r_i, r_j);
    s.tau = vreal_mul(tau_i, tau_j);
    s.gap = vreal_mul(vreal_set((real)0.5), vreal_fma(r_step, r_step, vreal_mul(tau_step, tau_step)));
    s.lost = vreal_fma(tau_i, tau_j, s.gap);
    return s;
}

/* m' = rho m + gap, p' = rho p + 2 tau tau' + gap, t' = rho (1 - turn) t + own cosine'.
 *
 * Where rho is near 1 it has few digits of its own: what is taken away, 1 - rho and turn, is rounded, not what is kept, and
 * t keeps its rounding errors, or over a thousand layers they would add up. Where rho is near 0, it is 1 - rho that has no
 * digits left. Pairs are plain if rho >= 1/2 and the cosine is not negative: the same to the last bit, at less cost. */
ALWAYS_INLINE pair NAME(mixed_sides)(pair from, vmask opposite, shares s, vmask keeps_least, const int is_plain)
{
    const vreal zero = vreal_set(0), two = vreal_set(2);
    vreal kept_m = vreal_fma(s.lost, vreal_sub(zero, from.m), from.m);
    if (!is_plain)
        kept_m = vreal_select(keeps_least, vreal_mul(s.rho, from.m), kept_m);
    pair to = {vreal_add(kept_m, s.gap), zero, zero, zero};
    to.p = vreal_sub(two, to.m);
    if (!is_plain)
        to.p = vreal_select(opposite, vreal_fma(s.rho, from.p, vreal_add(s.tau, s.lost)), to.p);
    return to;
}

ALWAYS_INLINE vreal NAME(sum_and_rest)(vreal a, vreal b, vreal *rest)
{
    const vreal sum = vreal_add(a, b), part = vreal_sub(sum, a);
    *rest = vreal_add(vreal_sub(a, vreal_sub(sum, part)), vreal_sub(b, part));
    return sum;
}

/* The same, of which rounding takes nothing that *rest does not have: layers that change little may be many. */
ALWAYS_INLINE pair NAME(mixed_sides_and_rest)(pair from, vreal *rest, vmask opposite, shares s, vmask keeps_least,
                                              const int is_plain)
{
    const vreal zero = vreal_set(0), two = vreal_set(2), kept_rest = vreal_mul(s.rho, *rest);
    pair to = {zero, zero, zero, zero};
    to.m = NAME(sum_and_rest)(from.m, vreal_add(vreal_fma(s.lost, vreal_sub(zero, from.m), s.gap), kept_rest), rest);
    if (is_plain) {
        to.p = vreal_sub(two, to.m);
        return to;
    }
    const vreal added = vreal_add(s.tau, s.lost), lost_p = vreal_fma(s.lost, vreal_sub(zero, from.p), added);
    vreal p_rest, p = NAME(sum_and_rest)(from.p, vreal_sub(lost_p, kept_rest), &p_rest);
    to.m = vreal_select(keeps_least, vreal_fma(s.rho, from.m, s.gap), to.m);
    *rest = vreal_select(keeps_least, kept_rest, *rest);
    p = vreal_select(keeps_least, vreal_fma(s.rho, from.p, added), p);
    p_rest = vreal_select(keeps_least, vreal_sub(zero, kept_rest), p_rest);
    const vmask stays = vreal_less(vreal_select(opposite, p, to.m), to.m);
    to.p = vreal_select(stays, p, vreal_sub(two, to.m));
    to.m = vreal_select(stays, vreal_sub(two, p), to.m);
    *rest = vreal_select(stays, vreal_sub(zero, p_rest), *rest);
    return to;
}

ALWAYS_INLINE pair NAME(mixed)(pair from, vreal *m_rest, vmask opposite, shares s, vreal turn, vreal own,
                               const int has_tangent, const int has_turn, const int is_plain)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), half = vreal_set((real)0.5);
    const vmask keeps_least = vreal_less(s.rho, half);
    pair to = m_rest ? NAME(mixed_sides_and_rest)(from, m_rest, opposite, s, keeps_least, is_plain)
                     : NAME(mixed_sides)(from, opposite, s, keeps_least, is_plain);
    if (!has_tangent)
        return to;
    const vreal cosine = vreal_sub(one, to.m), kept = vreal_mul(s.rho, from.t);
    vreal less = vreal_mul(s.lost, from.t), direct = kept;
    if (has_turn) {
        less = vreal_fma(turn, kept, less);
        direct = vreal_fma(turn, vreal_sub(zero, kept), kept);
    }
    const vreal step = vreal_fma(own, cosine, vreal_sub(from.rest, less)), sum = vreal_add(from.t, step);
    to.t = sum;
    to.rest = vreal_sub(step, vreal_sub(sum, from.t));
    if (!is_plain) {
        to.t = vreal_select(keeps_least, vreal_fma(own, cosine, direct), to.t);
        to.rest = vreal_select(keeps_least, zero, to.rest);
    }
    return to;
}

/* The same with rho = 1 and no bias. */
ALWAYS_INLINE pair NAME(passed_on)(pair from, vreal turn, vreal own)
{
    const vreal cosine = vreal_sub(vreal_set(1), from.m);
    const vreal step = vreal_fma(own, cosine, vreal_fma(turn, vreal_sub(vreal_set(0), from.t), from.rest));
    const vreal sum = vreal_add(from.t, step);
    from.rest = vreal_sub(step, vreal_sub(sum, from.t));
    from.t = sum;
    return from;
}

ALWAYS_INLINE pair NAME(pair_of)(const pairs *state, int g)
{
    const pair one = {state->m[g], state->p[g], state->t[g], state->rest[g]};
    return one;
}

ALWAYS_INLINE void NAME(put_pair)(pairs *state, int g, pair one, const int has_tangent)
{
    state->m[g] = one.m;
    state->p[g] = one.p;
    if (has_tangent) {
        state->t[g] = one.t;
        state->rest[g] = one.rest;
    }
}

NEVER_INLINE void NAME(mix_one)(const ntk_instruction *step, parameters at, const pairs *from, pairs *to)
{
    const vreal r_i = NAME(of_row)(at, step->shares[0]), tau_i = NAME(of_row)(at, step->bias);
    const vreal zero = vreal_set(0), own = vreal_set((real)step->adds_own);
#pragma GCC unroll 2
    for (int g = 0; g < GROUP; g++) {
        const shares s = NAME(shares_of)(r_i, NAME(of_columns)(at, step->shares[0], g), tau_i,
                                         NAME(of_columns)(at, step->bias, g));
        const pair old = NAME(pair_of)(from, g);
        NAME(put_pair)(to, g, NAME(mixed)(old, NULL, vreal_less(vreal_set(1), old.m), s, zero, own, 1, 0, 0), 1);
    }
}

/* m' = sum_k r_k r_k' m_k + gap, gap = sum_k (r_k - r_k')^2 / 2 + (tau - tau')^2 / 2, and so on. */
ALWAYS_INLINE void NAME(mix)(const ntk_instruction *step, parameters at, const pairs *registers, pairs *to,
                             const int n_sources)
{
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), own = vreal_set((real)step->adds_own);
    const vreal tau_i = NAME(of_row)(at, step->bias);
#pragma GCC unroll 2
    for (int g = 0; g < GROUP; g++) {
        const vreal tau_j = NAME(of_columns)(at, step->bias, g), tau_step = vreal_sub(tau_i, tau_j);
        const vreal tau = vreal_mul(tau_i, tau_j);
        pair sum = {vreal_set(0), vreal_add(tau, tau), vreal_set(0), vreal_set(0)};
        vreal twice_gap = vreal_mul(tau_step, tau_step);
        for (int k = 0; k < n_sources; k++) {
            const pair from = NAME(pair_of)(registers + step->sources[k], g);
            const vreal r_i = NAME(of_row)(at, step->shares[k]), r_j = NAME(of_columns)(at, step->shares[k], g);
            const vreal r_step = vreal_sub(r_i, r_j), rho = vreal_mul(r_i, r_j);
            twice_gap = vreal_fma(r_step, r_step, twice_gap);
            sum.m = vreal_fma(rho, from.m, sum.m);
            sum.p = vreal_fma(rho, from.p, sum.p);
            sum.t = vreal_fma(rho, from.t, sum.t);
            sum.rest = vreal_fma(rho, from.rest, sum.rest);
        }
        sum.m = vreal_fma(half, twice_gap, sum.m);
        sum.p = vreal_fma(half, twice_gap, sum.p);
        sum.t = vreal_fma(own, vreal_sub(one, sum.m), sum.t);
        NAME(put_pair)(to, g, sum, 1);
    }
}

NEVER_INLINE void NAME(mix_many)(const ntk_instruction *step, parameters at, const pairs *registers, pairs *to)
{
    if (step->n_sources == 2)
        NAME(mix)(step, at, registers, to, 2);
    else
        NAME(mix)(step, at, registers, to, step->n_sources);
}

/* Cosines multiply, and t = t_1 c_2 + t_2 c_1 (or n of them, one after the other). With u = 1 - |c_1|, v = 1 - |c_2|:
 * 1 - |c_1 c_2| = u + (1 - u) v, in which nothing cancels. */
NEVER_INLINE void NAME(multiply_nodes)(const ntk_instruction *step, const pairs *registers, pairs *to)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), two = vreal_set(2);
    for (int g = 0; g < GROUP; g++) {
        pair product = NAME(pair_of)(registers + step->sources[0], g);
        product.t = vreal_add(product.t, product.rest);
        for (int k = 1; k < step->n_sources; k++) {
            const pair factor = NAME(pair_of)(registers + step->sources[k], g);
            const vreal cosine = vreal_sub(one, product.m), factor_cosine = vreal_sub(one, factor.m);
            const vreal u = vreal_min(product.m, product.p), v = vreal_min(factor.m, factor.p);
            const vreal nearer = vreal_fma(vreal_sub(one, u), v, u), farther = vreal_sub(two, nearer);
            const vmask opposite = vreal_less(vreal_mul(cosine, factor_cosine), zero);
            product.t = vreal_fma(product.t, factor_cosine, vreal_mul(factor.t, cosine));
            product.m = vreal_select(opposite, farther, nearer);
            product.p = vreal_select(opposite, nearer, farther);
        }
        product.rest = zero;
        NAME(put_pair)(to, g, product, 1);
    }
}

/* The tangent in the place of the covariance: cosine = r r' t with r = sqrt(q / T(x, x)), t = 0. */
NEVER_INLINE void NAME(promote)(const ntk_instruction *step, parameters at, const pairs *from, pairs *to)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), r_i = NAME(of_row)(at, step->shares[0]);
    for (int g = 0; g < GROUP; g++) {
        const vreal share = vreal_mul(r_i, NAME(of_columns)(at, step->shares[0], g));
        const vreal cosine = vreal_mul(share, vreal_add(from->t[g], from->rest[g]));
        const pair new = {vreal_max(vreal_sub(one, cosine), zero), vreal_max(vreal_add(one, cosine), zero), zero, zero};
        NAME(put_pair)(to, g, new, 1);
    }
}
