/* Pools: sums over the positions of a window on both sides independently. A plane adds its share to all the sums that it is in. */

#define POOL_ROUNDING (4 * (sizeof(real) == 4 ? FLT_EPSILON : DBL_EPSILON)) /* of mu: an m of a pool below it is 0 */
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

static ptrdiff_t NAME(lost_behind)(const ntk_image_step *step)
{
    const int is_long = step->window.n_taps > LONG_WINDOW || step->window.n_outputs == 1;
    return is_long ? (2 + step->has_opposite) * step->room : 0;
}

/* All positions are in the one window, or in none: sums row by row. */
static void NAME(pool_whole)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *to,
                             const NAME(node) *from, const rectangle *r)
{
    const ntk_window *window = &step->window;
    const vreal zero = vreal_set(0);
    const pair nothing = {zero, zero, zero, zero};
    pair sums = nothing;
    FOR_PAIRS (*r, from->planes->width, k, i, j) {
        if (window->output_starts[i] != window->output_starts[i + 1] &&
            window->output_starts[j] != window->output_starts[j + 1])
            sums = NAME(pair_sum)(sums, NAME(weighed_pair)(run, step, from, k, i, j));
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
    FOR_PAIRS (r, from->planes->width, k, i, j) {
        const pair one = NAME(weighed_pair)(run, step, from, k, i, j);
        for (int a = window->output_starts[i]; a < window->output_starts[i + 1]; a++)
            for (int b = window->output_starts[j]; b < window->output_starts[j + 1]; b++) {
                const int y = window->output_rows[a], x = window->output_columns[a];
                const ptrdiff_t sum =
                    NAME(pair_at)(to, y, x, y - window->output_rows[b], x - window->output_columns[b]);
                if (sum >= 0)
                    NAME(add_to_pool)(to, lost, sum, one);
            }
    }
}

/* All sums of a pool are there: they become states. Of images with themselves, mu is what they are at equal positions. */
static void NAME(finish_pool)(const NAME(image_run) *run, int number)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) *to = NAME(node_of)(run, number);
    const int n_positions = to->planes->height * to->planes->width;
    const ptrdiff_t lost = NAME(lost_behind)(step);
    const vreal zero = vreal_set(0), one = vreal_set(1);
    for (int plane = 0; plane < to->planes->n_planes; plane++) {
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
    for (int plane = 0; plane < to->planes->n_planes; plane++) {
        const rectangle r = NAME(rectangle_of)(to, plane);
        FOR_PAIRS (r, to->planes->width, k, i, j) {
            const vreal mu = NAME(of_x)(run, step->tau + i), other = NAME(of_y)(run, step->tau + j);
            const vreal a = vreal_sqrt(vreal_max(vreal_sub(one, mu), zero));
            const vreal b = vreal_sqrt(vreal_max(vreal_sub(one, other), zero)), root = vreal_mul(a, b);
            const vmask has = vreal_less(zero, root);
            const vreal inverse = vreal_select(has, vreal_div(one, vreal_select(has, root, one)), zero);
            const vreal rest = vreal_select(has, zero, one);
            const vreal difference = vreal_mul(vreal_sub(mu, other), vreal_div(one, vreal_select(has, vreal_add(a, b), one)));
            const vreal half = vreal_set((real)0.5), shortfall = vreal_mul(half, vreal_mul(difference, difference));
            const vreal rounding = vreal_mul(vreal_set((real)POOL_ROUNDING), vreal_add(mu, other));
            const vreal twice_m = vreal_add(vreal_sub(to->m[k], mu), vreal_sub(to->m[k], other));
            const vreal m = vreal_sub(vreal_mul(half, twice_m), shortfall);
            to->m[k] = vreal_add(vreal_mul(vreal_select(vreal_less(rounding, m), m, zero), inverse), rest);
            if (to->p) {
                const vreal twice_p = vreal_add(vreal_sub(to->p[k], mu), vreal_sub(to->p[k], other));
                const vreal p = vreal_sub(vreal_mul(half, twice_p), shortfall);
                to->p[k] = vreal_add(vreal_mul(vreal_max(p, zero), inverse), rest);
            }
            to->t[k] = vreal_mul(to->t[k], inverse);
        }
    }
}

