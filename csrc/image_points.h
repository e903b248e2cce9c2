/* What happens at every pair of positions on its own: pixels as they are, activations, sums and products of nodes. */

static void NAME(arrange)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) *to = NAME(node_of)(run, number);
    const rectangle r = NAME(rectangle_of)(to, plane);
    const vreal zero = vreal_set(0), half = vreal_set((real)0.5), one = vreal_set(1);
    FOR_PAIRS (r, to->planes->width, k, i, j) {
        const vreal a = NAME(of_x)(run, step->inverse + i), b = NAME(of_y)(run, step->inverse + j);
        pair state = {zero, zero, zero, zero};
        for (int c = 0; c < step->channels; c++) {
            const ptrdiff_t left = i * step->channels + c, right = j * step->channels + c;
            const vreal value = run->x ? vreal_set(run->x_values[left]) : vreal_load(run->y_values + left * LANES);
            const vreal u = vreal_mul(value, a), v = vreal_mul(vreal_load(run->y_values + right * LANES), b);
            const vreal difference = vreal_sub(u, v), sum = vreal_add(u, v);
            state.m = vreal_fma(difference, difference, state.m);
            state.p = vreal_fma(sum, sum, state.p);
        }
        vreal blank = vreal_select(vreal_less(zero, a), zero, one);
        blank = vreal_add(blank, vreal_select(vreal_less(zero, b), zero, one));
        state.m = vreal_mul(half, vreal_add(state.m, blank));
        state.p = vreal_mul(half, vreal_add(state.p, blank));
        NAME(put_image_pair)(run, to, k, i, j, state);
    }
}

static NAME(source) NAME(source_at)(const NAME(image_run) *run, int number, const NAME(node) *to, const rectangle *r)
{
    const NAME(node) *node = NAME(node_of)(run, number);
    const int same = node->planes->height == to->planes->height && node->planes->width == to->planes->width;
    const int plane = same ? NAME(plane_at)(node->planes, r->offset_y, r->offset_x) : 0;
    const NAME(source) source = {node, node->starts[plane], same ? node->pitches[plane] : 0, same, -1};
    return source;
}

/* Runs of pairs through alpha z + beta |z|: all of m, t and, where it may be near 0, p. A weight of NULL is 1. */
ALWAYS_INLINE void NAME(fold_run)(const ntk_map *map, const NAME(node) *from,
                                  const vreal *weight, const NAME(node) *to, ptrdiff_t n, const int has_tangent,
                                  const int has_opposite)
{
    const fold_weights w = NAME(fold_weights_of)(map);
    const vreal one = vreal_set(1), two = vreal_set(2);
    const vreal *const from_m = from->m, *const from_t = from->t, *const from_p = from->p;
    vreal *const to_m = to->m, *const to_t = to->t, *const to_p = to->p, *const to_c = to->c;
    for (ptrdiff_t start = 0; start < n; start += GROUP) {
        vreal nearer[GROUP];
        pair old[GROUP];
#pragma GCC unroll 4
        for (int g = 0; g < GROUP; g++) {
            const ptrdiff_t k = start + g < n ? start + g : n - 1;
            old[g].m = from_m[k];
            old[g].p = has_opposite ? from_p[k] : vreal_sub(two, old[g].m);
            if (has_tangent)
                old[g].t = from_t[k];
            nearer[g] = has_opposite ? vreal_min(old[g].m, old[g].p) : old[g].m;
        }
        const bends bent = NAME(bends_of)(nearer, has_tangent);
#pragma GCC unroll 4
        for (int g = 0; g < GROUP; g++) {
            const ptrdiff_t k = start + g < n ? start + g : n - 1;
            const vmask opposite = vreal_less(one, old[g].m);
            pair new = NAME(folded)(old[g], opposite, bent.chord[g], bent.bend[g], w, !has_opposite);
            if (has_tangent) {
                vreal turn = vreal_mul(vreal_mul(w.turned, bent.chord[g]), bent.half_angle[g]);
                if (has_opposite)
                    turn = vreal_select(opposite, vreal_sub(w.twice_fold, turn), turn);
                new.t = vreal_fma(turn, vreal_sub(vreal_set(0), old[g].t), old[g].t);
            }
            if (weight) {
                to_c[k] = vreal_mul(weight[k], vreal_sub(one, new.m));
                new.m = vreal_mul(weight[k], new.m);
                if (has_tangent)
                    new.t = vreal_mul(weight[k], new.t);
                new.p = vreal_mul(weight[k], new.p);
            }
            to_m[k] = new.m;
            if (has_tangent || !weight) /* else nothing reads it */
                to_t[k] = has_tangent ? new.t : vreal_set(0);
            if (to_p)
                to_p[k] = new.p;
        }
    }
}

#define FOLD_RUN(name, has_tangent, has_opposite) \
    NEVER_INLINE void NAME(name)(const ntk_map *map, const NAME(node) *from, \
                                 const vreal *weight, const NAME(node) *to, ptrdiff_t n) \
    { \
        NAME(fold_run)(map, from, weight, to, n, has_tangent, has_opposite); \
    }

FOLD_RUN(fold_nngp_run, 0, 0)
FOLD_RUN(fold_nngp_run_of_all, 0, 1)
FOLD_RUN(fold_ntk_run, 1, 0)
FOLD_RUN(fold_ntk_run_of_all, 1, 1)

static void NAME(fold_some)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                            const vreal *weight, const NAME(node) *to, ptrdiff_t n)
{
    const ntk_program *program = &run->program->program;
    const ntk_map *map = program->maps + step->instruction.map;
    if (program->carries_tangent && from->p)
        NAME(fold_ntk_run_of_all)(map, from, weight, to, n);
    else if (program->carries_tangent)
        NAME(fold_ntk_run)(map, from, weight, to, n);
    else if (from->p)
        NAME(fold_nngp_run_of_all)(map, from, weight, to, n);
    else
        NAME(fold_nngp_run)(map, from, weight, to, n);
}

/* A node's memory from some pair on. */
static NAME(node) NAME(node_from)(const NAME(node) *node, ptrdiff_t k)
{
    NAME(node) from = *node;
    from.m += k;
    from.t += k;
    if (from.p)
        from.p += k;
    if (from.c)
        from.c += k;
    return from;
}

static void NAME(fold_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(source) *source,
                             const NAME(node) *to, const rectangle *r)
{
    const ptrdiff_t width = to->planes->width;
    for (int row = 0; row < r->height; row++) {
        const ptrdiff_t i = (r->top + row) * width + r->left, j = i - r->offset_y * width - r->offset_x;
        const NAME(node) from = NAME(node_from)(source->node, source->start + row * source->pitch);
        const NAME(node) put = NAME(node_from)(to, r->start + row * r->pitch);
        for (int k = 0; to->c && k < r->width; k++)
            run->line[k] = NAME(weight_at)(run, to->root, i + k, j + k);
        NAME(fold_some)(run, step, &from, to->c ? run->line : NULL, &put, r->width);
    }
}

/* The plane after the last one that a map takes of GROUP pairs: of a polynomial's terms no more than they need. */
static ptrdiff_t NAME(planes_taken)(const NAME(image_run) *run, const ntk_image_step *step, const ntk_map *map,
                                    ptrdiff_t n_positions, const ptrdiff_t *i, const ptrdiff_t *j)
{
    const ptrdiff_t own = map->first_parameter, all = own + (map->kind == NTK_TABLE ? 0 : map->n_parameters);
    if (map->kind != NTK_POLYNOMIAL)
        return all;
    const ptrdiff_t needed = step->first + (own + NEAR_PARAMETERS) * n_positions;
    vreal most = vreal_set(0);
    for (int g = 0; g < GROUP; g++)
        most = vreal_max(most, vreal_max(NAME(of_x)(run, needed + i[g]), NAME(of_y)(run, needed + j[g])));
    const ptrdiff_t last = NAME(before_terms)(map) + 1 + (ptrdiff_t)vreal_largest(most);
    return last < all ? last : all;
}

/* Any other activation, GROUP pairs at a time; those beyond the last repeat it. */
NEVER_INLINE void NAME(map_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(source) *source,
                                  const NAME(node) *to, const rectangle *r)
{
    const ntk_program *program = &run->program->program;
    const ntk_map *map = program->maps + step->instruction.map;
    const ptrdiff_t n = (ptrdiff_t)r->height * r->width, width = to->planes->width;
    const ptrdiff_t n_positions = (ptrdiff_t)to->planes->height * width;
    const ptrdiff_t n_planes = map->first_parameter + (map->kind == NTK_TABLE ? 0 : map->n_parameters);
    real *left = run->group, *right = left + n_planes * GROUP_REALS;
    const parameters at = {left, right, 1};
    int row = 0, column = 0;
    ptrdiff_t from = source->start;
    for (ptrdiff_t start = 0; start < n; start += GROUP) {
        pairs state, result;
        ptrdiff_t i[GROUP], j[GROUP], put[GROUP];
        const ptrdiff_t count = n - start < GROUP ? n - start : GROUP;
        for (int g = 0; g < GROUP; g++) {
            if (g < count) {
                i[g] = (r->top + row) * width + r->left + column;
                j[g] = i[g] - r->offset_y * width - r->offset_x;
                from = source->start + row * source->pitch + column;
                put[g] = r->start + row * r->pitch + column;
                if (++column == r->width)
                    column = 0, row++;
            } else
                i[g] = i[g - 1], j[g] = j[g - 1];
            NAME(put_pair)(&state, g, NAME(image_pair)(source->node, from), 1);
        }
        const ptrdiff_t stop = NAME(planes_taken)(run, step, map, n_positions, i, j);
        for (ptrdiff_t plane = map->first_parameter; plane < stop; plane++) {
            const ptrdiff_t first = step->first + plane * n_positions;
            for (int g = 0; g < GROUP; g++) {
                vreal_store(left + plane * GROUP_REALS + g * LANES, NAME(of_x)(run, first + i[g]));
                vreal_store(right + plane * GROUP_REALS + g * LANES, NAME(of_y)(run, first + j[g]));
            }
        }
        result = state;
        NAME(apply_map)(map, at, &state, &result, program->carries_tangent);
        for (int g = 0; g < count; g++)
            NAME(put_image_pair)(run, to, put[g], i[g], j[g], NAME(pair_of)(&result, g));
    }
}

static void NAME(mix_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *to,
                            const rectangle *r)
{
    const ntk_instruction *mix = &step->instruction;
    const ptrdiff_t n_positions = (ptrdiff_t)to->planes->height * to->planes->width;
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), zero = vreal_set(0);
    const vreal own = vreal_set((real)mix->adds_own);
    for (int s = 0; s < mix->n_sources; s++)
        run->sources[s].share = mix->shares[s] < 0 ? -1 : step->first + mix->shares[s] * n_positions;
    FOR_PAIRS (*r, to->planes->width, k, i, j) {
        pair sum = {zero, zero, zero, zero};
        vreal twice_gap = zero;
        if (mix->bias >= 0) {
            const ptrdiff_t bias = step->first + mix->bias * n_positions;
            const vreal tau_i = NAME(of_x)(run, bias + i), tau_j = NAME(of_y)(run, bias + j);
            const vreal tau_step = vreal_sub(tau_i, tau_j), tau = vreal_mul(tau_i, tau_j);
            sum.p = vreal_add(tau, tau);
            twice_gap = vreal_mul(tau_step, tau_step);
        }
        for (int s = 0; s < mix->n_sources; s++) {
            const NAME(source) *source = run->sources + s;
            const ptrdiff_t column = k - r->start - row_ * r->pitch;
            const pair from = NAME(image_pair)(source->node, source->start + row_ * source->pitch + source->step * column);
            vreal r_i = one, r_j = one;
            if (source->share >= 0)
                r_i = NAME(of_x)(run, source->share + i), r_j = NAME(of_y)(run, source->share + j);
            const vreal r_step = vreal_sub(r_i, r_j), rho = vreal_mul(r_i, r_j);
            twice_gap = vreal_fma(r_step, r_step, twice_gap);
            sum.m = vreal_fma(rho, from.m, sum.m);
            sum.p = vreal_fma(rho, from.p, sum.p);
            sum.t = vreal_fma(rho, from.t, sum.t);
        }
        sum.m = vreal_fma(half, twice_gap, sum.m);
        sum.p = vreal_fma(half, twice_gap, sum.p);
        sum.t = vreal_fma(own, vreal_mul(half, vreal_sub(sum.p, sum.m)), sum.t);
        NAME(put_image_pair)(run, to, k, i, j, sum);
    }
}

static void NAME(multiply_plane)(const NAME(image_run) *run, const ntk_instruction *product, const NAME(node) *to,
                                 const rectangle *r)
{
    static const int numbers[2] = {0, 1};
    ntk_instruction two = *product;
    two.n_sources = 2;
    two.sources = numbers;
    const ptrdiff_t width = to->planes->width;
    for (ptrdiff_t start = 0, n = (ptrdiff_t)r->height * r->width; start < n;) {
        const ptrdiff_t row = start / r->width, column = start % r->width;
        const ptrdiff_t count = r->width - column < GROUP ? r->width - column : GROUP; /* those beyond repeat the last */
        pairs factors[2], result;
        for (int s = 0; s < product->n_sources; s++) {
            const NAME(source) *source = run->sources + s;
            for (int g = 0; g < GROUP; g++) {
                const ptrdiff_t k = column + (g < count ? g : count - 1);
                const ptrdiff_t from = source->start + row * source->pitch + source->step * k;
                NAME(put_pair)(factors + (s > 0), g, NAME(image_pair)(source->node, from), 1);
            }
            if (s > 0) {
                NAME(multiply_nodes)(&two, factors, &result);
                factors[0] = result;
            }
        }
        for (int g = 0; g < count; g++) {
            const ptrdiff_t i = (r->top + row) * width + r->left + column + g;
            const ptrdiff_t j = i - r->offset_y * width - r->offset_x;
            NAME(put_image_pair)(run, to, r->start + row * r->pitch + column + g, i, j, NAME(pair_of)(factors, g));
        }
        start += count;
    }
}

/* The tangent in the place of the covariance: a factor of a product of kernels. */
static void NAME(promote_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *to,
                                const rectangle *r)
{
    const ptrdiff_t n_positions = (ptrdiff_t)to->planes->height * to->planes->width;
    const ptrdiff_t share = step->first + step->instruction.shares[0] * n_positions;
    const NAME(source) *source = run->sources;
    const vreal zero = vreal_set(0), one = vreal_set(1);
    FOR_PAIRS (*r, to->planes->width, k, i, j) {
        const ptrdiff_t column = k - r->start - row_ * r->pitch;
        const vreal tangent = source->node->t[source->start + row_ * source->pitch + source->step * column];
        const vreal cosine = vreal_mul(NAME(weight_at)(run, share, i, j), tangent);
        const pair to_k = {vreal_max(vreal_sub(one, cosine), zero), vreal_max(vreal_add(one, cosine), zero), zero, zero};
        NAME(put_image_pair)(run, to, k, i, j, to_k);
    }
}

static void NAME(point)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const ntk_instruction *instruction = &step->instruction;
    const NAME(node) *to = NAME(node_of)(run, number);
    const rectangle r = NAME(rectangle_of)(to, plane);
    for (int s = 0; s < instruction->n_sources; s++)
        run->sources[s] = NAME(source_at)(run, instruction->sources[s], to, &r);
    if (instruction->is_product) {
        NAME(multiply_plane)(run, instruction, to, &r);
        return;
    }
    if (instruction->promotes) {
        NAME(promote_plane)(run, step, to, &r);
        return;
    }
    if (instruction->map >= 0) {
        if (run->program->program.maps[instruction->map].kind == NTK_FOLD)
            NAME(fold_plane)(run, step, run->sources, to, &r);
        else
            NAME(map_plane)(run, step, run->sources, to, &r);
        if (instruction->bias < 0)
            return;
        run->sources[0] = NAME(source_at)(run, number, to, &r); /* the mix after it is of what it has left in its own place */
    }
    NAME(mix_plane)(run, step, to, &r);
}
