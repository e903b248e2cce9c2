/* alpha z + beta |z|, of which ReLU is one, and the dense layer after it: what networks are mostly made of.
 *
 * linear = alpha^2 / (alpha^2 + beta^2) and fold = 1 - linear are each given with digits of their own. 1 - kappa of |z| is
 * 2 chord^2 - chord^3 R (for 1 - |cosine| = 2 chord^2), and the angle is chord A. R and A / 2 are polynomials in chord^2,
 * which needs no root, and of so few terms that nothing is looked up:
 *
 *     m' = linear m + fold (1 - kappa)  = m - fold chord^3 R where cosine >= 0
 *     p' = linear p + fold (1 + kappa)  = 2 - m'             where cosine >= 0
 *     1 - D = turn = fold 2/pi angle,   2 fold less that     where cosine < 0
 */

#define TWO_OVER_PI 0.63661977236758134308

/* R, where it is wanted A / 2, and the chord, of GROUP vectors of 2 chord^2. */
typedef struct {
    vreal chord[GROUP], bend[GROUP], half_angle[GROUP];
} bends;

ALWAYS_INLINE bends NAME(bends_of)(const vreal *nearer, const int has_angle)
{
    const vreal half = vreal_set((real)0.5);
    bends at;
    vreal square[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
        square[g] = vreal_mul(half, nearer[g]);
        at.chord[g] = vreal_sqrt(square[g]);
    }
    NAME(polynomials)(FOLD_BEND, N_TERMS(FOLD_BEND), square, at.bend, GROUP);
    if (has_angle)
        NAME(arcs_over_sines)(square, at.half_angle, GROUP);
    return at;
}

typedef struct {
    vreal minus_fold, twice_fold;
    vreal turned; /* 2 fold 2/pi: what half the angle turns by */
    vreal lesser; /* of linear and fold */
    vmask is_mostly_linear;
} fold_weights;

ALWAYS_INLINE fold_weights NAME(fold_weights_of)(const ntk_map *map)
{
    const double linear = map->constants[0], fold = map->constants[1];
    const fold_weights w = {vreal_set((real)-fold), vreal_set((real)(2 * fold)), vreal_set((real)(2 * fold * TWO_OVER_PI)),
                            vreal_set((real)(linear < fold ? linear : fold)),
                            vreal_less(vreal_set((real)fold), vreal_set((real)0.500001))};
    return w;
}

/* m and p after the activation. A negative cosine's are between those of z and of |z|: from the nearer ones on, or a weight's
 * own rounding would show. */
ALWAYS_INLINE pair NAME(folded)(pair from, vmask opposite, vreal chord, vreal bend, fold_weights w, const int is_plain)
{
    const vreal two = vreal_set(2);
    const vreal nearer = is_plain ? from.m : vreal_select(opposite, from.p, from.m); /* 2 chord^2 */
    const vreal bent = vreal_mul(vreal_mul(bend, chord), vreal_mul(vreal_set((real)0.5), nearer));
    pair to = from;
    to.m = vreal_fma(w.minus_fold, bent, from.m);
    to.p = vreal_sub(two, to.m);
    if (!is_plain) {
        const vreal m_abs = vreal_sub(nearer, bent), p_abs = vreal_sub(two, m_abs);
        const vreal m = vreal_select(w.is_mostly_linear, from.m, m_abs);
        const vreal p = vreal_select(w.is_mostly_linear, from.p, p_abs);
        const vreal other_m = vreal_select(w.is_mostly_linear, m_abs, from.m);
        const vreal other_p = vreal_select(w.is_mostly_linear, p_abs, from.p);
        to.m = vreal_select(opposite, vreal_fma(w.lesser, vreal_sub(other_m, m), m), to.m);
        to.p = vreal_select(opposite, vreal_fma(w.lesser, vreal_sub(other_p, p), p), to.p);
    }
    return to;
}

/* The same, of which rounding takes nothing that *rest does not have. */
ALWAYS_INLINE pair NAME(folded_and_rest)(pair from, vreal *rest, vmask opposite, vreal chord, vreal bend,
                                         fold_weights w, const int is_plain)
{
    const vreal zero = vreal_set(0), two = vreal_set(2);
    const vreal nearer = is_plain ? from.m : vreal_select(opposite, from.p, from.m);
    const vreal bent = vreal_mul(vreal_mul(bend, chord), vreal_mul(vreal_set((real)0.5), nearer));
    vreal step = vreal_fma(w.minus_fold, bent, *rest);
    if (!is_plain) {
        const vreal far = vreal_add(vreal_sub(from.m, from.p), bent);
        const vreal back = vreal_fma(w.lesser, far, vreal_sub(zero, *rest));
        const vreal far_step = vreal_select(w.is_mostly_linear, back, vreal_sub(back, bent));
        step = vreal_select(opposite, far_step, step);
    }
    pair to = from;
    to.m = NAME(sum_and_rest)(nearer, step, rest);
    to.p = vreal_sub(two, to.m);
    if (!is_plain) {
        const vreal sum = to.m, other = to.p;
        to.m = vreal_select(opposite, vreal_select(w.is_mostly_linear, other, sum), sum);
        to.p = vreal_select(opposite, vreal_select(w.is_mostly_linear, sum, other), other);
        const vreal turned_rest = vreal_select(w.is_mostly_linear, vreal_sub(zero, *rest), *rest);
        *rest = vreal_select(opposite, turned_rest, *rest);
    }
    return to;
}

/* Pairs, with R and A / 2 at their chords, through the activation and the mix. */
ALWAYS_INLINE void NAME(fold_and_mix)(const ntk_instruction *step, parameters at, const bends *bent,
                                      fold_weights w, const pairs *from, pairs *to, const int has_tangent,
                                      const int is_whole, const int is_plain, const int keeps_rest)
{
    const vreal r_i = NAME(of_row)(at, step->shares[0]), tau_i = NAME(of_row)(at, step->bias);
    const vreal own = vreal_set((real)step->adds_own), one = vreal_set(1);
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
        const pair old = NAME(pair_of)(from, g);
        const vmask opposite = vreal_less(one, old.m);
        vreal m_rest = keeps_rest ? from->m_rest[g] : vreal_set(0);
        pair new = keeps_rest ? NAME(folded_and_rest)(old, &m_rest, opposite, bent->chord[g], bent->bend[g], w, is_plain)
                              : NAME(folded)(old, opposite, bent->chord[g], bent->bend[g], w, is_plain);
        vreal turn = w.turned;
        if (has_tangent) {
            turn = vreal_mul(vreal_mul(w.turned, bent->chord[g]), bent->half_angle[g]);
            if (!is_plain)
                turn = vreal_select(opposite, vreal_sub(w.twice_fold, turn), turn);
        }
        if (!is_whole) {
            const shares s = NAME(shares_of)(r_i, NAME(of_columns)(at, step->shares[0], g), tau_i,
                                             NAME(of_columns)(at, step->bias, g));
            new = NAME(mixed)(new, keeps_rest ? &m_rest : NULL, vreal_less(one, new.m), s, turn, own, has_tangent, 1, is_plain);
        } else if (has_tangent)
            new = NAME(passed_on)(new, turn, own);
        NAME(put_pair)(to, g, new, has_tangent);
        if (keeps_rest)
            to->m_rest[g] = m_rest;
    }
}

ALWAYS_INLINE void NAME(apply_fold)(const ntk_program *program, const ntk_instruction *step, parameters at,
                                    const pairs *from, pairs *to, const int has_tangent, const int is_whole,
                                    const int keeps_rest)
{
    const fold_weights w = NAME(fold_weights_of)(program->maps + step->map);
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), r_i = NAME(of_row)(at, step->shares[0]);
    vreal most = one, least = one;
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
        most = vreal_max(most, from->m[g]);
        if (!is_whole)
            least = vreal_min(least, vreal_mul(r_i, NAME(of_columns)(at, step->shares[0], g)));
    }
    if (!vmask_any(vreal_less(one, most)) && !vmask_any(vreal_less(least, half))) {
        const bends bent = NAME(bends_of)(from->m, has_tangent);
        NAME(fold_and_mix)(step, at, &bent, w, from, to, has_tangent, is_whole, 1, keeps_rest);
    } else {
        vreal nearer[GROUP];
#pragma GCC unroll 4
        for (int g = 0; g < GROUP; g++)
            nearer[g] = vreal_min(from->m[g], from->p[g]);
        const bends bent = NAME(bends_of)(nearer, has_tangent);
        NAME(fold_and_mix)(step, at, &bent, w, from, to, has_tangent, is_whole, 0, keeps_rest);
    }
}

#define APPLY_FOLD(name, has_tangent, is_whole, keeps_rest) \
    NEVER_INLINE void NAME(name)(const ntk_program *program, const ntk_instruction *step, parameters at, \
                                 const pairs *from, pairs *to) \
    { \
        NAME(apply_fold)(program, step, at, from, to, has_tangent, is_whole, keeps_rest); \
    }

APPLY_FOLD(fold_nngp, 0, 0, 0)
APPLY_FOLD(fold_nngp_whole, 0, 1, 0)
APPLY_FOLD(fold_ntk, 1, 0, 0)
APPLY_FOLD(fold_ntk_whole, 1, 1, 0)
APPLY_FOLD(fold_nngp_and_rest, 0, 0, 1)
APPLY_FOLD(fold_nngp_whole_and_rest, 0, 1, 1)
APPLY_FOLD(fold_ntk_and_rest, 1, 0, 1)
APPLY_FOLD(fold_ntk_whole_and_rest, 1, 1, 1)

static void NAME(fold_step)(const ntk_program *program, const ntk_instruction *step, parameters at, const pairs *from,
                            pairs *to, int is_whole)
{
    if (program->keeps_m_rest) {
        if (program->carries_tangent && is_whole)
            NAME(fold_ntk_whole_and_rest)(program, step, at, from, to);
        else if (program->carries_tangent)
            NAME(fold_ntk_and_rest)(program, step, at, from, to);
        else if (is_whole)
            NAME(fold_nngp_whole_and_rest)(program, step, at, from, to);
        else
            NAME(fold_nngp_and_rest)(program, step, at, from, to);
    } else if (program->carries_tangent && is_whole)
        NAME(fold_ntk_whole)(program, step, at, from, to);
    else if (program->carries_tangent)
        NAME(fold_ntk)(program, step, at, from, to);
    else if (is_whole)
        NAME(fold_nngp_whole)(program, step, at, from, to);
    else
        NAME(fold_nngp)(program, step, at, from, to);
}
