/* What Python hands to tiles of images: a spatial program, its pairs of positions, and images packed for vectors.
 *
 * A vector holds the same pair of positions of one image of x with LANES images of y, or, without x, of LANES images with
 * themselves.
 * lower/spatial_program.py has the steps and their equations, backends/image_schedule.py where states lie and in which order
 * they are computed.
 */
#ifndef NTK_IMAGES_H
#define NTK_IMAGES_H

#include <stddef.h>

#include "ntk_tile.h"

enum ntk_image_kind {
    NTK_ARRANGE,
    NTK_POINT,
    NTK_CONVOLVE,
    NTK_GATHER,
};

/* The pairs of positions of a node, as in lower/positions.py; one dimension is a height of 1, none is 1 x 1. */
typedef struct {
    int height, width, n_planes;
    const int *offsets;      /* (n_planes, 2) */
    const ptrdiff_t *starts; /* (n_planes + 1,): numbers of the first pairs */
    const int *plane_of;     /* (2 height - 1, 2 width - 1): of each offset, -1 where there is none */
} ntk_planes;

typedef struct {
    int n_taps, n_outputs;
    int is_whole;    /* there is one window, and what it makes has no position */
    int is_circular; /* else what lies beyond the grid is zeros */
    int sizes[2], strides[2], dilation[2], before[2];
    const int *seen;          /* (n_outputs, n_taps): positions, -1 outside */
    const int *output_starts; /* (n_positions + 1,): those outputs ... */
    const int *outputs, *output_rows, *output_columns; /* ... that see a position */
} ntk_window;

typedef struct {
    int kind;
    int segment;
    int is_kept;                   /* for all planes, until the last segment */
    int first_plane;               /* of the node among all planes of all nodes */
    ptrdiff_t place, room;         /* in vectors: m lies at place, the other parts 1, 2, ... times `room` after */
    int has_opposite;              /* whether cosines may be negative, and p is a part of its own */
    int is_passed_on;              /* a convolution that the activation behind it computes: it has no memory */
    ptrdiff_t weighed_by;          /* row of the root variances that its parts are weighed by; -1: none */
    ptrdiff_t first;               /* row of the step's own planes of parameters */
    ptrdiff_t root, inverse, tau;  /* rows; a gathering step's tau is mu; attention has no inverse, -1: root is alpha's */
    ptrdiff_t distance;            /* of a gathering step: squares of the distances that hold m, in vectors behind m; -1: none */
    int is_watched;                /* whether what its subtractions take counts */
    int channels;                  /* of pixels */
    ntk_window window;
    ntk_instruction instruction;   /* sources are nodes; planes that it has not are -1 */
} ntk_image_step;

typedef struct {
    ntk_program program;           /* of its tables and maps */
    int n_nodes, n_segments, all_planes;
    int has_tangent;
    const ntk_image_step *steps;   /* (n_nodes,), the first of which is none */
    const ntk_planes *planes;      /* (n_nodes,) */
    ptrdiff_t n_features, n_parameters;
    ptrdiff_t n_vectors;           /* of memory for states */
    ptrdiff_t kept_vectors;        /* the first of them, which begin as zeros */
    ptrdiff_t largest_planes;      /* pairs of planes side by side, at most */
    ptrdiff_t largest_pitch;
    int most_beside;
    const int *segment_starts;     /* (n_segments + 1,): components, which share nothing within a segment ... */
    const int *component_starts;   /* ... and consist of planes of nodes: */
    const int *entry_nodes, *entry_planes;
    const ptrdiff_t *entry_starts;  /* where a plane begins in its node's memory ... */
    const ptrdiff_t *entry_pitches; /* ... and how far a row of it is from the next ... */
    const int *entry_counts;        /* ... as this many planes, from this one on, lie side by side; 0: it is not the first */
} ntk_image_program;

/* Of x, images one after the other: parameters (n_images, n_parameters), values (n_images, n_features). Of y, images packed:
 * a vector of LANES in the place of every number of one. */
typedef struct {
    const void *parameters, *values;
    ptrdiff_t value_stride; /* of x, in reals */
} ntk_images;

#define NTK_DECLARE_IMAGES(suffix) \
    ptrdiff_t ntk_lanes_##suffix(void); \
    size_t ntk_image_bytes_##suffix(const ntk_image_program *program); \
    void ntk_pack_images_##suffix(const void *given, ptrdiff_t n, ptrdiff_t row_stride, ptrdiff_t image_stride, \
                                  ptrdiff_t n_images, void *packed); \
    void ntk_begin_segment_##suffix(const ntk_image_program *program, const ntk_images *x, const ntk_images *y, \
                                    int segment, void *scratch); \
    void ntk_image_components_##suffix(const ntk_image_program *program, const ntk_images *x, const ntk_images *y, \
                                       int first, int last, void *scratch); \
    void ntk_image_output_##suffix(const ntk_image_program *program, void *scratch, void *result); \
    void ntk_image_entries_##suffix(const ntk_image_program *program, const ntk_images *x, ptrdiff_t n_images, \
                                    const ntk_images *y, void *scratch, void *result);

NTK_DECLARE_IMAGES(f64_baseline)
NTK_DECLARE_IMAGES(f32_baseline)
NTK_DECLARE_IMAGES(f64_avx2)
NTK_DECLARE_IMAGES(f32_avx2)
NTK_DECLARE_IMAGES(f64_avx512)
NTK_DECLARE_IMAGES(f32_avx512)

#endif
