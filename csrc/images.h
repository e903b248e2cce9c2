/* Tiles of images: the steps of a spatial program on vectors of pairs, plane by plane. See ntk_images.h. */

#include "image_run.h"
#include "image_points.h"
#include "image_convolve.h"
#include "image_pool.h"
#include "image_attention.h"

static NAME(image_run) NAME(lay_out_images)(const ntk_image_program *program, void *scratch, size_t *bytes)
{
    char *base = scratch ? (char *)PADDED((size_t)scratch, 64) : NULL;
    size_t used = 0;
    NAME(image_run) run;
    int n_parameters = 1, width = 1, columns = 1, n_sources = 1, attended = 0;
    for (int k = 0; k < program->program.n_maps; k++) {
        const ntk_map *map = program->program.maps + k;
        const int n = map->first_parameter + map->n_parameters;
        n_parameters = n > n_parameters ? n : n_parameters;
    }
    for (int k = 1; k < program->n_nodes; k++) {
        const ntk_window *window = &program->steps[k].window;
        const int own = program->planes[k].width, n = program->steps[k].instruction.n_sources;
        const int last = own * window->strides[1] + window->sizes[1] * window->dilation[1]; /* 0 but in convolutions */
        if (NAME(is_attention)(program->steps + k)) {
            const ntk_planes *seen = program->planes + program->steps[k].instruction.sources[0];
            const int n_seen = seen->height * seen->width;
            attended = n_seen > attended ? n_seen : attended;
        }
        width = own > width ? own : width;
        columns = last > columns ? last : columns;
        n_sources = n > n_sources ? n : n_sources;
    }
    run.program = program;
    run.line_room = LINE + (program->largest_pitch > width ? program->largest_pitch : width);
    run.column_room = width + columns;
    run.memory = NAME(carve)(base, &used, (size_t)program->n_vectors * sizeof(vreal));
    run.weighed = NAME(carve)(base, &used, 4 * (size_t)program->largest_planes * sizeof(vreal));
    run.line = NAME(carve)(base, &used, 4 * (size_t)run.line_room * sizeof(vreal));
    run.columns = NAME(carve)(base, &used, 2 * (size_t)run.column_room * sizeof(vreal));
    run.zeros = NAME(carve)(base, &used, (size_t)width * sizeof(vreal));
    run.attended = NAME(carve)(base, &used, 3 * (size_t)attended * sizeof(vreal));
    run.lost = NAME(carve)(base, &used, sizeof(vreal));
    run.group = NAME(carve)(base, &used, 2 * (size_t)n_parameters * GROUP_REALS * sizeof(real));
    run.nodes = NAME(carve)(base, &used, (size_t)program->n_nodes * sizeof(NAME(node)));
    run.sources = NAME(carve)(base, &used, (size_t)n_sources * sizeof(NAME(source)));
    run.starts = NAME(carve)(base, &used, (size_t)program->all_planes * sizeof(ptrdiff_t));
    run.beside = NAME(carve)(base, &used, (size_t)program->most_beside * sizeof(NAME(plane_beside)));
    run.pitches = NAME(carve)(base, &used, (size_t)program->all_planes * sizeof(ptrdiff_t));
    if (base) {
        NAME(place_nodes)(&run);
        memset(run.zeros, 0, (size_t)width * sizeof(vreal));
    }
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
                                         void *scratch)
{
    size_t bytes;
    NAME(image_run) run = NAME(lay_out_images)(program, scratch, &bytes);
    run.x = x ? (const real *)x->parameters : NULL;
    run.y = (const real *)y->parameters;
    run.x_values = x ? (const real *)x->values : NULL;
    run.y_values = (const real *)y->values;
    return run;
}

/* Before the components of a segment: the first segment's memory is cleared, the pools before any other are finished. */
void NAME(ntk_begin_segment)(const ntk_image_program *program, const ntk_images *x, const ntk_images *y,
                             int segment, void *scratch)
{
    const NAME(image_run) run = NAME(image_run_of)(program, x, y, scratch);
    if (segment == 0) {
        memset(run.memory, 0, (size_t)program->kept_vectors * sizeof(vreal));
        memset(run.lost, 0, sizeof(vreal));
        for (int node = 1; node < program->n_nodes; node++)
            for (int k = 0; program->steps[node].is_kept && k < program->planes[node].n_planes; k++) {
                const int offset = program->planes[node].offsets[2 * k + 1];
                run.starts[program->steps[node].first_plane + k] = program->planes[node].starts[k];
                run.pitches[program->steps[node].first_plane + k] =
                    program->planes[node].width - (offset < 0 ? -offset : offset);
            }
    }
    for (int node = 1; node < program->n_nodes; node++)
        if (program->steps[node].kind == NTK_GATHER && program->steps[node].segment == segment &&
            program->planes[node].n_planes) {
            if (NAME(is_attention)(program->steps + node))
                NAME(attend)(&run, node);
            NAME(finish_pool)(&run, node);
        }
}

/* Components [first, last) of a segment that has begun. */
void NAME(ntk_image_components)(const ntk_image_program *program, const ntk_images *x, const ntk_images *y,
                                int first, int last, void *scratch)
{
    const NAME(image_run) run = NAME(image_run_of)(program, x, y, scratch);
    for (int component = first; component < last; component++) {
        const int start = program->component_starts[component], stop = program->component_starts[component + 1];
        for (int e = start; e < stop; e++) {
            const int at = program->steps[program->entry_nodes[e]].first_plane + program->entry_planes[e];
            run.starts[at] = program->entry_starts[e];
            run.pitches[at] = program->entry_pitches[e];
        }
        for (int e = start; e < stop; e++) {
            const int node = program->entry_nodes[e], plane = program->entry_planes[e];
            const int n_beside = program->entry_counts[e];
            if (program->steps[node].is_passed_on) /* to the activation behind it, which computes it */
                continue;
            switch (program->steps[node].kind) {
            case NTK_ARRANGE:
                NAME(arrange)(&run, node, plane);
                break;
            case NTK_POINT:
                if (!program->steps[program->steps[node].instruction.sources[0]].is_passed_on)
                    NAME(point)(&run, node, plane);
                else if (n_beside) /* with the first of them, all */
                    NAME(convolve_through)(&run, node, program->entry_planes + e, n_beside);
                break;
            case NTK_CONVOLVE:
                NAME(convolve)(&run, node, plane);
                break;
            }
            for (int later = node + 1; later < program->n_nodes; later++)
                if (program->steps[later].kind == NTK_GATHER && program->planes[later].n_planes &&
                    program->steps[later].instruction.sources[0] == node && !NAME(is_attention)(program->steps + later))
                    NAME(pool_plane)(&run, later, plane);
        }
    }
}

/* The state at the output, once all segments have run, and what has been lost: m, p, t, lost, LANES reals each. */
void NAME(ntk_image_output)(const ntk_image_program *program, void *scratch, void *result)
{
    size_t bytes;
    const NAME(image_run) run = NAME(lay_out_images)(program, scratch, &bytes);
    const NAME(node) *last = NAME(node_of)(&run, program->n_nodes - 1);
    const ptrdiff_t k = last->starts[0];
    const pair state = NAME(image_pair)(last, k);
    real *out = (real *)result;
    vreal_store(out, state.m);
    vreal_store(out + LANES, state.p);
    vreal_store(out + 2 * LANES, state.t);
    vreal_store(out + 3 * LANES, *run.lost);
}

/* Outputs of several images of x, one after the other: all segments of each. */
void NAME(ntk_image_entries)(const ntk_image_program *program, const ntk_images *x, ptrdiff_t n_images,
                             const ntk_images *y, void *scratch, void *result)
{
    for (ptrdiff_t k = 0; k < n_images; k++) {
        const ntk_images one = {(const real *)x->parameters + k * program->n_parameters,
                                (const real *)x->values + k * x->value_stride, 0};
        for (int segment = 0; segment < program->n_segments; segment++) {
            NAME(ntk_begin_segment)(program, &one, y, segment, scratch);
            NAME(ntk_image_components)(program, &one, y, program->segment_starts[segment],
                                       program->segment_starts[segment + 1], scratch);
        }
        NAME(ntk_image_output)(program, scratch, (real *)result + 4 * LANES * k);
    }
}
