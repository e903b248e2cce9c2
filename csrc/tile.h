/* The tile loop of one real type and one instruction set. See ntk_tile.h for what a tile is.
 *
 * Columns are packed once. Then, BAND rows at a time: dot products of a strip of rows (product.h), kernel entries in
 * place (entries.h), the rows stored; and, in a symmetric matrix, the band stored again transposed. The matrix is written
 * once and never read. Or the band is multiplied with vectors (multiply.h), or differentiated (adjoint.h), and there is no
 * matrix.
 */

#include "instruction_set.h"

#include "ntk_images.h"
#include "ntk_tile.h"
#include "simd.h"
#include "transpose.h"
#include "product.h"
#include "table.h"
#include "pair_state.h"
#include "elementary.h"
#include "map_fold.h"
#include "map_table.h"
#include "map_closed.h"
#include "map_polynomial.h"
#include "map_curved.h"
#include "map_corners.h"
#include "program.h"

#define BAND (512 / (int)sizeof(real))           /* rows: a transposed run is 8 cache lines */
#define FEATURE_BLOCK 256                       /* features whose packed columns stay in the second-level cache */
#define PACKED_BYTES (384 * 1024)                /* of packed columns: they and a band share 1 MB of that cache, */
#define PARAMETER_BYTES (1024 * 1024)            /* also with the columns' parameters */
#define LARGEST_COLUMNS (3072 / (int)sizeof(real))
#define MANY_PLANES 16                           /* of columns that do not stay in the first-level cache from row to row */
#define PADDED(n, m) (((n) + (m) - 1) / (m) * (m))
#if LANES == 1
#define COLUMN_UNIT PANEL                        /* columns are padded to whole panels and whole groups */
#else
#define COLUMN_UNIT (3 * GROUP_REALS)
#endif

#include "workspace.h"
#include "entries.h"
#include "multiply.h"
#include "images.h"
#include "adjoint.h"

int NAME(ntk_pieces)(void) { return PIECES; }

ptrdiff_t NAME(ntk_block_columns)(ptrdiff_t n_features, ptrdiff_t n_parameters)
{
    const ptrdiff_t depth = n_features < FEATURE_BLOCK ? n_features : FEATURE_BLOCK;
    ptrdiff_t fit = PACKED_BYTES / (ptrdiff_t)sizeof(real) / (depth > 0 ? depth : 1);
    if (n_parameters && fit > PARAMETER_BYTES / (ptrdiff_t)sizeof(real) / n_parameters)
        fit = PARAMETER_BYTES / (ptrdiff_t)sizeof(real) / n_parameters;
    const ptrdiff_t columns = fit / (2 * PANEL) * (2 * PANEL);
    return columns < 2 * PANEL ? 2 * PANEL : columns > LARGEST_COLUMNS ? LARGEST_COLUMNS : columns;
}

size_t NAME(ntk_scratch_bytes)(const ntk_program *program, ptrdiff_t n_features, ptrdiff_t block_columns)
{
    return NAME(lay_out)(NULL, program, n_features, block_columns).bytes;
}

/* out[0], out[stride], ... = values[0:n] */
static void NAME(store_run)(real *restrict out, ptrdiff_t stride, const real *restrict values, ptrdiff_t n, int streaming)
{
    ptrdiff_t c = 0;
    if (stride != 1) {
        for (; c < n; c++)
            out[c * stride] = values[c];
        return;
    }
    if (streaming && n >= 2 * LANES) {
        while ((size_t)(out + c) % (LANES * sizeof(real)))
            out[c] = values[c], c++;
        for (; c + LANES <= n; c += LANES)
            vreal_stream(out + c, vreal_load(values + c));
    } else
        for (; c + LANES <= n; c += LANES)
            vreal_store(out + c, vreal_load(values + c));
    for (; c < n; c++)
        out[c] = values[c];
}

/* The band's entries right of the diagonal, stored again at their mirror images. */
static void NAME(store_mirrored)(const ntk_block *block, const NAME(workspace) *w, ptrdiff_t row_start,
                                 ptrdiff_t row_stop, ptrdiff_t column_start)
{
    real *out = (real *)block->out;
    const ptrdiff_t n = row_stop - row_start;
    for (ptrdiff_t j = column_start; j < block->column_stop; j += LANES) {
        const real *corner = w->band + (j - block->column_start);
        for (ptrdiff_t i = 0; i < n; i += LANES)
            NAME(transpose)(corner + i * w->columns, w->columns, w->turned + i, BAND);
        for (ptrdiff_t c = 0; c < LANES && j + c < block->column_stop; c++) {
            const ptrdiff_t above = j + c - row_start < n ? j + c - row_start : n; /* rows before the diagonal */
            if (above > 0)
                NAME(store_run)(out + (j + c) * block->out_row_stride + row_start * block->out_column_stride,
                                block->out_column_stride, w->turned + c * BAND, above, block->streaming);
        }
    }
}

void NAME(ntk_tile)(const ntk_program *program, const ntk_rows *x, const ntk_rows *y, const ntk_block *block,
                    void *scratch)
{
    const ptrdiff_t p = block->n_features, n_columns = block->column_stop - block->column_start;
    NAME(workspace) w = NAME(lay_out)(scratch, program, p, n_columns);
    real *out = (real *)block->out;
    NAME(pack_columns)(program, x, y, block, &w);
    /* the last group reaches beyond the last panel: what is there must be no NaN, or a whole group would take it for large */
    const ptrdiff_t packed = PADDED(n_columns, PANEL);
    for (ptrdiff_t r = 0; r < BAND && packed < w.columns; r++)
        memset(w.band + r * w.columns + packed, 0, (size_t)(w.columns - packed) * sizeof(real));
    for (ptrdiff_t band_start = block->row_start; band_start < block->row_stop; band_start += BAND) {
        const ptrdiff_t band_stop = band_start + BAND < block->row_stop ? band_start + BAND : block->row_stop;
        ptrdiff_t first = 0; /* the groups that reach the diagonal, in a symmetric matrix */
        if (block->diagonal && band_start > block->column_start)
            first = (band_start - block->column_start) / GROUP_REALS * GROUP_REALS;
        for (ptrdiff_t k_start = 0; k_start == 0 || k_start < p; k_start += FEATURE_BLOCK) {
            const ptrdiff_t k_stop = k_start + FEATURE_BLOCK < p ? k_start + FEATURE_BLOCK : p;
            for (ptrdiff_t i = band_start; i < band_stop; i += STRIP) {
                real *strip = w.band + (i - band_start) * w.columns;
                const ptrdiff_t n_rows = band_stop - i < STRIP ? band_stop - i : STRIP;
                for (ptrdiff_t r = 0; r < STRIP; r++) {
                    const real *row = (const real *)x->values + (i + (r < n_rows ? r : 0)) * x->row_stride;
                    memcpy(w.strip_rows + r * w.features_stride + k_start, row + k_start,
                           (size_t)(k_stop - k_start) * sizeof(real));
                }
                for (ptrdiff_t j = first / PANEL * PANEL; j < n_columns; j += PANEL)
                    NAME(panel_product)(w.strip_rows, w.features_stride, w.packed + j * p, k_start, k_stop, strip + j,
                                        w.columns);
                if (k_stop < p)
                    continue;
#if !REAL_IS_FLOAT
                if (block->adjoint) {
                    NAME(differentiate)(program, x, i, n_rows, &w, block, first, n_columns, strip);
                    continue;
                }
#endif
                if (w.planes)
                    NAME(pack_row_parameters)(program, x, i, n_rows, &w);
                /* a row is stored while the next is computed; but many parameters of a group had better serve all rows */
                const ptrdiff_t rows_at_once = w.planes > MANY_PLANES ? n_rows : 1;
                for (ptrdiff_t r = 0; r < n_rows; r++) {
                    if (r % rows_at_once == 0)
                        NAME(entries)(program, x, i, r, r + rows_at_once, &w, p, first, n_columns, strip);
                    const ptrdiff_t row = i + r;
                    ptrdiff_t column = block->column_start;
                    if (block->diagonal && row > column)
                        column = row;
                    if (block->vectors) {
                        if (block->diagonal && row >= block->column_start) /* what is not above the diagonal */
                            memset(strip + r * w.columns, 0,
                                   (size_t)((row < block->column_stop ? row + 1 : block->column_stop) -
                                            block->column_start) * sizeof(real));
                        continue;
                    }
                    if (block->diagonal && row >= block->column_start && row < block->column_stop)
                        strip[r * w.columns + row - block->column_start] = (real)block->diagonal[row];
                    if (column < block->column_stop)
                        NAME(store_run)(out + row * block->out_row_stride + column * block->out_column_stride,
                                        block->out_column_stride, strip + r * w.columns + column - block->column_start,
                                        block->column_stop - column, block->streaming);
                }
            }
        }
        if (block->adjoint)
            continue;
        if (block->vectors)
            NAME(multiply_band)(block, w.band, w.columns, band_start, band_stop, first);
        else if (block->diagonal)
            NAME(store_mirrored)(block, &w, band_start, band_stop, block->column_start + first);
    }
    store_fence();
}

/* Sums of squares to the last bit or nearly, and what that bit leaves: the squares and their sum keep their rounding errors. */
void NAME(ntk_square_norms)(const void *values, ptrdiff_t row_stride, ptrdiff_t n_features, ptrdiff_t row_start,
                            ptrdiff_t row_stop, double *square_norms, double *rests)
{
    for (ptrdiff_t i = row_start; i < row_stop; i++) {
        const real *row = (const real *)values + i * row_stride;
        double sum[8] = {0}, rest[8] = {0};
        for (ptrdiff_t k = 0; k < n_features; k += 8) {
            const ptrdiff_t width = n_features - k < 8 ? n_features - k : 8;
            for (ptrdiff_t c = 0; c < width; c++) {
                const double v = (double)row[k + c], square = v * v, total = sum[c] + square;
                const double part = total - sum[c];
                rest[c] += fma(v, v, -square) + ((sum[c] - (total - part)) + (square - part));
                sum[c] = total;
            }
        }
        for (int half = 4; half; half /= 2)
            for (int c = 0; c < half; c++) {
                const double total = sum[c] + sum[c + half], part = total - sum[c];
                rest[c] += rest[c + half] + ((sum[c] - (total - part)) + (sum[c + half] - part));
                sum[c] = total;
            }
        square_norms[i] = sum[0] + rest[0];
        rests[i] = (sum[0] - square_norms[i]) + rest[0];
    }
}
