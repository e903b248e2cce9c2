/* Convolutions: sums over the taps of a filter, the same on both sides, so that a plane needs one plane of its source.
 *
 *     m' = i i' sum_d R_d R_d' m_d + gap        gap = 1 - i i' sum_d R_d R_d' - tau tau'
 *
 * Mostly the cosine is summed, and m' = 1 - cosine'. Where a pair is near, m is, and the gap comes from the differences of
 * shares (spatial_program.py has them), so that nothing cancels. What follows at once, alpha z + beta |z|, takes the states
 * row by row from a line that stays in the first-level cache.
 */

/* m and p below this take the sums in which nothing cancels: above it the angle has at most 4 or 8 times the rounding of its
 * cosine. */
#define NEAR_GAP (sizeof(real) == 4 ? 0.03125 : 0.0078125)
#define LINE 32          /* pairs that wait for an activation before it starts */

/* The gap between the patches of one pair, from the differences of their shares: for those of R_d i and R_d' i',
 * i'^2 (R_d i / i' - R_d')^2. A blank patch has no i'; then R_d' = 0, and i in its place. */
ALWAYS_INLINE vreal NAME(exact_gap)(const NAME(image_run) *run, const ntk_image_step *step, ptrdiff_t i, ptrdiff_t j,
                                    vreal inverse_i, vreal inverse_j, vreal tau_step, const int is_self)
{
    const ntk_window *window = &step->window;
    const int *left = window->seen + i * window->n_taps, *right = window->seen + j * window->n_taps;
    const int last = window->n_taps - 1;
    const vreal zero = vreal_set(0), one = vreal_set(1);
    const vreal other = vreal_select(vreal_less(zero, inverse_i), inverse_i, one);
    const vreal divisor = vreal_select(vreal_less(zero, inverse_j), inverse_j, other);
    const vreal ratio = vreal_div(inverse_i, divisor);
    vreal sum = zero;
#define OF_X(row) (is_self ? vreal_load(run->y + (row) * LANES) : vreal_set(run->x[row]))
    if (last == 8 && window->sizes[0] == 3 && (left[0] | right[0] | left[last] | right[last]) >= 0 && !window->is_circular) {
        const ptrdiff_t down = left[3] - left[0], along = window->dilation[1];
        vreal sums[3] = {zero, zero, zero};
        for (ptrdiff_t y = 0; y < 3; y++)
#pragma GCC unroll 3
            for (ptrdiff_t x = 0; x < 3; x++) {
                const ptrdiff_t tap = step->root + y * down + x * along;
                const vreal difference =
                    vreal_fma_exact(OF_X(left[0] + tap), ratio, vreal_sub(zero, NAME(of_y)(run, right[0] + tap)));
                sums[x] = vreal_fma(difference, difference, sums[x]);
            }
        sum = vreal_add(vreal_add(sums[0], sums[1]), sums[2]);
    } else
        for (int tap = 0; tap <= last; tap++) {
            const vreal root = left[tap] < 0 ? zero : OF_X(step->root + left[tap]);
            const vreal other_root = right[tap] < 0 ? zero : NAME(of_y)(run, step->root + right[tap]);
            const vreal difference = vreal_fma_exact(root, ratio, vreal_sub(zero, other_root));
            sum = vreal_fma(difference, difference, sum);
        }
#undef OF_X
    const vreal twice = vreal_fma(vreal_mul(divisor, divisor), sum, vreal_mul(tau_step, tau_step));
    return vreal_mul(vreal_set((real)0.5), twice);
}

/* From the sums over taps of R R' m, R R' p and R R' t to the state of a pair. */
static pair NAME(convolved)(const NAME(image_run) *run, const ntk_image_step *step, ptrdiff_t i, ptrdiff_t j, pair sums)
{
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), zero = vreal_set(0), near = vreal_set((real)NEAR_GAP);
    const vreal inverse_i = NAME(of_x)(run, step->inverse + i), inverse_j = NAME(of_y)(run, step->inverse + j);
    const vreal tau_i = NAME(of_x)(run, step->tau + i), tau_j = NAME(of_y)(run, step->tau + j);
    const vreal scale = vreal_mul(inverse_i, inverse_j), tau = vreal_mul(tau_i, tau_j);
    const vreal m = vreal_mul(scale, sums.m), p = vreal_mul(scale, sums.p);
    const vreal cosine = vreal_fma(half, vreal_sub(p, m), tau);
    pair to = {vreal_sub(one, cosine), vreal_add(one, cosine), zero, zero};
    const vreal nearest = vreal_min(to.m, to.p);
    if (vmask_any(vreal_less(nearest, near))) {
        const vreal gap = NAME(exact_gap)(run, step, i, j, inverse_i, inverse_j, vreal_sub(tau_i, tau_j), !run->x);
        const vmask is_near = vreal_less(nearest, near);
        to.m = vreal_select(is_near, vreal_add(m, gap), to.m);
        to.p = vreal_select(is_near, vreal_add(p, vreal_add(vreal_add(tau, tau), gap)), to.p);
    }
    to.t = vreal_fma(vreal_set((real)step->instruction.adds_own), cosine, vreal_mul(scale, sums.t));
    return to;
}

/* Any window, tap by tap; long sums in blocks. */
static void NAME(convolve_any)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                               const NAME(node) *to, const rectangle *r)
{
    const ntk_window *window = &step->window;
    const vreal zero = vreal_set(0);
    const pair nothing = {zero, zero, zero, zero};
    FOR_PAIRS (*r, to->planes->width, k, i, j) {
        pair total = nothing;
        for (int start = 0; start < window->n_taps; start += 32) {
            const int stop = start + 32 < window->n_taps ? start + 32 : window->n_taps;
            pair sums = nothing;
            for (int tap = start; tap < stop; tap++) {
                const int left = window->seen[i * window->n_taps + tap], right = window->seen[j * window->n_taps + tap];
                if (left < 0 || right < 0)
                    continue;
                const ptrdiff_t number = NAME(pair_number)(from, left, right);
                sums = NAME(pair_sum)(sums, NAME(weighed_pair)(run, step, from, number, left, right));
            }
            total = NAME(pair_sum)(total, sums);
        }
        NAME(put_image_pair)(run, to, k, i, j, NAME(convolved)(run, step, i, j, total));
    }
}

/* A sum over all positions, each with itself on the other side: row by row. */
static void NAME(convolve_whole)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                                 const NAME(node) *to)
{
    const rectangle r = NAME(rectangle_of)(from, NAME(plane_at)(from->planes, 0, 0));
    const vreal zero = vreal_set(0);
    const pair nothing = {zero, zero, zero, zero};
    pair total = nothing, sums = nothing;
    FOR_PAIRS (r, from->planes->width, k, i, j) {
        sums = NAME(pair_sum)(sums, NAME(weighed_pair)(run, step, from, k, i, j));
        if (i + 1 == stop_) {
            total = NAME(pair_sum)(total, sums);
            sums = nothing;
        }
    }
    NAME(put_image_pair)(run, to, to->starts[0], 0, 0, NAME(convolved)(run, step, 0, 0, total));
}

/* A pair with a near one among its lanes: its m, and p if there are any below a cosine of 0. */
ALWAYS_INLINE pair NAME(corrected)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(patches) *patches,
                                   int x, ptrdiff_t i, ptrdiff_t j, pair of, const int is_self)
{
    const ntk_window *window = patches->window;
    const vreal inverse_i = NAME(of_x)(run, step->inverse + i), inverse_j = NAME(of_y)(run, step->inverse + j);
    const vreal tau_i = NAME(of_x)(run, step->tau + i), tau_j = NAME(of_y)(run, step->tau + j);
    const vreal scale = vreal_mul(inverse_i, inverse_j), tau = vreal_mul(tau_i, tau_j), near = vreal_set((real)NEAR_GAP);
    const vreal gap = NAME(exact_gap)(run, step, i, j, inverse_i, inverse_j, vreal_sub(tau_i, tau_j), is_self);
    const vreal *p = patches->from.p;
    vreal sum_m = vreal_set(0), sum_p = sum_m;
    const int column = patches->first_x + x * window->strides[1], dilation = window->dilation[1];
    for (int tap_y = patches->top; tap_y < patches->bottom; tap_y++) {
        const ptrdiff_t row = (ptrdiff_t)(patches->first_y + tap_y * window->dilation[0]) * patches->pitch + column;
        if (!p && window->sizes[1] == 3 && column >= 0 && column + 2 * dilation < patches->width) {
            const vreal *taps = patches->from.m + row;
            sum_m = vreal_add(sum_m, vreal_add(vreal_add(taps[0], taps[dilation]), taps[2 * dilation]));
            continue;
        }
        for (int tap = 0; tap < window->sizes[1]; tap++) {
            if (column + tap * dilation < 0 || column + tap * dilation >= patches->width)
                continue;
            sum_m = vreal_add(sum_m, patches->from.m[row + tap * dilation]);
            if (p)
                sum_p = vreal_add(sum_p, patches->from.p[row + tap * dilation]);
        }
    }
    const vmask is_near = vreal_less(p ? vreal_min(of.m, of.p) : of.m, near);
    of.m = vreal_select(is_near, vreal_fma(scale, sum_m, gap), of.m);
    if (p)
        of.p = vreal_select(is_near, vreal_fma(scale, sum_p, vreal_add(vreal_add(tau, tau), gap)), of.p);
    return of;
}

NEVER_INLINE pair NAME(convolved_near)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(patches) *patches,
                                       int x, ptrdiff_t i, ptrdiff_t j, pair of)
{
    return run->x ? NAME(corrected)(run, step, patches, x, i, j, of, 0) : NAME(corrected)(run, step, patches, x, i, j, of, 1);
}

/* Three rows of a part, of which those outside are zeros. */
typedef struct {
    const vreal *above, *middle, *below;
} NAME(three_rows);

static NAME(three_rows) NAME(rows_seen)(const NAME(patches) *patches, const vreal *part, const vreal *zeros)
{
    const ptrdiff_t down = patches->window->dilation[0] * patches->pitch;
    const vreal *first = part + patches->first_y * patches->pitch;
    const NAME(three_rows) rows = {patches->top > 0 ? zeros : first,
                                   patches->top > 1 || patches->bottom < 2 ? zeros : first + down,
                                   patches->bottom < 3 ? zeros : first + 2 * down};
    return rows;
}

ALWAYS_INLINE vreal NAME(column_sum)(NAME(three_rows) rows, ptrdiff_t x, ptrdiff_t width)
{
    return x < 0 || x >= width ? vreal_set(0) : vreal_add(vreal_add(rows.above[x], rows.middle[x]), rows.below[x]);
}

/* The states of one row of the output, at positions i, i + 1, ... and j, j + 1, ...; with weights for what follows. Windows of
 * 3 x 3 with a stride of 1 are summed in registers, of others the columns first. What is read again and again has a variable
 * of its own: a compiler must take it that a stored vector has changed anything else. */
ALWAYS_INLINE void NAME(convolve_row)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(patches) *patches,
                                      ptrdiff_t i, ptrdiff_t j, int n, const NAME(node) *to, vreal *weights,
                                      ptrdiff_t weighed_by, const int has_tangent, const int is_self, const int is_three)
{
    const ntk_window *window = patches->window;
    const NAME(node) from = patches->from;
    const ptrdiff_t width = patches->width, first = patches->first_x, dilation = window->dilation[1];
    const ptrdiff_t stride = window->strides[1], taps = window->sizes[1];
    const vreal one = vreal_set(1), near = vreal_set((real)NEAR_GAP), own = vreal_set((real)step->instruction.adds_own);
    const NAME(three_rows) c_rows = NAME(rows_seen)(patches, from.c, run->zeros);
    const NAME(three_rows) t_rows = NAME(rows_seen)(patches, from.t, run->zeros);
    vreal *c = run->columns - first, *t = c + run->column_room;
    vreal c_left = NAME(column_sum)(c_rows, first, width), c_middle = NAME(column_sum)(c_rows, first + 1, width);
    vreal t_left = NAME(column_sum)(t_rows, first, width), t_middle = NAME(column_sum)(t_rows, first + 1, width);
    const ptrdiff_t last = first + (n - 1) * stride + (taps - 1) * dilation;
    for (ptrdiff_t x = first; !is_three && x <= last; x++) { /* zeros on both sides */
        const int is_inside = x >= 0 && x < width;
        vreal sum_c = vreal_set(0), sum_t = sum_c;
        for (int tap = patches->top; is_inside && tap < patches->bottom; tap++) {
            const ptrdiff_t k = (patches->first_y + tap * window->dilation[0]) * patches->pitch + x;
            sum_c = vreal_add(sum_c, from.c[k]);
            if (has_tangent)
                sum_t = vreal_add(sum_t, from.t[k]);
        }
        c[x] = sum_c;
        if (has_tangent)
            t[x] = sum_t;
    }
    const int unit = is_self ? LANES : 1;
    const real *const given = is_self ? run->y : run->x;
    const real *const left_inverse = given + (step->inverse + i) * unit, *const left_tau = given + (step->tau + i) * unit;
    const real *const left_root = given + (weighed_by + i) * unit;
    const real *const right_inverse = run->y + (step->inverse + j) * LANES, *const right_tau = run->y + (step->tau + j) * LANES;
    const real *const right_root = run->y + (weighed_by + j) * LANES;
    vreal *const to_m = to->m, *const to_t = to->t, *const to_p = to->p;
#define LEFT(numbers) (is_self ? vreal_load((numbers) + x * LANES) : vreal_set((numbers)[x]))
#define RIGHT(numbers) vreal_load((numbers) + x * LANES)
    for (ptrdiff_t x = 0; x < n; x++) {
        vreal sum_c = vreal_set(0), sum_t = sum_c;
        if (is_three) {
            const vreal c_right = NAME(column_sum)(c_rows, first + x + 2, width);
            sum_c = vreal_add(vreal_add(c_left, c_middle), c_right);
            c_left = c_middle, c_middle = c_right;
            if (has_tangent) {
                const vreal t_right = NAME(column_sum)(t_rows, first + x + 2, width);
                sum_t = vreal_add(vreal_add(t_left, t_middle), t_right);
                t_left = t_middle, t_middle = t_right;
            }
        } else
            for (ptrdiff_t tap = 0; tap < taps; tap++) {
                const ptrdiff_t column = first + x * stride + tap * dilation;
                sum_c = vreal_add(sum_c, c[column]);
                if (has_tangent)
                    sum_t = vreal_add(sum_t, t[column]);
            }
        const vreal scale = vreal_mul(LEFT(left_inverse), RIGHT(right_inverse));
        const vreal cosine = vreal_fma(scale, sum_c, vreal_mul(LEFT(left_tau), RIGHT(right_tau)));
        pair new = {vreal_sub(one, cosine), vreal_add(one, cosine), vreal_set(0), vreal_set(0)};
        if (vmask_any(vreal_less(to_p ? vreal_min(new.m, new.p) : new.m, near)))
            new = NAME(convolved_near)(run, step, patches, (int)x, i + x, j + x, new);
        to_m[x] = new.m;
        if (to_p)
            to_p[x] = new.p;
        to_t[x] = has_tangent ? vreal_fma(own, cosine, vreal_mul(scale, sum_t)) : new.t;
        if (weights)
            weights[x] = vreal_mul(LEFT(left_root), RIGHT(right_root));
    }
#undef LEFT
#undef RIGHT
}

typedef void NAME(row_function)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(patches) *patches,
                                ptrdiff_t i, ptrdiff_t j, int n, const NAME(node) *to, vreal *weights,
                                ptrdiff_t weighed_by);

#define CONVOLVE_ROW(name, has_tangent, is_self, is_three) \
    NEVER_INLINE void NAME(name)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(patches) *patches, \
                                 ptrdiff_t i, ptrdiff_t j, int n, const NAME(node) *to, vreal *weights, \
                                 ptrdiff_t weighed_by) \
    { \
        NAME(convolve_row)(run, step, patches, i, j, n, to, weights, weighed_by, has_tangent, is_self, is_three); \
    }

CONVOLVE_ROW(convolve_nngp_row, 0, 0, 0)
CONVOLVE_ROW(convolve_ntk_row, 1, 0, 0)
CONVOLVE_ROW(convolve_nngp_row_by_three, 0, 0, 1)
CONVOLVE_ROW(convolve_ntk_row_by_three, 1, 0, 1)
CONVOLVE_ROW(convolve_nngp_row_of_itself, 0, 1, 0)
CONVOLVE_ROW(convolve_ntk_row_of_itself, 1, 1, 0)

static NAME(row_function) *NAME(row_function_of)(const ntk_window *window, int is_self, int has_tangent)
{
    if (is_self)
        return has_tangent ? NAME(convolve_ntk_row_of_itself) : NAME(convolve_nngp_row_of_itself);
    if (window->sizes[0] == 3 && window->sizes[1] == 3 && window->strides[1] == 1 && window->dilation[1] == 1)
        return has_tangent ? NAME(convolve_ntk_row_by_three) : NAME(convolve_nngp_row_by_three);
    return has_tangent ? NAME(convolve_ntk_row) : NAME(convolve_nngp_row);
}

/* A plane of a source that other steps read as well, weighed for this one; the next goes to `*room` behind it. */
static NAME(node) NAME(weighed_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                                      const rectangle *r, vreal **room)
{
    const ptrdiff_t n = run->program->largest_planes;
    vreal *first = *room;
    NAME(node) to = {first, first + n, from->p ? first + 2 * n : NULL, first + 3 * n,
                     from->starts, from->pitches, from->planes, step->root};
    ptrdiff_t done = 0;
    FOR_PAIRS (*r, from->planes->width, k, i, j)
        NAME(put_image_pair)(run, &to, done++, i, j, NAME(image_pair)(from, k));
    *room += done;
    return to;
}

/* What a plane of the output sees, before any row of it. */
static NAME(patches) NAME(patches_of)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *source,
                                      const rectangle *r, vreal **room)
{
    const ntk_window *window = &step->window;
    const int plane = NAME(plane_at)(source->planes, r->offset_y * window->strides[0], r->offset_x * window->strides[1]);
    const rectangle seen = NAME(rectangle_of)(source, plane);
    const NAME(patches) patches = {
        source->c ? NAME(node_from)(source, seen.start) : NAME(weighed_plane)(run, step, source, &seen, room),
        source->c ? seen.pitch : seen.width, seen.height, seen.width, 0, -window->before[1], window, 0, 0};
    return patches;
}

static void NAME(look_at_row)(NAME(patches) *patches, int y)
{
    const ntk_window *window = patches->window;
    patches->first_y = y * window->strides[0] - window->before[0];
    for (patches->top = 0; patches->first_y + patches->top * window->dilation[0] < 0; patches->top++)
        ;
    for (patches->bottom = window->sizes[0];
         patches->first_y + (patches->bottom - 1) * window->dilation[0] >= patches->height; patches->bottom--)
        ;
}

/* A plane of a convolution, with strides and dilation: row by row. */
static void NAME(convolve_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *source,
                                 const NAME(node) *to, const rectangle *r)
{
    NAME(row_function) *const convolve_row =
        NAME(row_function_of)(&step->window, !run->x, run->program->program.carries_tangent);
    const ptrdiff_t width = to->planes->width;
    vreal *room = run->weighed;
    NAME(patches) patches = NAME(patches_of)(run, step, source, r, &room);
    for (int y = 0; y < r->height; y++) {
        const ptrdiff_t i = (r->top + y) * width + r->left, j = i - r->offset_y * width - r->offset_x;
        const NAME(node) put = NAME(node_from)(to, r->start + y * r->pitch);
        NAME(look_at_row)(&patches, y);
        convolve_row(run, step, &patches, i, j, r->width, &put, NULL, -1);
    }
}

/* Node `number`, an activation, on planes side by side of the convolution before it, of which it takes the states as they
 * come: none is stored. */
static void NAME(convolve_through)(const NAME(image_run) *run, int number, const int *planes, int n_planes)
{
    const ntk_image_step *then = run->program->steps + number;
    const ntk_image_step *step = run->program->steps + then->instruction.sources[0];
    const NAME(node) *to = NAME(node_of)(run, number), *source = NAME(node_of)(run, step->instruction.sources[0]);
    NAME(row_function) *const convolve_row =
        NAME(row_function_of)(&step->window, !run->x, run->program->program.carries_tangent);
    const ptrdiff_t width = to->planes->width;
    vreal *room = run->weighed;
    for (int k = 0; k < n_planes; k++) {
        run->beside[k].of = NAME(rectangle_of)(to, planes[k]);
        run->beside[k].seen = NAME(patches_of)(run, step, source, &run->beside[k].of, &room);
    }
    NAME(node) line = {run->line + run->line_room, run->line + 2 * run->line_room, NULL, NULL, NULL, NULL, NULL, -1};
    line.p = run->beside[0].seen.from.p ? run->line + 3 * run->line_room : NULL;
    const int height = run->beside[0].of.height;
    ptrdiff_t done = run->beside[0].of.start, waiting = 0;
    for (int y = 0; y < height; y++) {
        for (int k = 0; k < n_planes; k++) {
            const rectangle *r = &run->beside[k].of;
            const ptrdiff_t i = (r->top + y) * width + r->left, j = i - r->offset_y * width - r->offset_x;
            const NAME(node) put = NAME(node_from)(&line, waiting);
            NAME(look_at_row)(&run->beside[k].seen, y);
            convolve_row(run, step, &run->beside[k].seen, i, j, r->width, &put, to->c ? run->line + waiting : NULL, to->root);
            waiting += r->width;
        }
        if (waiting < LINE && y + 1 < height)
            continue;
        const ptrdiff_t ready = y + 1 < height ? waiting / GROUP * GROUP : waiting;
        const NAME(node) folded = NAME(node_from)(to, done);
        NAME(fold_some)(run, then, &line, to->c ? run->line : NULL, &folded, ready);
        done += ready;
        waiting -= ready;
        for (int part = 0; waiting && part < 4; part++)
            memmove(run->line + part * run->line_room, run->line + part * run->line_room + ready,
                    (size_t)waiting * sizeof(vreal));
    }
}

static void NAME(convolve)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) *to = NAME(node_of)(run, number), *from = NAME(node_of)(run, step->instruction.sources[0]);
    const rectangle r = NAME(rectangle_of)(to, plane);
    if (step->window.is_whole)
        NAME(convolve_whole)(run, step, from, to);
    else if (step->window.is_circular)
        NAME(convolve_any)(run, step, from, to, &r);
    else
        NAME(convolve_plane)(run, step, from, to, &r);
}
