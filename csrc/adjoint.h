/* Derivatives of sum_ij weights_ij K_ij with respect to the shares that a program takes of its rows, and to the logarithms
 * of their scales, in reverse: one pass over a pair's instructions, whose states all stay in their registers, and one back.
 *
 * With b the derivative with respect to what an instruction makes, of the cosine c' = 1 - m' and of t',
 *
 *     mix      m' = sum_k r_k r_k' m_k + gap     dm' / dr_k = r_k' m_k + (r_k - r_k')     dm' / dtau = tau - tau'
 *              t' = sum_k r_k r_k' t_k (+ c')    dt' / dr_k = r_k' t_k
 *     fold     c' = c'(c), t' = D t              dc' / dc = D     dD / dc = 2 fold / (pi sin angle)
 *     product  c' + e t' = prod_k (c_k + e t_k) with e^2 = 0
 *
 * What is multiplied with the differences of shares stays small where they do: nearly parallel rows lose no digits.
 */

#if !REAL_IS_FLOAT

#define LEAST_SQUARE_SINE 1e-300 /* below it rows count as parallel, whose angle nothing moves: no quotient overflows */

/* With respect to a register. */
typedef struct {
    vreal cosine[GROUP], t[GROUP];
} sensitivities;

/* Where the derivatives with respect to parameters are added up: a vector a plane for a row, and a group's columns. */
typedef struct {
    vreal *row;
    real *columns;
    ptrdiff_t stride; /* of the columns' planes */
    int n_planes;     /* those beyond are ones and zeros */
} parameter_sums;

ALWAYS_INLINE void NAME(add_to_columns)(parameter_sums sums, int plane, int g, vreal value)
{
    real *cell = sums.columns + plane * sums.stride + g * LANES;
    vreal_store(cell, vreal_add(vreal_load(cell), value));
}

NEVER_INLINE void NAME(mix_back)(const ntk_instruction *step, parameters at, const pairs *registers, sensitivities *by,
                                 parameter_sums sums)
{
    const vreal zero = vreal_set(0), own = vreal_set((real)step->adds_own);
    const sensitivities *after = by + step->destination;
    vreal by_m[GROUP];
    for (int g = 0; g < GROUP; g++)
        by_m[g] = vreal_sub(zero, vreal_fma(own, after->t[g], after->cosine[g]));
    for (int k = 0; k < step->n_sources; k++) {
        const int plane = step->shares[k];
        const pairs *from = registers + step->sources[k];
        sensitivities *before = by + step->sources[k];
        const vreal r_i = NAME(of_row)(at, plane);
        vreal row_sum = zero;
        for (int g = 0; g < GROUP; g++) {
            const vreal r_j = NAME(of_columns)(at, plane, g), rho = vreal_mul(r_i, r_j);
            const vreal t = vreal_add(from->t[g], from->rest[g]);
            const vreal by_rho = vreal_fma(by_m[g], from->m[g], vreal_mul(after->t[g], t));
            const vreal apart = vreal_mul(by_m[g], vreal_sub(r_i, r_j));
            before->cosine[g] = vreal_sub(before->cosine[g], vreal_mul(rho, by_m[g]));
            before->t[g] = vreal_fma(rho, after->t[g], before->t[g]);
            if (plane >= sums.n_planes)
                continue;
            row_sum = vreal_add(row_sum, vreal_fma(r_j, by_rho, apart));
            NAME(add_to_columns)(sums, plane, g, vreal_sub(vreal_mul(r_i, by_rho), apart));
        }
        if (plane < sums.n_planes)
            sums.row[plane] = vreal_add(sums.row[plane], row_sum);
    }
    if (step->bias >= sums.n_planes)
        return;
    const vreal tau_i = NAME(of_row)(at, step->bias);
    for (int g = 0; g < GROUP; g++) {
        const vreal apart = vreal_mul(by_m[g], vreal_sub(tau_i, NAME(of_columns)(at, step->bias, g)));
        sums.row[step->bias] = vreal_add(sums.row[step->bias], apart);
        NAME(add_to_columns)(sums, step->bias, g, vreal_sub(zero, apart));
    }
}

NEVER_INLINE void NAME(fold_back)(const ntk_program *program, const ntk_instruction *step, const pairs *registers,
                                  sensitivities *by)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), half = vreal_set((real)0.5);
    const vreal least = vreal_set((real)LEAST_SQUARE_SINE);
    const fold_weights w = NAME(fold_weights_of)(program->maps + step->map);
    const pairs *from = registers + step->sources[0];
    const sensitivities *after = by + step->destination;
    sensitivities *before = by + step->sources[0];
    vreal nearer[GROUP];
    for (int g = 0; g < GROUP; g++)
        nearer[g] = vreal_max(vreal_min(from->m[g], from->p[g]), zero);
    const bends bent = NAME(bends_of)(nearer, 1);
    for (int g = 0; g < GROUP; g++) {
        vreal turn = vreal_mul(vreal_mul(w.turned, bent.chord[g]), bent.half_angle[g]);
        turn = vreal_select(vreal_less(one, from->m[g]), vreal_sub(w.twice_fold, turn), turn);
        const vreal derivative = vreal_sub(one, turn), t = vreal_add(from->t[g], from->rest[g]);
        const vreal square_sine = vreal_mul(from->m[g], from->p[g]);
        vreal bend = vreal_div(vreal_mul(half, w.turned), vreal_sqrt(vreal_max(square_sine, least)));
        bend = vreal_select(vreal_less(least, square_sine), bend, zero);
        const vreal by_cosine = vreal_fma(after->cosine[g], derivative, vreal_mul(vreal_mul(after->t[g], t), bend));
        before->cosine[g] = vreal_add(before->cosine[g], by_cosine);
        before->t[g] = vreal_fma(after->t[g], derivative, before->t[g]);
    }
}

NEVER_INLINE void NAME(product_back)(const ntk_instruction *step, const pairs *registers, sensitivities *by)
{
    const vreal zero = vreal_set(0), one = vreal_set(1);
    const sensitivities *after = by + step->destination;
    for (int k = 0; k < step->n_sources; k++) {
        sensitivities *before = by + step->sources[k];
        for (int g = 0; g < GROUP; g++) {
            vreal cosine = one, t = zero; /* of the product of the others */
            for (int other = 0; other < step->n_sources; other++) {
                if (other == k)
                    continue;
                const pairs *factor = registers + step->sources[other];
                const vreal its_cosine = vreal_sub(one, factor->m[g]), its_t = vreal_add(factor->t[g], factor->rest[g]);
                t = vreal_fma(t, its_cosine, vreal_mul(cosine, its_t));
                cosine = vreal_mul(cosine, its_cosine);
            }
            const vreal by_cosine = vreal_fma(after->cosine[g], cosine, vreal_mul(after->t[g], t));
            before->cosine[g] = vreal_add(before->cosine[g], by_cosine);
            before->t[g] = vreal_fma(after->t[g], cosine, before->t[g]);
        }
    }
}

/* From `weight`, the derivative with respect to what the last instruction makes. */
static void NAME(execute_back)(const ntk_program *program, parameters at, const pairs *registers, const vreal *weight,
                               sensitivities *by, parameter_sums sums)
{
    memset(by, 0, (size_t)program->n_registers * sizeof(sensitivities));
    sensitivities *last = by + program->instructions[program->n_instructions - 1].destination;
    memcpy(program->has_tangent ? last->t : last->cosine, weight, sizeof last->t);
    for (int k = program->n_instructions - 1; k >= 0; k--) {
        const ntk_instruction *step = program->instructions + k;
        if (step->is_product)
            NAME(product_back)(step, registers, by);
        else if (step->map >= 0)
            NAME(fold_back)(program, step, registers, by);
        else
            NAME(mix_back)(step, at, registers, by, sums);
    }
}

/* Scratch memory. */
typedef struct {
    sensitivities *by; /* (n_registers,) */
    vreal *row_sums;   /* (n_parameters,) */
    real *weights;     /* (columns,): of one row */
    size_t bytes;
} NAME(adjoint_workspace);

static NAME(adjoint_workspace) NAME(lay_out_adjoint)(void *scratch, const ntk_program *program, ptrdiff_t block_columns)
{
    char *base = scratch ? (char *)PADDED((size_t)scratch, 64) : NULL;
    NAME(adjoint_workspace) w;
    size_t used = 0;
    w.by = NAME(carve)(base, &used, (size_t)program->n_registers * sizeof(sensitivities));
    w.row_sums = NAME(carve)(base, &used, (size_t)program->n_parameters * sizeof(vreal));
    w.weights = NAME(carve)(base, &used, (size_t)PADDED(block_columns, GROUP_REALS) * sizeof(real));
    w.bytes = used + 64;
    return w;
}

static inline real NAME(sum_of_lanes)(vreal a)
{
    real lanes[LANES], sum = 0;
    vreal_store(lanes, a);
    for (int lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    return sum;
}

/* A row's weights of columns [first, n_columns), those of entries above the diagonal twice, zeros below and beyond. */
static void NAME(copy_weights)(const ntk_block *block, ptrdiff_t i, ptrdiff_t first, ptrdiff_t n_columns, real *weights)
{
    const real *given = block->adjoint->weights + i * block->adjoint->weight_stride + block->column_start;
    for (ptrdiff_t c = first; c < PADDED(n_columns, GROUP_REALS); c++) {
        const ptrdiff_t right = block->column_start + c - i;
        if (c >= n_columns || (block->diagonal && right < 0))
            weights[c] = 0;
        else
            weights[c] = block->diagonal && right > 0 ? 2 * given[c] : given[c];
    }
}

/* Adds what rows [i, i + n_rows) and columns [first, n_columns) of the block contribute; `strip` holds dot products. */
static void NAME(differentiate)(const ntk_program *program, const ntk_rows *x, ptrdiff_t i, ptrdiff_t n_rows,
                                NAME(workspace) *w, const ntk_block *block, ptrdiff_t first, ptrdiff_t n_columns,
                                const real *strip)
{
    const ntk_adjoint *adjoint = block->adjoint;
    const int n_planes = program->n_parameters;
    const NAME(adjoint_workspace) own = NAME(lay_out_adjoint)(adjoint->scratch, program, n_columns);
    NAME(pack_row_parameters)(program, x, i, n_rows, w);
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        real *row_sums = adjoint->row_sums + (i + r - block->row_start);
        vreal scale_sum = vreal_set(0);
        NAME(copy_weights)(block, i + r, first, n_columns, own.weights);
        memset(own.row_sums, 0, (size_t)n_planes * sizeof(vreal));
        for (ptrdiff_t j = first; j < n_columns; j += GROUP_REALS) {
            const parameters at = {w->row_parameters + r * w->planes, w->parameters + j * w->planes, 0};
            const parameter_sums sums = {own.row_sums, adjoint->column_sums + j, adjoint->column_stride, n_planes};
            NAME(put_rows)(program, x, i + r, w, block->n_features, j, strip + r * w->columns);
            const pairs *result = NAME(execute)(program, at, w->registers);
            vreal weight[GROUP];
            for (int g = 0; g < GROUP; g++) {
                const vreal scale = vreal_scale_product(x->scale[i + r], w->scale + j + g * LANES);
                const vreal kappa = program->has_tangent ? vreal_add(result->t[g], result->rest[g])
                                                         : vreal_sub(vreal_set(1), result->m[g]);
                weight[g] = vreal_mul(vreal_load(own.weights + j + g * LANES), scale);
                const vreal value = vreal_mul(weight[g], kappa);
                scale_sum = vreal_add(scale_sum, value);
                NAME(add_to_columns)(sums, n_planes, g, value);
            }
            NAME(execute_back)(program, at, w->registers, weight, own.by, sums);
        }
        for (int plane = 0; plane < n_planes; plane++)
            row_sums[plane * adjoint->row_stride] += NAME(sum_of_lanes)(own.row_sums[plane]);
        row_sums[n_planes * adjoint->row_stride] += NAME(sum_of_lanes)(scale_sum);
    }
}

#endif

size_t NAME(ntk_adjoint_bytes)(const ntk_program *program, ptrdiff_t block_columns)
{
#if REAL_IS_FLOAT
    (void)program, (void)block_columns;
    return 0; /* derivatives are float64's */
#else
    return NAME(lay_out_adjoint)(NULL, program, block_columns).bytes;
#endif
}
