/* What Python hands to a tile, and the tiles themselves: one function per real type and instruction set.
 *
 * A tile fills out[row_start:row_stop, column_start:column_stop]. In a symmetric Gram matrix it computes the entries on
 * and above the diagonal only and stores their mirror images too. With `vectors` it stores nothing and multiplies the
 * same entries with them instead. It allocates nothing, shares nothing that it writes, and knows no threads: the
 * caller owns the schedule and the scratch memory.
 */
#ifndef NTK_TILE_H
#define NTK_TILE_H

#include <stddef.h>

/* A univariate function of the chord, as piecewise polynomials: n_terms rows of one coefficient per piece. */
typedef struct {
    const void *coefficients; /* (n_terms, pieces) reals, lowest power first, 64-byte aligned */
    int n_terms;
    double stretch, scale; /* position in the table: chord * scale / (1 + stretch * chord) */
} ntk_table;

/* What a pair's state goes through: an activation, where it stands. See lower/program.py and layers/. */
enum ntk_map_kind {
    NTK_FOLD,
    NTK_TABLE,
    NTK_EXPONENTIAL,
    NTK_ERF,
    NTK_GELU,
    NTK_SINE,
    NTK_GAUSSIAN,
    NTK_POLYNOMIAL,
    NTK_CORNERS, /* in float64 alone */
};

/* What a kink at 0 leaves of a Hermite expansion after its first terms: see layers/hermite_tails.py. */
#define NTK_TAIL_NODES 7
#define NTK_TAIL_FUNCTIONS (2 * (NTK_TAIL_NODES + 1))

typedef struct {
    int n_functions; /* 0: there is no tail */
    ntk_table functions[NTK_TAIL_FUNCTIONS]; /* of even orders, then of odd ones; on all pieces, all at the same positions */
    double at_zero[NTK_TAIL_NODES], steps[NTK_TAIL_NODES];
    double reach, shift, largest_square;
} ntk_tail;

/* A function that is straight between corners: on each stretch rise + slope z, less its value at 0. */
#define NTK_CORNERS_MOST 8

typedef struct {
    int n;
    double positions[NTK_CORNERS_MOST];
    double slopes[NTK_CORNERS_MOST + 1], rises[NTK_CORNERS_MOST + 1];
    double bends[NTK_CORNERS_MOST]; /* by which slopes rise */
    ntk_table moment;               /* one-sided: lower/corner_parts.py */
} ntk_corners;

#define NTK_CONSTANTS 4 /* the most numbers that a kind needs besides the rows' */

typedef struct {
    int kind;
    int parity;           /* of the activation: 1 even, -1 odd, 0 neither */
    int first_parameter;  /* plane of the rows' parameters, of which the kind uses n_parameters */
    int n_parameters;
    double constants[NTK_CONSTANTS];
    double near_shortfall, near_bending; /* see layers/near_pairs.py */
    int power;               /* table: 1 - cosine' = chord^power value(chord); the power only where cosine >= 0 if parity 0 */
    ntk_table value, derivative;
    ntk_tail tail;           /* polynomial */
    ntk_corners corners;
} ntk_map;

/* One step: see program.h. Planes n_parameters and n_parameters + 1 hold ones and zeros. */
typedef struct {
    int destination;
    int map; /* -1: none */
    int n_sources;
    const int *sources, *shares; /* registers, planes */
    int bias;                    /* plane */
    int adds_own, is_product, promotes;
} ntk_instruction;

typedef struct {
    int n_instructions; /* 0: `profile` is the kernel */
    int n_maps, n_registers, n_parameters;
    int has_tangent;     /* an entry is scale scale' t of the last instruction, else scale scale' cosine */
    int carries_tangent; /* registers hold t: it is the result, or becomes a cosine on the way */
    int keeps_m_rest;    /* and what rounding takes from m: many layers are nearly linear */
    const ntk_instruction *instructions;
    const ntk_map *maps;
    ntk_table profile;
    double near, near_exact;          /* squared chords below these come from the rows themselves (exactly) */
} ntk_program;

typedef struct {
    const void *values;       /* (n, n_features) reals */
    const void *inverse_norm; /* (n,) reals; 0 for a zero row */
    const double *scale;      /* (n,): what an entry is multiplied with, for its row and for its column */
    const void *parameters;   /* (n_parameters, n) reals */
    ptrdiff_t row_stride;     /* of values, in reals */
    ptrdiff_t n_rows;         /* stride of the parameters' planes */
} ntk_rows;

/* Products of a tile with vectors, each a contiguous run of reals; vectors are readable, and sums writeable, up to
 * NTK_PADDING reals beyond their ends, where vectors hold zeros.
 *
 *     row_sums[v][i - row_start]       += sum over the tile's columns j of K[i][j] right[v][j]
 *     column_sums[v][j - column_start] += sum over the tile's rows i of left[v][i] K[i][j]      unless left is NULL
 *
 * In a symmetric Gram matrix only entries above the diagonal count: the caller adds the diagonal's share.
 */
typedef struct {
    const void *right, *left;
    void *row_sums, *column_sums;
    ptrdiff_t n_vectors;
    ptrdiff_t vector_stride, sum_stride; /* in reals */
} ntk_vectors;

#define NTK_PADDING 16 /* the most lanes of any instruction set */

/* Derivatives of sum_ij weights[i][j] K_ij with respect to the parameters of its rows, plane by plane, and, last, to the
 * logarithms of their scales: added to the sums, of which the columns' are writeable NTK_SUM_PADDING reals beyond their ends.
 * In a symmetric matrix an entry above the diagonal counts twice: `weights` is symmetric as well.
 *
 * Float64 only, and programs whose maps are all NTK_FOLD, stand in instructions of their own (one source, no other share or
 * bias than the planes of ones and zeros) and in which no instruction writes to a register that another has written to.
 */
typedef struct {
    const double *weights; /* (n, m), rows contiguous */
    double *row_sums;      /* (n_parameters + 1, rows of the tile) */
    double *column_sums;   /* (n_parameters + 1, columns of the tile) */
    ptrdiff_t weight_stride, row_stride, column_stride;
    void *scratch; /* of ntk_adjoint_bytes */
} ntk_adjoint;

#define NTK_SUM_PADDING 32 /* columns that are computed at once */

typedef struct {
    ptrdiff_t n_features;
    ptrdiff_t row_start, row_stop, column_start, column_stop;
    const double *diagonal;   /* (n,): symmetric, with these diagonal entries; NULL: rectangular */
    void *out;                /* the whole matrix */
    ptrdiff_t out_row_stride, out_column_stride; /* in reals */
    const ntk_vectors *vectors; /* NULL: store */
    const ntk_adjoint *adjoint; /* not NULL: neither store nor multiply, but differentiate */
    int streaming;            /* store past the caches: right when the matrix does not fit in them */
} ntk_block;

#define NTK_DECLARE(suffix) \
    int ntk_pieces_##suffix(void); \
    ptrdiff_t ntk_block_columns_##suffix(ptrdiff_t n_features, ptrdiff_t n_parameters); \
    size_t ntk_scratch_bytes_##suffix(const ntk_program *program, ptrdiff_t n_features, ptrdiff_t block_columns); \
    size_t ntk_adjoint_bytes_##suffix(const ntk_program *program, ptrdiff_t block_columns); \
    void ntk_tile_##suffix(const ntk_program *program, const ntk_rows *x, const ntk_rows *y, const ntk_block *block, \
                           void *scratch); \
    void ntk_square_norms_##suffix(const void *values, ptrdiff_t row_stride, ptrdiff_t n_features, \
                                   ptrdiff_t row_start, ptrdiff_t row_stop, double *square_norms, double *rests);

NTK_DECLARE(f64_baseline)
NTK_DECLARE(f32_baseline)
NTK_DECLARE(f64_avx2)
NTK_DECLARE(f32_avx2)
NTK_DECLARE(f64_avx512)
NTK_DECLARE(f32_avx512)

#endif
