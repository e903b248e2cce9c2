/* Pools: sums over the positions of a window on both sides independently. A plane adds its share to all the sums that it is in. */

#define POOL_ROUNDING (sizeof(real) == 4 ? FLT_EPSILON : DBL_EPSILON) /* of mu */
#define FAR_TAPS 0.01    /* m of windows tap by tap; where it is more, and an m is less than its rounding, they are equal but shifted */
#define NEAR_WINDOWS 0.0625 /* m from which on what rounding takes does not count */
#define LONG_WINDOW 16   /* taps, from which on sums keep what rounding takes */

/* sum += term, and what rounding takes in `lost`. */
ALWAYS_INLINE void NAME(add_long)(vreal *sum, vreal *lost, vreal term)
{
    const vreal total = vreal_add(*sum, term), part = vreal_sub(total, *sum);
    const vreal error = vreal_add(vreal_sub(*sum, vreal_sub(total, part)), vreal_sub(term, part));
    *sum = total;
    *lost = vreal_add(*lost, error);
}

/* `lost`: how far behind the sums what rounding takes from them is; 0: it is not kept. */
ALWAYS_INLINE void NAME(add_to_pool)(const NAME(node) *to, ptrdiff_t lost, ptrdiff_t k, pair one)
{
    if (lost) {
        NAME(add_long)(to->m + k, to->m + k + lost, one.m);
        NAME(add_long)(to->t + k, to->t + k + lost, one.t);
        if (to->p)
            NAME(add_long)(to->p + k, to->p + k + lost, one.p);
        return;
    }
    to->m[k] = vreal_add(to->m[k], one.m);
    to->t[k] = vreal_add(to->t[k], one.t);
    if (to->p)
        to->p[k] = vreal_add(to->p[k], one.p);
}

static int NAME(is_attention)(const ntk_image_step *step) { return step->kind == NTK_GATHER && step->inverse < 0; }

static ptrdiff_t NAME(lost_behind)(const ntk_image_step *step)
{
    if (NAME(is_attention)(step))
        return 0;
    const int is_long = step->window.n_taps > LONG_WINDOW || step->window.n_outputs == 1;
    return is_long ? (2 + step->has_opposite) * step->room : 0;
}

/* Adds to the square of a distance of two windows, i and j, what a tap adds that sees `seen_i` of one and `seen_j` of the
 * other: `m` is R R' m of these. */
ALWAYS_INLINE void NAME(add_square)(const NAME(image_run) *run, const ntk_image_step *step, vreal *square, ptrdiff_t seen_i,
                                    ptrdiff_t seen_j, ptrdiff_t i, ptrdiff_t j, vreal m)
{
    const vreal inverse_i = NAME(of_x)(run, step->inverse + i), inverse_j = NAME(of_y)(run, step->inverse + j);
    const vreal alpha = vreal_mul(NAME(of_x)(run, step->root + seen_i), inverse_i);
    const vreal difference = vreal_sub(alpha, vreal_mul(NAME(of_y)(run, step->root + seen_j), inverse_j));
    *square = vreal_fma(difference, difference, vreal_fma(vreal_add(m, m), vreal_mul(inverse_i, inverse_j), *square));
}

/* All positions are in the one window, or in none: sums row by row. */
static void NAME(pool_whole)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *to,
                             const NAME(node) *from, const rectangle *r)
{
    const ntk_window *window = &step->window;
    const vreal zero = vreal_set(0);
    const pair nothing = {zero, zero, zero, zero};
    const int is_own = step->distance >= 0 && !r->offset_y && !r->offset_x;
    pair sums = nothing;
    FOR_PAIRS (*r, from->planes->width, k, i, j) {
        if (window->output_starts[i] != window->output_starts[i + 1] &&
            window->output_starts[j] != window->output_starts[j + 1]) {
            const pair one = NAME(weighed_pair)(run, step, from, k, i, j);
            sums = NAME(pair_sum)(sums, one);
            if (is_own)
                NAME(add_square)(run, step, to->m + step->distance + to->starts[0], i, j, 0, 0, one.m);
        }
        if (i + 1 == stop_) {
            NAME(add_to_pool)(to, NAME(lost_behind)(step), to->starts[0], sums);
            sums = nothing;
        }
    }
}

static void NAME(pool_plane)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const ntk_window *window = &step->window;
    const NAME(node) *to = NAME(node_of)(run, number), *from = NAME(node_of)(run, step->instruction.sources[0]);
    const rectangle r = NAME(rectangle_of)(from, plane);
    const ptrdiff_t lost = NAME(lost_behind)(step);
    if (window->n_outputs == 1) {
        NAME(pool_whole)(run, step, to, from, &r);
        return;
    }
    const int down = r.offset_y / window->strides[0], right = r.offset_x / window->strides[1]; /* of windows, for one tap */
    const int has_common = step->distance >= 0 && down * window->strides[0] == r.offset_y &&
                           right * window->strides[1] == r.offset_x;
    FOR_PAIRS (r, from->planes->width, k, i, j) {
        const pair one = NAME(weighed_pair)(run, step, from, k, i, j);
        for (int a = window->output_starts[i]; a < window->output_starts[i + 1]; a++)
            for (int b = window->output_starts[j]; b < window->output_starts[j + 1]; b++) {
                const int y = window->output_rows[a], x = window->output_columns[a];
                const ptrdiff_t sum =
                    NAME(pair_at)(to, y, x, y - window->output_rows[b], x - window->output_columns[b]);
                if (sum < 0)
                    continue;
                NAME(add_to_pool)(to, lost, sum, one);
                if (has_common && y - window->output_rows[b] == down && x - window->output_columns[b] == right)
                    NAME(add_square)(run, step, to->m + step->distance + sum, i, j, window->outputs[a], window->outputs[b],
                                     one.m);
            }
    }
}

/* That square, with the taps that see something of one window only. */
static vreal NAME(whole_square)(const NAME(image_run) *run, const ntk_image_step *step, vreal square, ptrdiff_t i, ptrdiff_t j)
{
    const ntk_window *window = &step->window;
    for (int tap = 0; tap < window->n_taps; tap++) {
        const int left = window->seen[i * window->n_taps + tap], right = window->seen[j * window->n_taps + tap];
        if ((left < 0) == (right < 0))
            continue;
        const vreal alpha = left >= 0 ? vreal_mul(NAME(of_x)(run, step->root + left), NAME(of_x)(run, step->inverse + i))
                                      : vreal_mul(NAME(of_y)(run, step->root + right), NAME(of_y)(run, step->inverse + j));
        square = vreal_fma(alpha, alpha, square);
    }
    return square;
}

ALWAYS_INLINE vreal NAME(less_mu)(vreal sum, vreal mu, vreal other, vreal shortfall, vreal inverse)
{
    const vreal twice = vreal_add(vreal_sub(sum, mu), vreal_sub(sum, other));
    const vreal left = vreal_sub(vreal_mul(vreal_set((real)0.5), twice), shortfall);
    return vreal_max(vreal_mul(left, inverse), vreal_set(0));
}

/* What the rounding of an m takes of its chord. */
ALWAYS_INLINE vreal NAME(chord_lost)(vreal rounding, vreal m)
{
    return vreal_div(rounding, vreal_sqrt(vreal_max(vreal_max(m, rounding), vreal_set(LEAST_NORMAL))));
}

/* From the sums of a pool, over those of weights, to the state of a pair; returns what rounding may have taken of its chord. */
ALWAYS_INLINE vreal NAME(normalise_sums)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *to,
                                         ptrdiff_t k, ptrdiff_t i, ptrdiff_t j)
{
    const vreal zero = vreal_set(0), half = vreal_set((real)0.5), one = vreal_set(1);
    const vreal mu = NAME(of_x)(run, step->tau + i), other = NAME(of_y)(run, step->tau + j);
    const vreal a = vreal_sqrt(vreal_max(vreal_sub(one, mu), zero));
    const vreal b = vreal_sqrt(vreal_max(vreal_sub(one, other), zero)), root = vreal_mul(a, b);
    const vmask has = vreal_less(zero, root);
    const vreal inverse = vreal_select(has, vreal_div(one, vreal_select(has, root, one)), zero);
    const vreal rest = vreal_select(has, zero, one);
    const vreal difference = vreal_mul(vreal_sub(mu, other), vreal_div(one, vreal_select(has, vreal_add(a, b), one)));
    const vreal shortfall = vreal_mul(half, vreal_mul(difference, difference));
    const vreal rounding = vreal_mul(vreal_mul(vreal_set((real)POOL_ROUNDING), vreal_add(mu, other)), inverse);
    vreal m = NAME(less_mu)(to->m[k], mu, other, shortfall, inverse), lost = zero;
    vreal p = to->p ? NAME(less_mu)(to->p[k], mu, other, shortfall, inverse) : vreal_sub(vreal_set(2), m);
    if (step->distance >= 0 && vmask_any(vreal_less(vreal_min(m, p), vreal_set((real)NEAR_WINDOWS)))) {
        const ntk_planes *seen = run->program->planes + step->instruction.sources[0];
        const int n_taps = step->inverse < 0 ? seen->height * seen->width : step->window.n_taps;
        const vreal square = NAME(whole_square)(run, step, to->m[step->distance + k], i, j);
        const vreal bound = vreal_mul(vreal_mul(vreal_set((real)(0.5 * n_taps)), inverse), square);
        const vreal unsure = vreal_mul(vreal_set(4), rounding);
        const vmask is_equal = vreal_less(m, vreal_select(vreal_less(vreal_set((real)FAR_TAPS), bound), unsure, zero));
        const vreal limit = vreal_set((real)NEAR_WINDOWS);
        const vmask is_near = vreal_less(m, limit);
        m = vreal_select(is_near, vreal_select(is_equal, zero, vreal_min(m, bound)), m);
        /* sums of nothing have m = p = 0, and lose nothing */
        const vreal of_m = vreal_select(is_equal, zero, vreal_min(NAME(chord_lost)(rounding, m), vreal_sqrt(bound)));
        const vreal of_p = vreal_select(vreal_less(one, m), NAME(chord_lost)(rounding, p), zero);
        lost = vreal_select(is_near, vreal_select(vreal_less(one, p), of_m, zero), lost);
        lost = vreal_select(vreal_less(p, limit), vreal_max(lost, of_p), lost);
    }
    to->m[k] = vreal_add(m, rest);
    if (to->p)
        to->p[k] = vreal_add(p, rest);
    to->t[k] = vreal_mul(to->t[k], inverse);
    return lost;
}

/* All sums of a pool are there: they become states. Of images with themselves, mu is what they are at equal positions. */
static void NAME(finish_pool)(const NAME(image_run) *run, int number)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) *to = NAME(node_of)(run, number);
    const int n_positions = to->planes->height * to->planes->width;
    const ptrdiff_t lost = NAME(lost_behind)(step);
    const vreal zero = vreal_set(0), one = vreal_set(1);
    for (int plane = 0; plane < to->planes->n_planes && step->inverse >= 0; plane++) {
        const rectangle r = NAME(rectangle_of)(to, plane);
        FOR_PAIRS (r, to->planes->width, k, i, j) {
            const vreal scale =
                vreal_mul(NAME(of_x)(run, step->inverse + i), NAME(of_y)(run, step->inverse + j));
            for (int part = 0; part < 2 + step->has_opposite; part++) {
                vreal *sum = to->m + part * step->room + k;
                *sum = vreal_mul(scale, lost ? vreal_add(*sum, sum[lost]) : *sum);
            }
        }
    }
    if (!run->x)
        for (int i = 0; i < n_positions; i++) {
            const ptrdiff_t k = NAME(pair_number)(to, i, i);
            if (k >= 0)
                vreal_store((real *)run->y + (step->tau + i) * LANES, vreal_min(to->m[k], one));
        }
    vreal lost_in_all = zero;
    for (int plane = 0; plane < to->planes->n_planes; plane++) {
        const rectangle r = NAME(rectangle_of)(to, plane);
        FOR_PAIRS (r, to->planes->width, k, i, j)
            lost_in_all = vreal_add(lost_in_all, NAME(normalise_sums)(run, step, to, k, i, j));
    }
    if (step->is_watched) {
        const ptrdiff_t n_pairs = to->planes->starts[to->planes->n_planes];
        *run->lost = vreal_max(*run->lost, vreal_mul(lost_in_all, vreal_set((real)(1.0 / (double)n_pairs))));
    }
}
