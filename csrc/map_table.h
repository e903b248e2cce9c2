/* A univariate map: 1 - cosine' and D are tables of the chord.
 *
 *     parity 0:  m' = chord^power value(chord) where cosine >= 0, value(chord) where cosine < 0;  p' = 2 - m'
 *     even:      m' = chord^power value(chord) whatever the cosine's sign, which D takes
 *     odd:       the same on the nearer side; m' and p' change places where cosine < 0
 */

ALWAYS_INLINE void NAME(apply_table_of)(const ntk_map *map, const pairs *from, pairs *to, const int has_tangent,
                                        const int parity)
{
    const vreal half = vreal_set((real)0.5), two = vreal_set(2), one = vreal_set(1), zero = vreal_set(0);
    vreal square[GROUP], chord[GROUP], value[GROUP], derivative[GROUP];
    vmask opposite[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
        square[g] = vreal_mul(half, vreal_min(from->m[g], from->p[g]));
        chord[g] = vreal_sqrt(square[g]);
        opposite[g] = vreal_less(from->p[g], from->m[g]);
        derivative[g] = zero;
    }
    positions where = NAME(locate)(chord, parity ? NULL : opposite, (real)map->value.stretch, (real)map->value.scale);
    NAME(evaluate)(&map->value, &where, value);
    if (has_tangent) {
        where = NAME(locate)(chord, parity ? NULL : opposite, (real)map->derivative.stretch,
                             (real)map->derivative.scale);
        NAME(evaluate)(&map->derivative, &where, derivative);
    }
#pragma GCC unroll 2
    for (int g = 0; g < GROUP; g++) {
        vreal power = one;
        for (int k = 0; k < map->power / 2; k++)
            power = vreal_mul(power, square[g]);
        if (map->power % 2)
            power = vreal_mul(power, chord[g]);
        if (parity == 0)
            power = vreal_select(opposite[g], one, power);
        const vreal m = vreal_max(vreal_mul(power, value[g]), zero), p = vreal_max(vreal_sub(two, m), zero);
        pair new = {m, p, vreal_mul(derivative[g], vreal_add(from->t[g], from->rest[g])), zero};
        if (parity > 0)
            new.t = vreal_select(opposite[g], vreal_sub(zero, new.t), new.t);
        if (parity < 0) {
            new.m = vreal_select(opposite[g], p, m);
            new.p = vreal_select(opposite[g], m, p);
        }
        NAME(put_pair)(to, g, new, has_tangent);
    }
}

/* Tables are all of a map: few enough kinds to compile each for itself. */
NEVER_INLINE void NAME(apply_table)(const ntk_map *map, const pairs *from, pairs *to, int has_tangent)
{
    if (map->parity == 0 && has_tangent)
        NAME(apply_table_of)(map, from, to, 1, 0);
    else if (map->parity == 0)
        NAME(apply_table_of)(map, from, to, 0, 0);
    else if (map->parity > 0 && has_tangent)
        NAME(apply_table_of)(map, from, to, 1, 1);
    else if (map->parity > 0)
        NAME(apply_table_of)(map, from, to, 0, 1);
    else if (has_tangent)
        NAME(apply_table_of)(map, from, to, 1, -1);
    else
        NAME(apply_table_of)(map, from, to, 0, -1);
}
