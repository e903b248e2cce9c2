/* Attention: sums over all positions on both sides, weighed by alphas that each image has of its own. */

/* Adds a pair by a weight that may be negative: then m and p change places. */
ALWAYS_INLINE pair NAME(add_by_weight)(pair sums, vreal weight, pair one)
{
    const vreal mass = vreal_abs(weight), zero = vreal_set(0);
    const vmask turned = vreal_less(weight, zero);
    sums.m = vreal_fma(mass, vreal_select(turned, one.p, one.m), sums.m);
    sums.p = vreal_fma(mass, vreal_select(turned, one.m, one.p), sums.p);
    sums.t = vreal_fma(weight, one.t, sums.t);
    return sums;
}

/* The square of the distance of two sums at most, with what each position adds to it. */
static vreal NAME(square_attended)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                                   ptrdiff_t n_own, ptrdiff_t i, ptrdiff_t j)
{
    const rectangle r = NAME(rectangle_of)(from, NAME(plane_at)(from->planes, 0, 0));
    const vreal zero = vreal_set(0);
    vreal square = zero;
    FOR_PAIRS (r, from->planes->width, k, a, b) {
        const vreal alpha = NAME(of_x)(run, step->root + a * n_own + i), other = NAME(of_y)(run, step->root + b * n_own + j);
        const vreal difference = vreal_sub(vreal_abs(alpha), vreal_abs(other)), both = vreal_mul(alpha, other);
        const pair one = NAME(image_pair)(from, k);
        const vreal m = vreal_mul(vreal_abs(both), vreal_select(vreal_less(both, zero), one.p, one.m));
        square = vreal_add(square, vreal_fma(difference, difference, vreal_add(m, m)));
    }
    return square;
}

/* For every position j of y, what each position of x is to the sum of y's by its weights; then the sums of these. */
static void NAME(attend)(const NAME(image_run) *run, int number)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) *to = NAME(node_of)(run, number), *from = NAME(node_of)(run, step->instruction.sources[0]);
    const ptrdiff_t n_own = (ptrdiff_t)to->planes->height * to->planes->width;
    const ptrdiff_t n_seen = (ptrdiff_t)from->planes->height * from->planes->width;
    vreal *const m = run->attended, *const p = m + n_seen, *const t = p + n_seen;
    const vreal zero = vreal_set(0);
    const pair nothing = {zero, zero, zero, zero};
    for (ptrdiff_t j = 0; j < n_own; j++) {
        memset(m, 0, 3 * (size_t)n_seen * sizeof(vreal));
        for (int plane = 0; plane < from->planes->n_planes; plane++) {
            const rectangle r = NAME(rectangle_of)(from, plane);
            FOR_PAIRS (r, from->planes->width, k, a, b) {
                pair sums = {m[a], p[a], t[a], zero};
                sums = NAME(add_by_weight)(sums, NAME(of_y)(run, step->root + b * n_own + j), NAME(image_pair)(from, k));
                m[a] = sums.m;
                p[a] = sums.p;
                t[a] = sums.t;
            }
        }
        for (ptrdiff_t i = 0; i < n_own; i++) {
            const ptrdiff_t k = NAME(pair_number)(to, (int)i, (int)j);
            pair sums = nothing;
            if (k < 0)
                continue;
            for (ptrdiff_t a = 0; a < n_seen; a++) {
                const pair one = {m[a], p[a], t[a], zero};
                sums = NAME(add_by_weight)(sums, NAME(of_x)(run, step->root + a * n_own + i), one);
            }
            to->m[k] = sums.m;
            to->t[k] = sums.t;
            if (to->p)
                to->p[k] = sums.p;
            if (step->distance >= 0)
                to->m[step->distance + k] = NAME(square_attended)(run, step, from, n_own, i, j);
        }
    }
}
