/* A band of entries as a factor: multiplied with vectors from the right and, transposed, from the left, while it is in the
 * second-level cache. One pass over a few rows serves both products.
 *
 * Sums run in one fixed order: a row's by lanes over the tile's columns, a column's by the rows of the tile.
 */

#define VECTORS_AT_ONCE 2
#if defined(NTK_AVX512)
#define ROWS_AT_ONCE 8 /* 16 accumulators, 8 rows, a vector, a column sum: 26 of 32 registers */
#else
#define ROWS_AT_ONCE 4 /* 8 accumulators, 4 rows, a vector, a column sum: 14 of 16 registers */
#endif
#define VECTOR_BLOCK 16 /* vectors and their sums that stay in the second-level cache beside the band */

typedef struct {
    const real *right, *left;
    real *row_sums, *column_sums;
    ptrdiff_t vector_stride, sum_stride;
} NAME(factors);

/* ROWS_AT_ONCE rows r of a band: row_sums[v][r] += band[r][j] right[v][j] and column_sums[v][j] += left[v][r] band[r][j],
 * summed over j in [first, stop) and over r. */
static inline __attribute__((always_inline)) void
NAME(multiply_rows)(const real *band, ptrdiff_t band_stride, ptrdiff_t first, ptrdiff_t stop, NAME(factors) f,
                    const int n_vectors, const int both)
{
    vreal sum[VECTORS_AT_ONCE][ROWS_AT_ONCE];
    for (int v = 0; v < n_vectors; v++)
        for (int r = 0; r < ROWS_AT_ONCE; r++)
            sum[v][r] = vreal_set(0);
    for (ptrdiff_t j = first; j < stop; j += LANES) {
        vreal entries[ROWS_AT_ONCE];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS_AT_ONCE; r++)
            entries[r] = vreal_load(band + r * band_stride + j);
#pragma GCC unroll 8
        for (int v = 0; v < n_vectors; v++) {
            const vreal right = vreal_load(f.right + v * f.vector_stride + j);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS_AT_ONCE; r++)
                sum[v][r] = vreal_fma(entries[r], right, sum[v][r]);
            if (both) {
                vreal column = vreal_load(f.column_sums + v * f.sum_stride + j);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS_AT_ONCE; r++)
                    column = vreal_fma(entries[r], vreal_set(f.left[v * f.vector_stride + r]), column);
                vreal_store(f.column_sums + v * f.sum_stride + j, column);
            }
        }
    }
    for (int v = 0; v < n_vectors; v++)
        for (int r = 0; r < ROWS_AT_ONCE; r++) {
            real lanes[LANES], total = 0;
            vreal_store(lanes, sum[v][r]);
            for (int lane = 0; lane < LANES; lane++)
                total += lanes[lane];
            f.row_sums[v * f.sum_stride + r] += total;
        }
}

/* Entries [first, n_columns) of a block's rows [row_start, row_stop), held in `band`, times all vectors. */
static void NAME(multiply_band)(const ntk_block *block, real *band, ptrdiff_t band_stride, ptrdiff_t row_start,
                                ptrdiff_t row_stop, ptrdiff_t first)
{
    const ntk_vectors *vectors = block->vectors;
    const ptrdiff_t n_columns = block->column_stop - block->column_start, n_rows = row_stop - row_start;
    for (ptrdiff_t r = n_rows; r < PADDED(n_rows, ROWS_AT_ONCE); r++)
        memset(band + r * band_stride, 0, (size_t)band_stride * sizeof(real));
    for (ptrdiff_t start = 0; start < vectors->n_vectors; start += VECTOR_BLOCK) {
        const ptrdiff_t stop = start + VECTOR_BLOCK < vectors->n_vectors ? start + VECTOR_BLOCK : vectors->n_vectors;
        for (ptrdiff_t r = 0; r < n_rows; r += ROWS_AT_ONCE) {
            const real *rows = band + r * band_stride;
            NAME(factors) f = {.vector_stride = vectors->vector_stride, .sum_stride = vectors->sum_stride};
            for (ptrdiff_t v = start; v < stop; v += v + VECTORS_AT_ONCE <= stop ? VECTORS_AT_ONCE : 1) {
                const ptrdiff_t vector = v * f.vector_stride, sum = v * f.sum_stride;
                f.right = (const real *)vectors->right + vector + block->column_start;
                f.row_sums = (real *)vectors->row_sums + sum + (row_start + r - block->row_start);
                const int many = v + VECTORS_AT_ONCE <= stop;
                if (vectors->left) {
                    f.left = (const real *)vectors->left + vector + row_start + r;
                    f.column_sums = (real *)vectors->column_sums + sum;
                    if (many)
                        NAME(multiply_rows)(rows, band_stride, first, n_columns, f, VECTORS_AT_ONCE, 1);
                    else
                        NAME(multiply_rows)(rows, band_stride, first, n_columns, f, 1, 1);
                } else if (many)
                    NAME(multiply_rows)(rows, band_stride, first, n_columns, f, VECTORS_AT_ONCE, 0);
                else
                    NAME(multiply_rows)(rows, band_stride, first, n_columns, f, 1, 0);
            }
        }
    }
}
