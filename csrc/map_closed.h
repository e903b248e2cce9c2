/* Activations with a closed form in which nothing cancels, however near the pair. */

/* u - u' and u u' of numbers in two parts, planes `first` and `first + 1`: the differences of large numbers keep their digits. */
typedef struct {
    vreal step, product;
} two_parts;

ALWAYS_INLINE two_parts NAME(step_and_product)(parameters at, ptrdiff_t first, int g)
{
    const vreal high_i = NAME(of_left)(at, first, g), high_j = NAME(of_columns)(at, first, g);
    const vreal rest_i = NAME(of_left)(at, first + 1, g), rest_j = NAME(of_columns)(at, first + 1, g);
    const two_parts result = {vreal_add(vreal_sub(high_i, high_j), vreal_sub(rest_i, rest_j)),
                              vreal_mul(vreal_add(high_i, rest_i), vreal_add(high_j, rest_j))};
    return result;
}

/* layers/exponential.py; the row parameters: u, in two parts. */
NEVER_INLINE void NAME(apply_exponential)(const ntk_map *map, parameters at, const pairs *from, pairs *to)
{
    const vreal half = vreal_set((real)0.5), two = vreal_set(2), zero = vreal_set(0);
    for (int g = 0; g < GROUP; g++) {
        const two_parts u = NAME(step_and_product)(at, map->first_parameter, g);
        const vreal exponent = vreal_fma(vreal_mul(half, u.step), u.step, vreal_mul(u.product, from->m[g]));
        const exponential decay = NAME(exponential_of)(vreal_sub(zero, exponent));
        const vreal m = vreal_sub(zero, decay.less_one);
        const vreal slope = vreal_mul(u.product, decay.power);
        const pair new = {m, vreal_sub(two, m), vreal_mul(slope, vreal_add(from->t[g], from->rest[g])), zero};
        NAME(put_pair)(to, g, new, 1);
    }
}

/* layers/gaussian.py; the row parameters: a and t. */
NEVER_INLINE void NAME(apply_gaussian)(const ntk_map *map, parameters at, const pairs *from, pairs *to)
{
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), two = vreal_set(2), zero = vreal_set(0);
    const ptrdiff_t first = map->first_parameter;
    for (int g = 0; g < GROUP; g++) {
        const vreal a_i = NAME(of_left)(at, first, g), t_i = NAME(of_left)(at, first + 1, g);
        const shares s = NAME(shares_of)(a_i, NAME(of_columns)(at, first, g), t_i, NAME(of_columns)(at, first + 1, g));
        const vreal lost = vreal_fma(s.rho, vreal_mul(from->m[g], from->p[g]), s.gap), whole = vreal_add(lost, s.tau);
        const vreal inverse = vreal_div(one, whole), cosine = vreal_sqrt(vreal_mul(s.tau, inverse));
        const vreal m = vreal_div(vreal_mul(lost, inverse), vreal_add(one, cosine));
        const vreal old_cosine = vreal_mul(half, vreal_sub(from->p[g], from->m[g]));
        const vreal slope = vreal_mul(vreal_mul(s.rho, old_cosine), vreal_mul(cosine, inverse));
        const pair new = {m, vreal_sub(two, m), vreal_mul(slope, vreal_add(from->t[g], from->rest[g])), zero};
        NAME(put_pair)(to, g, new, 1);
    }
}
