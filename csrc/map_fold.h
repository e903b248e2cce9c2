/* alpha z + beta |z|, of which ReLU is one, and the dense layer after it: what networks are mostly made of.
 *
 * linear = alpha^2 / (alpha^2 + beta^2) and fold = 1 - linear are each given with digits of their own. With two tables that
 * all slopes share, 1 - kappa of |z| is 2 chord^2 - chord^3 R (for 1 - |cosine| = 2 chord^2), and the angle is chord A:
 *
 *     m' = linear m + fold (1 - kappa)  = m - fold chord^3 R where cosine >= 0
 *     p' = linear p + fold (1 + kappa)  = 2 - m'             where cosine >= 0
 *     1 - D = turn = fold 2/pi angle,   2 fold less that     where cosine < 0
 */

#define TWO_OVER_PI 0.63661977236758134308

ALWAYS_INLINE void NAME(fold_and_mix)(const ntk_program *program, const ntk_instruction *step, parameters at,
                                      const pairs *from, pairs *to, const int has_tangent, const int is_whole)
{
    const double *weights = program->maps[step->map].constants;
    const vreal linear = vreal_set((real)weights[0]), fold = vreal_set((real)weights[1]);
    const vreal minus_fold = vreal_set((real)-weights[1]), turned = vreal_set((real)(weights[1] * TWO_OVER_PI));
    const vreal twice_fold = vreal_set((real)(2 * weights[1])), half = vreal_set((real)0.5), two = vreal_set(2);
    const vreal own = vreal_set((real)step->adds_own);
    const vreal r_i = NAME(of_row)(at, step->shares[0]), tau_i = NAME(of_row)(at, step->bias);
    chords c;
    vreal bend[GROUP], turn[GROUP];
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++) {
        c.square[g] = vreal_mul(half, vreal_min(from->m[g], from->p[g]));
        c.chord[g] = vreal_sqrt(c.square[g]);
    }
    const positions where = NAME(locate)(&c, 0, (real)program->fold_value.scale, 0);
    NAME(evaluate)(&program->fold_value, &where, bend);
    if (has_tangent)
        NAME(evaluate)(&program->fold_angle, &where, turn);
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++) {
        const pair old = NAME(pair_of)(from, g);
        const vmask opposite = vreal_less(old.p, old.m);
        const vreal bent = vreal_mul(bend[g], vreal_mul(c.square[g], c.chord[g]));
        const vreal lost = vreal_sub(vreal_add(c.square[g], c.square[g]), bent); /* 1 - kappa of |z| */
        pair new = old;
        new.m = vreal_select(opposite, vreal_fma(linear, old.m, vreal_mul(fold, lost)),
                             vreal_fma(minus_fold, bent, old.m));
        new.p = vreal_select(opposite, vreal_fma(linear, old.p, vreal_mul(fold, vreal_sub(two, lost))),
                             vreal_sub(two, new.m));
        vreal turning = half;
        if (has_tangent) {
            turning = vreal_mul(vreal_mul(turned, c.chord[g]), turn[g]);
            turning = vreal_select(opposite, vreal_sub(twice_fold, turning), turning);
        }
        if (is_whole)
            new = NAME(passed_on)(new, turning, own, has_tangent, 1);
        else
            new = NAME(mixed)(new, NAME(shares_of)(r_i, NAME(of_columns)(at, step->shares[0], g), tau_i,
                                                   NAME(of_columns)(at, step->bias, g)),
                              turning, own, has_tangent, 1);
        NAME(put_pair)(to, g, new, has_tangent);
    }
}

#define FOLD_AND_MIX(name, has_tangent, is_whole) \
    NEVER_INLINE void NAME(name)(const ntk_program *program, const ntk_instruction *step, parameters at, \
                                 const pairs *from, pairs *to) \
    { \
        NAME(fold_and_mix)(program, step, at, from, to, has_tangent, is_whole); \
    }

FOLD_AND_MIX(fold_nngp, 0, 0)
FOLD_AND_MIX(fold_nngp_whole, 0, 1)
FOLD_AND_MIX(fold_ntk, 1, 0)
FOLD_AND_MIX(fold_ntk_whole, 1, 1)
