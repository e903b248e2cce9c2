/* Tiles of images: the steps of a spatial program on vectors of pairs, plane by plane. See ntk_images.h.
 *
 * States are m, p and t, normalised as those of rows; sums over taps weigh them by the products of root variances first:
 *
 *     convolution   m' = i i' sum_d R_d R_d' m_d + gap        gap = 1 - i i' sum_d R_d R_d' - tau tau'
 *
 * where the gap comes from the differences of shares where a pair is near (spatial_program.py has them).
 */

#define NEAR_GAP 0.03125 /* m and p below this take a gap in which nothing cancels */
#define POOL_ROUNDING (4 * (sizeof(real) == 4 ? FLT_EPSILON : DBL_EPSILON)) /* of mu: an m of a pool below it is 0 */
#define LONG_WINDOW 16   /* taps, from which on sums keep what rounding takes */

/* Where the planes of a node are. */
typedef struct {
    vreal *m, *p, *t;
    const ptrdiff_t *starts; /* of planes */
    const ntk_planes *planes;
} NAME(node);

typedef struct {
    const ntk_image_program *program;
    const real *x, *y, *x_values, *y_values;
    ptrdiff_t lane; /* of x; -1: each image with itself */
    vreal *memory;
    vreal *weighed;    /* (3, largest_plane) */
    vreal *columns;    /* (3, width) */
    real *group;       /* parameters of GROUP pairs: left, then right */
    ptrdiff_t *starts; /* (all_planes,) */
} NAME(image_run);

/* The rectangle of a plane: i runs over it row by row. */
typedef struct {
    int offset_y, offset_x, top, left, height, width;
    ptrdiff_t start;
} rectangle;

ALWAYS_INLINE vreal NAME(of_x)(const NAME(image_run) *run, ptrdiff_t row)
{
    return run->lane < 0 ? vreal_load(run->x + row * LANES) : vreal_set(run->x[row * LANES + run->lane]);
}

ALWAYS_INLINE vreal NAME(of_y)(const NAME(image_run) *run, ptrdiff_t row) { return vreal_load(run->y + row * LANES); }

static NAME(node) NAME(node_of)(const NAME(image_run) *run, int node)
{
    const ntk_image_step *step = run->program->steps + node;
    vreal *m = run->memory + step->place;
    const NAME(node) result = {m, m + step->room, m + 2 * step->room, run->starts + step->first_plane,
                               run->program->planes + node};
    return result;
}

static rectangle NAME(rectangle_of)(const NAME(node) *node, int plane)
{
    const ntk_planes *planes = node->planes;
    rectangle r;
    r.offset_y = planes->offsets[2 * plane];
    r.offset_x = planes->offsets[2 * plane + 1];
    r.top = r.offset_y > 0 ? r.offset_y : 0;
    r.left = r.offset_x > 0 ? r.offset_x : 0;
    r.height = planes->height - (r.offset_y < 0 ? -r.offset_y : r.offset_y);
    r.width = planes->width - (r.offset_x < 0 ? -r.offset_x : r.offset_x);
    r.start = node->starts[plane];
    return r;
}

/* The number of a pair of flat positions in the memory of its node; -1 if no plane holds it. */
ALWAYS_INLINE ptrdiff_t NAME(pair_number)(const NAME(node) *node, int left, int right)
{
    const ntk_planes *planes = node->planes;
    const int width = planes->width, y = left / width, x = left % width;
    const int offset_y = y - right / width, offset_x = x - right % width;
    const int plane =
        planes->plane_of[(offset_y + planes->height - 1) * (2 * width - 1) + offset_x + width - 1];
    if (plane < 0)
        return -1;
    const int top = offset_y > 0 ? offset_y : 0, first = offset_x > 0 ? offset_x : 0;
    return node->starts[plane] + (ptrdiff_t)(y - top) * (width - (offset_x < 0 ? -offset_x : offset_x)) + x - first;
}

/* Calls: for all pairs k of a rectangle, at positions i and j of a grid. */
#define FOR_PAIRS(r, grid_width, k, i, j) \
    for (ptrdiff_t k = (r).start, row_ = 0; row_ < (r).height; row_++) \
        for (ptrdiff_t i = ((r).top + row_) * (grid_width) + (r).left, \
                       j = i - (ptrdiff_t)(r).offset_y * (grid_width) - (r).offset_x, stop_ = i + (r).width; \
             i < stop_; i++, j++, k++)

static void NAME(arrange)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) to = NAME(node_of)(run, number);
    const rectangle r = NAME(rectangle_of)(&to, plane);
    const vreal zero = vreal_set(0), half = vreal_set((real)0.5);
    FOR_PAIRS (r, to.planes->width, k, i, j) {
        const vreal a = NAME(of_x)(run, step->inverse + i), b = NAME(of_y)(run, step->inverse + j);
        vreal m = zero, p = zero;
        for (int c = 0; c < step->channels; c++) {
            const real *left = run->x_values + (i * step->channels + c) * LANES;
            const vreal u = vreal_mul(run->lane < 0 ? vreal_load(left) : vreal_set(left[run->lane]), a);
            const vreal v = vreal_mul(vreal_load(run->y_values + (j * step->channels + c) * LANES), b);
            const vreal difference = vreal_sub(u, v), sum = vreal_add(u, v);
            m = vreal_fma(difference, difference, m);
            p = vreal_fma(sum, sum, p);
        }
        const vreal one = vreal_set(1);
        vreal blank = vreal_select(vreal_less(zero, a), zero, one);
        blank = vreal_add(blank, vreal_select(vreal_less(zero, b), zero, one));
        to.m[k] = vreal_mul(half, vreal_add(m, blank));
        to.p[k] = vreal_mul(half, vreal_add(p, blank));
        to.t[k] = zero;
    }
}

ALWAYS_INLINE pair NAME(image_pair)(const NAME(node) *node, ptrdiff_t k)
{
    const pair one = {node->m[k], node->p[k], node->t[k], vreal_set(0)};
    return one;
}

ALWAYS_INLINE void NAME(put_image_pair)(const NAME(node) *node, ptrdiff_t k, pair one)
{
    node->m[k] = one.m;
    node->p[k] = one.p;
    node->t[k] = vreal_add(one.t, one.rest);
}

/* An activation of GROUP pairs at a time; those beyond the last repeat it. */
static void NAME(map_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                            const NAME(node) *to, int plane)
{
    const rectangle r = NAME(rectangle_of)(to, plane), source = NAME(rectangle_of)(from, plane);
    const ntk_program *program = &run->program->program;
    const ntk_map *map = program->maps + step->instruction.map;
    const ptrdiff_t n = (ptrdiff_t)r.height * r.width, n_positions = (ptrdiff_t)to->planes->height * to->planes->width;
    const int n_parameters = map->kind == NTK_FOLD || map->kind == NTK_TABLE ? 0 : map->n_parameters;
    const int own = map->first_parameter;
    real *left = run->group, *right = left + (ptrdiff_t)(own + n_parameters) * GROUP_REALS;
    const parameters at = {left, right, 1};
    ptrdiff_t row = 0, column = 0;
    for (ptrdiff_t start = 0; start < n; start += GROUP) {
        pairs state, result;
        const ptrdiff_t count = n - start < GROUP ? n - start : GROUP;
        for (int g = 0; g < GROUP; g++) {
            const ptrdiff_t k = source.start + start + (g < count ? g : count - 1);
            NAME(put_pair)(&state, g, NAME(image_pair)(from, k), 1);
            if (!n_parameters || g >= count) {
                for (int plane_ = own; g >= count && plane_ < own + n_parameters; plane_++) {
                    real *cell = left + (ptrdiff_t)plane_ * GROUP_REALS + g * LANES;
                    vreal_store(cell, vreal_load(cell - LANES));
                    cell = right + (ptrdiff_t)plane_ * GROUP_REALS + g * LANES;
                    vreal_store(cell, vreal_load(cell - LANES));
                }
                continue;
            }
            const ptrdiff_t i = (r.top + row) * to->planes->width + r.left + column;
            const ptrdiff_t j = i - (ptrdiff_t)r.offset_y * to->planes->width - r.offset_x;
            for (int plane_ = own; plane_ < own + n_parameters; plane_++) {
                const ptrdiff_t first = step->first + plane_ * n_positions;
                vreal_store(left + (ptrdiff_t)plane_ * GROUP_REALS + g * LANES, NAME(of_x)(run, first + i));
                vreal_store(right + (ptrdiff_t)plane_ * GROUP_REALS + g * LANES, NAME(of_y)(run, first + j));
            }
            if (++column == r.width)
                column = 0, row++;
        }
        const int has_tangent = program->carries_tangent;
        result = state;
        if (map->kind == NTK_FOLD) {
            static const int nothing = 0;
            static const real none = 0;
            const parameters unused = {&none, &none, 0};
            ntk_instruction whole = step->instruction;
            whole.shares = &nothing;
            whole.bias = 0;
            whole.adds_own = 0;
            if (has_tangent)
                NAME(fold_ntk_whole)(program, &whole, unused, &state, &result);
            else
                NAME(fold_nngp_whole)(program, &whole, unused, &state, &result);
        } else
            NAME(apply_map)(map, at, &state, &result, has_tangent);
        for (int g = 0; g < count; g++)
            NAME(put_image_pair)(to, r.start + start + g, NAME(pair_of)(&result, g));
    }
}

/* The number of a source's pair for one of the node's: the same plane, or the only pair of a source without positions. */
ALWAYS_INLINE ptrdiff_t NAME(source_start)(const NAME(node) *source, const NAME(node) *to, const rectangle *r,
                                           ptrdiff_t *step)
{
    const ntk_planes *planes = source->planes;
    *step = planes->height == to->planes->height && planes->width == to->planes->width;
    const int plane = *step ? planes->plane_of[(r->offset_y + planes->height - 1) * (2 * planes->width - 1) +
                                               r->offset_x + planes->width - 1]
                            : 0;
    return source->starts[plane];
}

static void NAME(mix_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *to, int plane)
{
    const ntk_instruction *mix = &step->instruction;
    const rectangle r = NAME(rectangle_of)(to, plane);
    const ptrdiff_t n_positions = (ptrdiff_t)to->planes->height * to->planes->width;
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), zero = vreal_set(0);
    const vreal own = vreal_set((real)mix->adds_own);
    FOR_PAIRS (r, to->planes->width, k, i, j) {
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
            const NAME(node) source = NAME(node_of)(run, mix->sources[s]);
            ptrdiff_t stride;
            const ptrdiff_t start = NAME(source_start)(&source, to, &r, &stride);
            const pair from = NAME(image_pair)(&source, start + stride * (k - r.start));
            vreal r_i = one, r_j = one;
            if (mix->shares[s] >= 0) {
                const ptrdiff_t share = step->first + mix->shares[s] * n_positions;
                r_i = NAME(of_x)(run, share + i), r_j = NAME(of_y)(run, share + j);
            }
            const vreal r_step = vreal_sub(r_i, r_j), rho = vreal_mul(r_i, r_j);
            twice_gap = vreal_fma(r_step, r_step, twice_gap);
            sum.m = vreal_fma(rho, from.m, sum.m);
            sum.p = vreal_fma(rho, from.p, sum.p);
            sum.t = vreal_fma(rho, from.t, sum.t);
        }
        sum.m = vreal_fma(half, twice_gap, sum.m);
        sum.p = vreal_fma(half, twice_gap, sum.p);
        sum.t = vreal_fma(own, vreal_mul(half, vreal_sub(sum.p, sum.m)), sum.t);
        NAME(put_image_pair)(to, k, sum);
    }
}

static void NAME(multiply_plane)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *to, int plane)
{
    const ntk_instruction *product = &step->instruction;
    const rectangle r = NAME(rectangle_of)(to, plane);
    static const int numbers[2] = {0, 1};
    ntk_instruction two = *product;
    two.n_sources = 2;
    two.sources = numbers;
    const ptrdiff_t n = (ptrdiff_t)r.height * r.width;
    for (ptrdiff_t start = 0; start < n; start += GROUP) {
        const ptrdiff_t count = n - start < GROUP ? n - start : GROUP;
        pairs registers[2], result;
        for (int s = 0; s < product->n_sources; s++) {
            const NAME(node) source = NAME(node_of)(run, product->sources[s]);
            ptrdiff_t stride;
            const ptrdiff_t first = NAME(source_start)(&source, to, &r, &stride);
            for (int g = 0; g < GROUP; g++)
                NAME(put_pair)(registers + (s > 0), g,
                               NAME(image_pair)(&source, first + stride * (start + (g < count ? g : count - 1))), 1);
            if (s > 0) {
                NAME(multiply_nodes)(&two, registers, &result);
                registers[0] = result;
            }
        }
        for (int g = 0; g < count; g++)
            NAME(put_image_pair)(to, r.start + start + g, NAME(pair_of)(registers, g));
    }
}

static void NAME(point)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) to = NAME(node_of)(run, number);
    if (step->instruction.is_product) {
        NAME(multiply_plane)(run, step, &to, plane);
        return;
    }
    if (step->instruction.map >= 0) {
        const rectangle r = NAME(rectangle_of)(&to, plane);
        const NAME(node) from = NAME(node_of)(run, step->instruction.sources[0]);
        NAME(node) placed = from;
        ptrdiff_t stride, start = NAME(source_start)(&from, &to, &r, &stride);
        /* the source's planes may be numbered otherwise: moved to where the map's plane has its number */
        ptrdiff_t moved = start - to.starts[plane];
        placed.m += moved, placed.p += moved, placed.t += moved;
        placed.starts = to.starts;
        placed.planes = to.planes;
        NAME(map_plane)(run, step, &placed, &to, plane);
        if (step->instruction.bias < 0)
            return;
    }
    /* the mix after a map is of what the map has left in its own place */
    if (step->instruction.map >= 0) {
        ntk_image_step after = *step;
        after.instruction.sources = &number;
        NAME(mix_plane)(run, &after, &to, plane);
    } else
        NAME(mix_plane)(run, step, &to, plane);
}

/* The gap between the patches of one pair, from the differences of their shares. */
NEVER_INLINE vreal NAME(exact_gap)(const NAME(image_run) *run, const ntk_image_step *step, ptrdiff_t i, ptrdiff_t j,
                                   vreal inverse_i, vreal inverse_j, vreal tau_step)
{
    const ntk_window *window = &step->window;
    vreal sum = vreal_mul(tau_step, tau_step);
    for (int tap = 0; tap < window->n_taps; tap++) {
        const int left = window->seen[(ptrdiff_t)tap * window->n_outputs + i];
        const int right = window->seen[(ptrdiff_t)tap * window->n_outputs + j];
        const vreal zero = vreal_set(0);
        const vreal r_i = left < 0 ? zero : vreal_mul(NAME(of_x)(run, step->root + left), inverse_i);
        const vreal r_j = right < 0 ? zero : vreal_mul(NAME(of_y)(run, step->root + right), inverse_j);
        const vreal difference = vreal_sub(r_i, r_j);
        sum = vreal_fma(difference, difference, sum);
    }
    return vreal_mul(vreal_set((real)0.5), sum);
}

/* From the sums over taps of R R' m, R R' p and R R' t to the state of a pair. */
ALWAYS_INLINE pair NAME(convolved)(const NAME(image_run) *run, const ntk_image_step *step, ptrdiff_t i, ptrdiff_t j,
                                   pair sums, vreal own)
{
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), zero = vreal_set(0), near = vreal_set((real)NEAR_GAP);
    const vreal inverse_i = NAME(of_x)(run, step->inverse + i), inverse_j = NAME(of_y)(run, step->inverse + j);
    const vreal tau_i = NAME(of_x)(run, step->tau + i), tau_j = NAME(of_y)(run, step->tau + j);
    const vreal scale = vreal_mul(inverse_i, inverse_j), tau = vreal_mul(tau_i, tau_j);
    const vreal m = vreal_mul(scale, sums.m), p = vreal_mul(scale, sums.p);
    const vreal cosine = vreal_fma(half, vreal_sub(p, m), tau);
    pair to = {vreal_sub(one, cosine), vreal_add(one, cosine), zero, zero};
    const vreal nearest = vreal_min(to.m, to.p);
    if (__builtin_expect(vmask_any(vreal_less(nearest, near)), 0)) {
        const vreal gap = NAME(exact_gap)(run, step, i, j, inverse_i, inverse_j, vreal_sub(tau_i, tau_j));
        const vmask is_near = vreal_less(nearest, near);
        to.m = vreal_select(is_near, vreal_add(m, gap), to.m);
        to.p = vreal_select(is_near, vreal_add(p, vreal_add(vreal_add(tau, tau), gap)), to.p);
    }
    to.t = vreal_fma(own, cosine, vreal_mul(scale, sums.t));
    return to;
}

ALWAYS_INLINE pair NAME(weighed_pair)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                                      ptrdiff_t k, ptrdiff_t i, ptrdiff_t j)
{
    const vreal weight = vreal_mul(NAME(of_x)(run, step->root + i), NAME(of_y)(run, step->root + j));
    const pair one = {vreal_mul(weight, from->m[k]), vreal_mul(weight, from->p[k]), vreal_mul(weight, from->t[k]),
                      vreal_set(0)};
    return one;
}

ALWAYS_INLINE pair NAME(pair_sum)(pair a, pair b)
{
    const pair sum = {vreal_add(a.m, b.m), vreal_add(a.p, b.p), vreal_add(a.t, b.t), a.rest};
    return sum;
}

/* Any window, tap by tap; long sums in blocks. */
static void NAME(convolve_any)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                               const NAME(node) *to, int plane)
{
    const ntk_window *window = &step->window;
    const rectangle r = NAME(rectangle_of)(to, plane);
    const vreal zero = vreal_set(0), own = vreal_set((real)step->instruction.adds_own);
    const pair nothing = {zero, zero, zero, zero};
    FOR_PAIRS (r, to->planes->width, k, i, j) {
        pair total = nothing;
        for (int start = 0; start < window->n_taps; start += 32) {
            const int stop = start + 32 < window->n_taps ? start + 32 : window->n_taps;
            pair sums = nothing;
            for (int tap = start; tap < stop; tap++) {
                const int left = window->seen[(ptrdiff_t)tap * window->n_outputs + i];
                const int right = window->seen[(ptrdiff_t)tap * window->n_outputs + j];
                if (left < 0 || right < 0)
                    continue;
                const ptrdiff_t number = NAME(pair_number)(from, left, right);
                sums = NAME(pair_sum)(sums, NAME(weighed_pair)(run, step, from, number, left, right));
            }
            total = NAME(pair_sum)(total, sums);
        }
        NAME(put_image_pair)(to, k, NAME(convolved)(run, step, i, j, total, own));
    }
}

/* A window that moves by 1: the plane of the same offset, weighed once; sums down its columns, then along its rows. */
static void NAME(convolve_box)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                               const NAME(node) *to, int plane)
{
    const ntk_window *window = &step->window;
    const rectangle r = NAME(rectangle_of)(to, plane);
    const ntk_planes *planes = from->planes;
    const int source_plane = planes->plane_of[(r.offset_y + planes->height - 1) * (2 * planes->width - 1) +
                                              r.offset_x + planes->width - 1];
    const rectangle source = NAME(rectangle_of)(from, source_plane);
    const ptrdiff_t n = (ptrdiff_t)source.height * source.width;
    vreal *m = run->weighed, *p = m + n, *t = p + n;
    {
        ptrdiff_t c = 0;
        FOR_PAIRS (source, planes->width, k, i, j) {
            const pair one = NAME(weighed_pair)(run, step, from, k, i, j);
            m[c] = one.m, p[c] = one.p, t[c] = one.t;
            c++;
        }
    }
    const vreal zero = vreal_set(0), own = vreal_set((real)step->instruction.adds_own);
    vreal *column = run->columns;
    ptrdiff_t k = r.start;
    for (int y = 0; y < r.height; y++) {
        int first = y - window->before[0], last = first + window->sizes[0];
        first = first < 0 ? 0 : first;
        last = last > source.height ? source.height : last;
        for (int x = 0; x < source.width; x++) {
            vreal sum_m = zero, sum_p = zero, sum_t = zero;
            for (ptrdiff_t c = (ptrdiff_t)first * source.width + x; c < (ptrdiff_t)last * source.width; c += source.width) {
                sum_m = vreal_add(sum_m, m[c]);
                sum_p = vreal_add(sum_p, p[c]);
                sum_t = vreal_add(sum_t, t[c]);
            }
            column[3 * x] = sum_m, column[3 * x + 1] = sum_p, column[3 * x + 2] = sum_t;
        }
        const ptrdiff_t i = (ptrdiff_t)(r.top + y) * to->planes->width + r.left;
        const ptrdiff_t j = i - (ptrdiff_t)r.offset_y * to->planes->width - r.offset_x;
        for (int x = 0; x < r.width; x++, k++) {
            int start = x - window->before[1], stop = start + window->sizes[1];
            start = start < 0 ? 0 : start;
            stop = stop > source.width ? source.width : stop;
            pair sums = {zero, zero, zero, zero};
            for (int c = start; c < stop; c++) {
                sums.m = vreal_add(sums.m, column[3 * c]);
                sums.p = vreal_add(sums.p, column[3 * c + 1]);
                sums.t = vreal_add(sums.t, column[3 * c + 2]);
            }
            NAME(put_image_pair)(to, k, NAME(convolved)(run, step, i + x, j + x, sums, own));
        }
    }
}

/* sum += term, and what rounding takes in `lost`. */
ALWAYS_INLINE void NAME(add_long)(vreal *sum, vreal *lost, vreal term)
{
    const vreal total = vreal_add(*sum, term), part = vreal_sub(total, *sum);
    const vreal error = vreal_add(vreal_sub(*sum, vreal_sub(total, part)), vreal_sub(term, part));
    *sum = total;
    *lost = vreal_add(*lost, error);
}

ALWAYS_INLINE void NAME(add_to_pool)(const NAME(node) *to, ptrdiff_t room, ptrdiff_t k, pair one, int is_long)
{
    if (is_long) {
        NAME(add_long)(to->m + k, to->m + k + 3 * room, one.m);
        NAME(add_long)(to->p + k, to->p + k + 3 * room, one.p);
        NAME(add_long)(to->t + k, to->t + k + 3 * room, one.t);
        return;
    }
    to->m[k] = vreal_add(to->m[k], one.m);
    to->p[k] = vreal_add(to->p[k], one.p);
    to->t[k] = vreal_add(to->t[k], one.t);
}

/* A plane's share of all the sums that it is in. */
static void NAME(pool_plane)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const ntk_window *window = &step->window;
    const NAME(node) to = NAME(node_of)(run, number), from = NAME(node_of)(run, step->instruction.sources[0]);
    const rectangle r = NAME(rectangle_of)(&from, plane);
    const int is_long = window->n_taps > LONG_WINDOW, is_whole = window->n_outputs == 1;
    const vreal zero = vreal_set(0);
    const pair nothing = {zero, zero, zero, zero};
    pair sums = nothing;
    FOR_PAIRS (r, from.planes->width, k, i, j) {
        const pair one = NAME(weighed_pair)(run, step, &from, k, i, j);
        if (is_whole) {
            if (window->output_starts[i] == window->output_starts[i + 1] ||
                window->output_starts[j] == window->output_starts[j + 1])
                continue;
            sums = NAME(pair_sum)(sums, one);
            if (i + 1 == stop_) { /* row by row */
                NAME(add_to_pool)(&to, step->room, to.starts[0], sums, 1);
                sums = nothing;
            }
            continue;
        }
        for (int a = window->output_starts[i]; a < window->output_starts[i + 1]; a++)
            for (int b = window->output_starts[j]; b < window->output_starts[j + 1]; b++) {
                const ptrdiff_t pair_ = NAME(pair_number)(&to, window->outputs[a], window->outputs[b]);
                if (pair_ >= 0)
                    NAME(add_to_pool)(&to, step->room, pair_, one, is_long);
            }
    }
    if (is_whole)
        NAME(add_to_pool)(&to, step->room, to.starts[0], sums, 1);
}

/* All sums of a pool are there: they become states. Of images with themselves, mu is what they are at equal positions. */
static void NAME(finish_pool)(const NAME(image_run) *run, int number)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) to = NAME(node_of)(run, number);
    const int n_positions = to.planes->height * to.planes->width;
    const int is_long = step->window.n_taps > LONG_WINDOW || step->window.n_outputs == 1;
    const vreal zero = vreal_set(0), one = vreal_set(1);
    for (int plane = 0; plane < to.planes->n_planes; plane++) {
        const rectangle r = NAME(rectangle_of)(&to, plane);
        FOR_PAIRS (r, to.planes->width, k, i, j) {
            const vreal scale =
                vreal_mul(NAME(of_x)(run, step->inverse + i), NAME(of_y)(run, step->inverse + j));
            if (is_long) {
                to.m[k] = vreal_add(to.m[k], to.m[k + 3 * step->room]);
                to.p[k] = vreal_add(to.p[k], to.p[k + 3 * step->room]);
                to.t[k] = vreal_add(to.t[k], to.t[k + 3 * step->room]);
            }
            to.m[k] = vreal_mul(scale, to.m[k]);
            to.p[k] = vreal_mul(scale, to.p[k]);
            to.t[k] = vreal_mul(scale, to.t[k]);
        }
    }
    if (run->lane < 0)
        for (int i = 0; i < n_positions; i++) {
            const ptrdiff_t k = NAME(pair_number)(&to, i, i);
            if (k >= 0)
                vreal_store((real *)run->y + (step->tau + i) * LANES, vreal_min(to.m[k], one));
        }
    for (int plane = 0; plane < to.planes->n_planes; plane++) {
        const rectangle r = NAME(rectangle_of)(&to, plane);
        FOR_PAIRS (r, to.planes->width, k, i, j) {
            const vreal mu = NAME(of_x)(run, step->tau + i), other = NAME(of_y)(run, step->tau + j);
            const vreal a = vreal_sqrt(vreal_max(vreal_sub(one, mu), zero));
            const vreal b = vreal_sqrt(vreal_max(vreal_sub(one, other), zero)), root = vreal_mul(a, b);
            const vmask has = vreal_less(zero, root);
            const vreal inverse = vreal_select(has, vreal_div(one, vreal_select(has, root, one)), zero);
            const vreal rest = vreal_select(has, zero, one);
            const vreal step = vreal_mul(vreal_sub(mu, other), vreal_div(one, vreal_select(has, vreal_add(a, b), one)));
            const vreal half = vreal_set((real)0.5), lost = vreal_mul(half, vreal_mul(step, step));
            const vreal rounding = vreal_mul(vreal_set((real)POOL_ROUNDING), vreal_add(mu, other));
            const vreal twice_m = vreal_add(vreal_sub(to.m[k], mu), vreal_sub(to.m[k], other));
            const vreal twice_p = vreal_add(vreal_sub(to.p[k], mu), vreal_sub(to.p[k], other));
            const vreal m = vreal_sub(vreal_mul(half, twice_m), lost), p = vreal_sub(vreal_mul(half, twice_p), lost);
            to.m[k] = vreal_add(vreal_mul(vreal_select(vreal_less(rounding, m), m, zero), inverse), rest);
            to.p[k] = vreal_add(vreal_mul(vreal_max(p, zero), inverse), rest);
            to.t[k] = vreal_mul(to.t[k], inverse);
        }
    }
}

static void NAME(convolve)(const NAME(image_run) *run, int number, int plane)
{
    const ntk_image_step *step = run->program->steps + number;
    const NAME(node) to = NAME(node_of)(run, number), from = NAME(node_of)(run, step->instruction.sources[0]);
    if (step->window.is_box)
        NAME(convolve_box)(run, step, &from, &to, plane);
    else
        NAME(convolve_any)(run, step, &from, &to, plane);
}

static NAME(image_run) NAME(lay_out_images)(const ntk_image_program *program, void *scratch, size_t *bytes)
{
    char *base = scratch ? (char *)PADDED((size_t)scratch, 64) : NULL;
    size_t used = 0;
    NAME(image_run) run;
    int n_parameters = 1, width = 1;
    for (int k = 0; k < program->program.n_maps; k++) {
        const ntk_map *map = program->program.maps + k;
        const int n = map->first_parameter + map->n_parameters;
        n_parameters = n > n_parameters ? n : n_parameters;
    }
    for (int k = 1; k < program->n_nodes; k++)
        width = program->planes[k].width > width ? program->planes[k].width : width;
    run.program = program;
    run.memory = NAME(carve)(base, &used, (size_t)program->n_vectors * sizeof(vreal));
    run.weighed = NAME(carve)(base, &used, 3 * (size_t)program->largest_plane * sizeof(vreal));
    run.columns = NAME(carve)(base, &used, 3 * (size_t)width * sizeof(vreal));
    run.group = NAME(carve)(base, &used, 2 * (size_t)n_parameters * GROUP_REALS * sizeof(real));
    run.starts = NAME(carve)(base, &used, (size_t)program->all_planes * sizeof(ptrdiff_t));
    *bytes = used + 64;
    return run;
}

ptrdiff_t NAME(ntk_lanes)(void) { return LANES; }

size_t NAME(ntk_image_bytes)(const ntk_image_program *program)
{
    size_t bytes;
    NAME(lay_out_images)(program, NULL, &bytes);
    return bytes;
}

/* packed[k][lane] = given[k * stride + lane], of up to LANES images; lanes beyond repeat the last. */
void NAME(ntk_pack_images)(const void *given, ptrdiff_t n, ptrdiff_t row_stride, ptrdiff_t image_stride, ptrdiff_t n_images,
                           void *packed)
{
    const real *from = (const real *)given;
    real *to = (real *)packed;
    for (ptrdiff_t k = 0; k < n; k++)
        for (ptrdiff_t lane = 0; lane < LANES; lane++)
            to[k * LANES + lane] = from[k * row_stride + (lane < n_images ? lane : n_images - 1) * image_stride];
}

static NAME(image_run) NAME(image_run_of)(const ntk_image_program *program, const ntk_images *x, const ntk_images *y,
                                         ptrdiff_t lane, void *scratch)
{
    size_t bytes;
    NAME(image_run) run = NAME(lay_out_images)(program, scratch, &bytes);
    run.x = (const real *)x->parameters;
    run.y = (const real *)y->parameters;
    run.x_values = (const real *)x->values;
    run.y_values = (const real *)y->values;
    run.lane = lane;
    return run;
}

/* Before the components of a segment: the first segment's memory is cleared, the pools before any other are finished. */
void NAME(ntk_begin_segment)(const ntk_image_program *program, const ntk_images *x, const ntk_images *y, ptrdiff_t lane,
                             int segment, void *scratch)
{
    const NAME(image_run) run = NAME(image_run_of)(program, x, y, lane, scratch);
    if (segment == 0) {
        memset(run.memory, 0, (size_t)program->kept_vectors * sizeof(vreal));
        for (int node = 1; node < program->n_nodes; node++)
            for (int k = 0; program->steps[node].is_kept && k < program->planes[node].n_planes; k++)
                run.starts[program->steps[node].first_plane + k] = program->planes[node].starts[k];
    }
    for (int node = 1; node < program->n_nodes; node++)
        if (program->steps[node].kind == NTK_GATHER && program->steps[node].segment == segment &&
            program->planes[node].n_planes)
            NAME(finish_pool)(&run, node);
}

/* Components [first, last) of a segment that has begun. */
void NAME(ntk_image_components)(const ntk_image_program *program, const ntk_images *x, const ntk_images *y, ptrdiff_t lane,
                                int first, int last, void *scratch)
{
    const NAME(image_run) run = NAME(image_run_of)(program, x, y, lane, scratch);
    for (int component = first; component < last; component++) {
        const int start = program->component_starts[component], stop = program->component_starts[component + 1];
        for (int e = start; e < stop; e++)
            run.starts[program->steps[program->entry_nodes[e]].first_plane + program->entry_planes[e]] =
                program->entry_starts[e];
        for (int e = start; e < stop; e++) {
            const int node = program->entry_nodes[e], plane = program->entry_planes[e];
            switch (program->steps[node].kind) {
            case NTK_ARRANGE:
                NAME(arrange)(&run, node, plane);
                break;
            case NTK_POINT:
                NAME(point)(&run, node, plane);
                break;
            case NTK_CONVOLVE:
                NAME(convolve)(&run, node, plane);
                break;
            }
            for (int later = node + 1; later < program->n_nodes; later++)
                if (program->steps[later].kind == NTK_GATHER && program->planes[later].n_planes &&
                    program->steps[later].instruction.sources[0] == node)
                    NAME(pool_plane)(&run, later, plane);
        }
    }
}

/* The state at the output, once all segments have run: m, p, t, LANES reals each. */
void NAME(ntk_image_output)(const ntk_image_program *program, void *scratch, void *result)
{
    size_t bytes;
    const NAME(image_run) run = NAME(lay_out_images)(program, scratch, &bytes);
    const NAME(node) last = NAME(node_of)(&run, program->n_nodes - 1);
    const ptrdiff_t k = last.starts[0];
    real *out = (real *)result;
    vreal_store(out, last.m[k]);
    vreal_store(out + LANES, last.p[k]);
    vreal_store(out + 2 * LANES, last.t[k]);
}
