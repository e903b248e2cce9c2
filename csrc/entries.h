/* Kernel entries in place of dot products: to chords, through the profile or the program, times the scales. */

/* Half the distance of the unit vectors, to the nearer of y and -y, squared: at most 1/2. */
typedef struct {
    vreal square[GROUP];
    vmask opposite[GROUP]; /* cosine < 0 */
} chords;

/* Where rows are nearly parallel, their squared chords from the rows themselves. */
NEVER_INLINE vreal NAME(near_square_chord)(const ntk_program *program, const real *row, const real *packed,
                                           ptrdiff_t n_features, vreal a, vreal b, vmask opposite, vreal square)
{
    const vreal near = vreal_set((real)program->near), near_exact = vreal_set((real)program->near_exact);
    const vmask is_near = vreal_less(square, near);
    const vreal precise = NAME(square_chord_of_rows)(row, packed, n_features, a, b, opposite);
    const vmask is_nearer = vreal_less(vreal_select(is_near, precise, near), near_exact);
    square = vreal_select(is_near, precise, square);
    if (!vmask_any(is_nearer))
        return square;
    /* each pair by itself: which pairs share a vector must not show */
    return vreal_select(is_nearer, NAME(square_chord_of_rows_exact)(row, packed, n_features, a, b, opposite), square);
}

/* Chords of row i and a group of columns, whose dot products are `values`. */
ALWAYS_INLINE chords NAME(chords_of)(const ntk_program *program, const ntk_rows *x, ptrdiff_t i,
                                     const NAME(workspace) *w, ptrdiff_t n_features, ptrdiff_t j, const real *values)
{
    const vreal a = vreal_set(((const real *)x->inverse_norm)[i]), near = vreal_set((real)program->near);
    const vreal zero = vreal_set(0), half = vreal_set((real)0.5), minus_half = vreal_set((real)-0.5);
    chords c;
    vreal nearest = half;
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
        const ptrdiff_t column = j + g * LANES;
        const vreal ab = vreal_mul(a, vreal_load(w->inverse_norm + column));
        const vreal cosine = vreal_mul(vreal_load(values + column), ab);
        c.opposite[g] = vreal_less(cosine, zero);
        c.square[g] = vreal_max(vreal_fma(vreal_abs(cosine), minus_half, half), zero); /* (1 - |cosine|) / 2 */
        nearest = vreal_min(nearest, c.square[g]);
    }
    if (__builtin_expect(vmask_any(vreal_less(nearest, near)), 0)) {
        const real *row = (const real *)x->values + i * x->row_stride;
        for (int g = 0; g < GROUP; g++) {
            const ptrdiff_t column = j + g * LANES;
            const real *packed = w->packed + column / PANEL * PANEL * n_features + column % PANEL;
            if (vmask_any(vreal_less(c.square[g], near)))
                c.square[g] = NAME(near_square_chord)(program, row, packed, n_features, a,
                                                      vreal_load(w->inverse_norm + column), c.opposite[g], c.square[g]);
        }
    }
    return c;
}

ALWAYS_INLINE void NAME(scale_and_store)(const ntk_rows *x, ptrdiff_t i, const NAME(workspace) *w, ptrdiff_t j,
                                         const vreal *kappa, real *values)
{
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++)
        vreal_store(values + j + g * LANES,
                    vreal_mul(kappa[g], vreal_scale_product(x->scale[i], w->scale + j + g * LANES)));
}

/* The profile of row i and columns [first, stop) of the block. */
ALWAYS_INLINE void NAME(profile_entries)(const ntk_program *program, const ntk_rows *x, ptrdiff_t i,
                                         const NAME(workspace) *w, ptrdiff_t n_features, ptrdiff_t first,
                                         ptrdiff_t stop, real *values, const real stretch)
{
    const real scale = (real)program->profile.scale;
    for (ptrdiff_t j = first; j < stop; j += GROUP_REALS) {
        const chords c = NAME(chords_of)(program, x, i, w, n_features, j, values);
        vreal chord[GROUP], kappa[GROUP];
#pragma GCC unroll 4
        for (int g = 0; g < GROUP; g++)
            chord[g] = vreal_sqrt(c.square[g]);
        const positions at = NAME(locate)(chord, c.opposite, stretch, scale);
        NAME(evaluate)(&program->profile, &at, kappa);
        NAME(scale_and_store)(x, i, w, j, kappa, values);
    }
}

/* The state of row i and the group of columns that starts at j, into register 0. */
ALWAYS_INLINE void NAME(put_rows)(const ntk_program *program, const ntk_rows *x, ptrdiff_t i, const NAME(workspace) *w,
                                  ptrdiff_t n_features, ptrdiff_t j, const real *values)
{
    const vreal zero = vreal_set(0), two = vreal_set(2);
    if (program->keeps_m_rest)
        memset(w->registers->m_rest, 0, sizeof w->registers->m_rest);
    const chords c = NAME(chords_of)(program, x, i, w, n_features, j, values);
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
        const vreal nearer = vreal_add(c.square[g], c.square[g]), farther = vreal_sub(two, nearer);
        w->registers->m[g] = vreal_select(c.opposite[g], farther, nearer);
        w->registers->p[g] = vreal_select(c.opposite[g], nearer, farther);
        w->registers->t[g] = w->registers->rest[g] = zero;
    }
}

/* The program of row i and the group of columns that starts at j. */
static void NAME(group_entries)(const ntk_program *program, const ntk_rows *x, ptrdiff_t i, const NAME(workspace) *w,
                                ptrdiff_t n_features, ptrdiff_t j, parameters at, real *values)
{
    NAME(put_rows)(program, x, i, w, n_features, j, values);
    const pairs *result = NAME(execute)(program, at, w->registers);
    vreal kappa[GROUP];
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++)
        kappa[g] = program->has_tangent ? vreal_add(result->t[g], result->rest[g]) : vreal_sub(vreal_set(1), result->m[g]);
    NAME(scale_and_store)(x, i, w, j, kappa, values);
}

/* Rows [start, stop) of the strip that begins at row i, of which `strip` holds the dot products with columns [first, last) of
 * the block. */
static void NAME(entries)(const ntk_program *program, const ntk_rows *x, ptrdiff_t i, ptrdiff_t start, ptrdiff_t stop,
                          const NAME(workspace) *w, ptrdiff_t n_features, ptrdiff_t first, ptrdiff_t last, real *strip)
{
    if (!program->n_instructions) { /* one loop for each kind of position: no branch on it inside */
        for (ptrdiff_t r = start; r < stop; r++)
            if (program->profile.stretch == 0)
                NAME(profile_entries)(program, x, i + r, w, n_features, first, last, strip + r * w->columns, 0);
            else
                NAME(profile_entries)(program, x, i + r, w, n_features, first, last, strip + r * w->columns,
                                      (real)program->profile.stretch);
        return;
    }
    for (ptrdiff_t j = first; j < last; j += GROUP_REALS)
        for (ptrdiff_t r = start; r < stop; r++) {
            const parameters at = {w->row_parameters + r * w->planes, w->parameters + j * w->planes, 0};
            NAME(group_entries)(program, x, i + r, w, n_features, j, at, strip + r * w->columns);
        }
}
