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
} ntk_table;

typedef struct {
    int n_layers;           /* 0: `value` is the whole profile; L: it is one layer's map, applied L times */
    int has_tangent;        /* L layers: also carry Theta, with `slope` the layer's dual of the derivative */
    int value_power;        /* a layer's map: 1 - kappa = lead chord^2 + chord^value_power * value (power 1, 3 or 4) */
    double value_leads[2];  /* ... with one lead for cosine >= 0 and one for cosine < 0 ... */
    double value_offset;    /* ... and this added if cosine < 0 */
    double slope_offset;    /* 1 - kappa' = chord * slope (+ slope_offset if cosine < 0) */
    ntk_table value, slope;
    double stretch, scale;  /* position in the table: chord * scale / (1 + stretch * chord) */
    double near, near_exact; /* squared chords below these come from the rows themselves (exactly) */
} ntk_entry;

typedef struct {
    const void *values;       /* (n, n_features) reals */
    const void *inverse_norm; /* (n,) reals; 0 for a zero row */
    const double *scale;      /* (n,): what an entry is multiplied with, for its row and for its column */
    const void *rho, *tau;    /* L layers: (L + 1, n) reals with rho^2 + tau^2 = 1, weights' and bias' share */
    ptrdiff_t row_stride;     /* of values, in reals */
    ptrdiff_t n_rows;         /* layer stride of rho and tau */
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

/* Derivatives of sum_ij weights[i][j] K_ij with respect to its rows' angles t, rho = cos t and tau = sin t, layer by layer,
 * and, last, to the logarithms of their scales. Float64, and entries of layers, only; the sums are written, not added to.
 * In a symmetric matrix an entry above the diagonal counts twice: `weights` is symmetric as well.
 */
typedef struct {
    const double *weights; /* (n, m), rows contiguous */
    double *row_sums;      /* (n_layers + 2, rows of the tile) */
    double *column_sums;   /* (n_layers + 2, columns of the tile) */
    ptrdiff_t weight_stride;
} ntk_adjoint;

#define NTK_PADDING 16 /* the most lanes of any instruction set */

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
    ptrdiff_t ntk_block_columns_##suffix(ptrdiff_t n_features); \
    size_t ntk_scratch_bytes_##suffix(ptrdiff_t n_features, ptrdiff_t block_columns, int n_layers); \
    void ntk_tile_##suffix(const ntk_entry *entry, const ntk_rows *x, const ntk_rows *y, const ntk_block *block, \
                           void *scratch); \
    void ntk_square_norms_##suffix(const void *values, ptrdiff_t row_stride, ptrdiff_t n_features, \
                                   ptrdiff_t row_start, ptrdiff_t row_stop, double *square_norms);

NTK_DECLARE(f64_baseline)
NTK_DECLARE(f32_baseline)
NTK_DECLARE(f64_avx2)
NTK_DECLARE(f32_avx2)
NTK_DECLARE(f64_avx512)
NTK_DECLARE(f32_avx512)

#endif
