/* A run of a spatial program on one vector of pairs: where states of nodes lie, and how pairs of positions are counted.
 *
 * A node keeps m and t; p, where its cosines may be negative (elsewhere it is 2 - m); and, where all that reads it is one
 * convolution, the cosine besides, with all parts weighed by the products R R' of root variances that its sums need.
 */

typedef struct {
    vreal *m, *t;
    vreal *p; /* NULL: 2 - m */
    vreal *c; /* not NULL: parts are weighed, and this is the cosine */
    const ptrdiff_t *starts;  /* of planes */
    const ptrdiff_t *pitches; /* from row to row of a plane: its width, or that of all planes beside it */
    const ntk_planes *planes;
    ptrdiff_t root; /* of weighed parts */
} NAME(node);

/* What a step takes of a source: `step` is 0 for the only pair of a source without positions. */
typedef struct {
    const NAME(node) *node;
    ptrdiff_t start, pitch, step;
    ptrdiff_t share; /* row; -1: whole */
} NAME(source);

/* The rectangle of a plane: i runs over it row by row. */
typedef struct {
    int offset_y, offset_x, top, left, height, width;
    ptrdiff_t start, pitch;
} rectangle;

/* Weighed parts of a source, from the first pair of a plane on, and what of it a row of a convolution sees. */
typedef struct {
    NAME(node) from;
    ptrdiff_t pitch;
    int height, width;
    int first_y, first_x; /* where the first tap of the row is in the source's rectangle */
    const ntk_window *window;
    int top, bottom; /* taps of the filter that are inside, [top, bottom) */
} NAME(patches);

/* One of the planes side by side that a convolution computes row by row. */
typedef struct {
    rectangle of;
    NAME(patches) seen;
} NAME(plane_beside);

typedef struct {
    const ntk_image_program *program;
    const real *x; /* a number a parameter; NULL: every image of y with itself */
    const real *y; /* a vector a parameter */
    const real *x_values, *y_values;
    vreal *memory;
    vreal *weighed;    /* (4, largest_planes) */
    vreal *line;       /* (4, line_room) */
    vreal *columns;    /* (2, column_room) */
    vreal *zeros;      /* (width,): a row outside */
    vreal *lost;       /* about what subtractions in watched pools have taken from chords, the mean over a pool's pairs */
    vreal *attended;   /* (3, most_attended) */
    ptrdiff_t line_room, column_room;
    real *group;       /* parameters of GROUP pairs: left, then right */
    NAME(node) *nodes; /* (n_nodes,) */
    NAME(source) *sources; /* (most_sources,) */
    ptrdiff_t *starts, *pitches; /* (all_planes,) */
    NAME(plane_beside) *beside;  /* (most_beside,) */
} NAME(image_run);

ALWAYS_INLINE vreal NAME(of_x)(const NAME(image_run) *run, ptrdiff_t row)
{
    return run->x ? vreal_set(run->x[row]) : vreal_load(run->y + row * LANES);
}

ALWAYS_INLINE vreal NAME(of_y)(const NAME(image_run) *run, ptrdiff_t row) { return vreal_load(run->y + row * LANES); }

ALWAYS_INLINE const NAME(node) *NAME(node_of)(const NAME(image_run) *run, int number) { return run->nodes + number; }

static void NAME(place_nodes)(NAME(image_run) *run)
{
    for (int number = 1; number < run->program->n_nodes; number++) {
        const ntk_image_step *step = run->program->steps + number;
        vreal *m = run->memory + step->place, *next = m + 2 * step->room;
        const NAME(node) node = {m, m + step->room, step->has_opposite ? next : NULL,
                                 step->weighed_by >= 0 ? next + step->has_opposite * step->room : NULL,
                                 run->starts + step->first_plane, run->pitches + step->first_plane,
                                 run->program->planes + number, step->weighed_by};
        run->nodes[number] = node;
    }
}

ALWAYS_INLINE int NAME(plane_at)(const ntk_planes *planes, int offset_y, int offset_x)
{
    return planes->plane_of[(offset_y + planes->height - 1) * (2 * planes->width - 1) + offset_x + planes->width - 1];
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
    r.pitch = node->pitches[plane];
    return r;
}

/* The number of the pair of positions (y, x) and (y - offset_y, x - offset_x) in the memory of its node; -1: in no plane. */
ALWAYS_INLINE ptrdiff_t NAME(pair_at)(const NAME(node) *node, int y, int x, int offset_y, int offset_x)
{
    const int plane = NAME(plane_at)(node->planes, offset_y, offset_x);
    if (plane < 0)
        return -1;
    const int top = offset_y > 0 ? offset_y : 0, left = offset_x > 0 ? offset_x : 0;
    return node->starts[plane] + (y - top) * node->pitches[plane] + x - left;
}

/* The same for flat positions. */
ALWAYS_INLINE ptrdiff_t NAME(pair_number)(const NAME(node) *node, int left, int right)
{
    const int width = node->planes->width, y = left / width, x = left % width;
    return NAME(pair_at)(node, y, x, y - right / width, x - right % width);
}

/* Calls: for all pairs k of a rectangle, at positions i and j of a grid. */
#define FOR_PAIRS(r, grid_width, k, i, j) \
    for (ptrdiff_t row_ = 0; row_ < (r).height; row_++) \
        for (ptrdiff_t k = (r).start + row_ * (r).pitch, i = ((r).top + row_) * (grid_width) + (r).left, \
                       j = i - (ptrdiff_t)(r).offset_y * (grid_width) - (r).offset_x, stop_ = i + (r).width; \
             i < stop_; i++, j++, k++)

ALWAYS_INLINE vreal NAME(weight_at)(const NAME(image_run) *run, ptrdiff_t root, ptrdiff_t i, ptrdiff_t j)
{
    return vreal_mul(NAME(of_x)(run, root + i), NAME(of_y)(run, root + j));
}

/* Of a node whose parts are not weighed. */
ALWAYS_INLINE pair NAME(image_pair)(const NAME(node) *node, ptrdiff_t k)
{
    const pair one = {node->m[k], node->p ? node->p[k] : vreal_sub(vreal_set(2), node->m[k]), node->t[k], vreal_set(0)};
    return one;
}

ALWAYS_INLINE void NAME(put_image_pair)(const NAME(image_run) *run, const NAME(node) *node, ptrdiff_t k, ptrdiff_t i,
                                        ptrdiff_t j, pair one)
{
    const vreal t = vreal_add(one.t, one.rest);
    if (!node->c) {
        node->m[k] = one.m;
        node->t[k] = t;
        if (node->p)
            node->p[k] = one.p;
        return;
    }
    const vreal weight = NAME(weight_at)(run, node->root, i, j);
    node->c[k] = vreal_mul(weight, vreal_mul(vreal_set((real)0.5), vreal_sub(one.p, one.m)));
    node->m[k] = vreal_mul(weight, one.m);
    node->t[k] = vreal_mul(weight, t);
    if (node->p)
        node->p[k] = vreal_mul(weight, one.p);
}

ALWAYS_INLINE pair NAME(weighed_pair)(const NAME(image_run) *run, const ntk_image_step *step, const NAME(node) *from,
                                      ptrdiff_t k, ptrdiff_t i, ptrdiff_t j)
{
    const vreal weight = NAME(weight_at)(run, step->root, i, j);
    const pair from_k = NAME(image_pair)(from, k);
    const pair one = {vreal_mul(weight, from_k.m), vreal_mul(weight, from_k.p), vreal_mul(weight, from_k.t), vreal_set(0)};
    return one;
}

ALWAYS_INLINE pair NAME(pair_sum)(pair a, pair b)
{
    const pair sum = {vreal_add(a.m, b.m), vreal_add(a.p, b.p), vreal_add(a.t, b.t), a.rest};
    return sum;
}
