/* The tile loop of one real type and one instruction set. See ntk_tile.h for what a tile is.
 *
 * Columns are packed once. Then, BAND rows at a time: dot products of a strip of rows (product.h), kernel entries in
 * place (entry.h), the row stored; and, in a symmetric matrix, the band stored again transposed. The matrix is written
 * once and never read. Or the band is multiplied with vectors (multiply.h), and there is no matrix.
 */

#include "instruction_set.h"

#include "ntk_tile.h"
#include "simd.h"
#include "transpose.h"
#include "product.h"
#include "entry.h"
#include "adjoint.h"

#define BAND (512 / (int)sizeof(real))           /* rows: a transposed run is 8 cache lines */
#define FEATURE_BLOCK 256                       /* features whose packed columns stay in the second-level cache */
#define PACKED_BYTES (384 * 1024)                /* of packed columns: they and a band share 1 MB of that cache */
#define LARGEST_COLUMNS (3072 / (int)sizeof(real))
#define PADDED(n, m) (((n) + (m) - 1) / (m) * (m))
#define COLUMN_UNIT (3 * GROUP * LANES)          /* columns are padded to whole panels and whole groups */
#if LANES == 1
#undef COLUMN_UNIT
#define COLUMN_UNIT PANEL
#endif

#include "multiply.h"

int NAME(ntk_pieces)(void) { return PIECES; }

ptrdiff_t NAME(ntk_block_columns)(ptrdiff_t n_features)
{
    const ptrdiff_t depth = n_features < FEATURE_BLOCK ? n_features : FEATURE_BLOCK;
    const ptrdiff_t fit = PACKED_BYTES / (ptrdiff_t)sizeof(real) / (depth > 0 ? depth : 1);
    const ptrdiff_t columns = fit / (2 * PANEL) * (2 * PANEL);
    return columns < 2 * PANEL ? 2 * PANEL : columns > LARGEST_COLUMNS ? LARGEST_COLUMNS : columns;
}

typedef struct {
    real *packed;       /* (panels, n_features, PANEL) */
    real *strip_rows;   /* (STRIP, features_stride) */
    real *band;         /* (BAND, columns) */
    real *turned;       /* (LANES, BAND) */
    real *inverse_norm; /* (columns,) */
    real *rho, *tau;    /* (layers + 1, columns) */
    double *scale;      /* (columns,) */
    real *adjoint;      /* (layers + 2, columns): sums of derivatives, the last for the scale */
    real *weight;       /* (columns,) */
    NAME(kept_layer) *kept; /* (layers + 1,) */
    ptrdiff_t columns, features_stride;
    size_t bytes;
} NAME(workspace);

static void *NAME(carve)(char *base, size_t *used, size_t bytes)
{
    void *piece = base ? base + *used : NULL;
    *used += PADDED(bytes, 64);
    return piece;
}

static NAME(workspace) NAME(lay_out)(void *scratch, ptrdiff_t n_features, ptrdiff_t block_columns, int n_layers)
{
    char *base = scratch ? (char *)PADDED((size_t)scratch, 64) : NULL;
    const size_t layers = n_layers ? (size_t)n_layers + 1 : 0;
    NAME(workspace) w;
    size_t used = 0;
    w.columns = PADDED(block_columns, COLUMN_UNIT);
    /* an odd number of cache lines: rows of a power-of-two length would fall on the same few cache sets */
    w.features_stride = PADDED(n_features, 64 / sizeof(real));
    if (w.features_stride / (64 / sizeof(real)) % 2 == 0)
        w.features_stride += 64 / sizeof(real);
    const size_t columns = (size_t)w.columns;
    w.packed = NAME(carve)(base, &used, (columns + PANEL) * (size_t)n_features * sizeof(real));
    w.strip_rows = NAME(carve)(base, &used, (size_t)STRIP * (size_t)w.features_stride * sizeof(real));
    w.band = NAME(carve)(base, &used, BAND * columns * sizeof(real));
    w.turned = NAME(carve)(base, &used, (size_t)LANES * BAND * sizeof(real));
    w.inverse_norm = NAME(carve)(base, &used, columns * sizeof(real));
    w.rho = NAME(carve)(base, &used, layers * columns * sizeof(real));
    w.tau = NAME(carve)(base, &used, layers * columns * sizeof(real));
    w.scale = NAME(carve)(base, &used, columns * sizeof(double));
    w.adjoint = NAME(carve)(base, &used, (layers ? layers + 1 : 0) * columns * sizeof(real));
    w.weight = NAME(carve)(base, &used, (layers ? columns : 0) * sizeof(real));
    w.kept = NAME(carve)(base, &used, layers * sizeof(NAME(kept_layer)));
    w.bytes = used + 64;
    return w;
}

size_t NAME(ntk_scratch_bytes)(ptrdiff_t n_features, ptrdiff_t block_columns, int n_layers)
{
    return NAME(lay_out)(NULL, n_features, block_columns, n_layers).bytes;
}

static void NAME(pack_columns)(const ntk_rows *y, const ntk_block *block, int n_layers, NAME(workspace) *w)
{
    const ptrdiff_t first = block->column_start, n = block->column_stop - first;
    const real *inverse_norm = (const real *)y->inverse_norm + first;
    NAME(pack)((const real *)y->values + first * y->row_stride, y->row_stride, block->n_features, n, w->packed);
    for (ptrdiff_t c = 0; c < w->columns; c++) {
        w->inverse_norm[c] = c < n ? inverse_norm[c] : 0;
        w->scale[c] = c < n ? y->scale[first + c] : 0;
    }
    for (int layer = 0; n_layers && layer <= n_layers; layer++) {
        const real *rho = (const real *)y->rho + layer * y->n_rows + first;
        const real *tau = (const real *)y->tau + layer * y->n_rows + first;
        for (ptrdiff_t c = 0; c < w->columns; c++) {
            w->rho[layer * w->columns + c] = c < n ? rho[c] : 0;
            w->tau[layer * w->columns + c] = c < n ? tau[c] : 0;
        }
    }
}

/* Where rows are nearly parallel, their squared chords from the rows themselves. */
static __attribute__((noinline)) vreal NAME(near_square_chord)(const ntk_entry *entry, const real *row,
                                                               const real *packed, ptrdiff_t n_features, vreal a,
                                                               vreal b, vmask opposite, vreal square)
{
    const vreal near = vreal_set((real)entry->near), near_exact = vreal_set((real)entry->near_exact);
    const vmask is_near = vreal_less(square, near);
    const vreal precise = NAME(square_chord_of_rows)(row, packed, n_features, a, b, opposite);
    const vmask is_nearer = vreal_less(vreal_select(is_near, precise, near), near_exact);
    square = vreal_select(is_near, precise, square);
    if (!vmask_any(is_nearer))
        return square;
    /* each pair by itself: which pairs share a vector must not show */
    return vreal_select(is_nearer, NAME(square_chord_of_rows_exact)(row, packed, n_features, a, b, opposite), square);
}

/* The chords of row i and a group of columns, from the dot products in `values`. */
static inline __attribute__((always_inline)) chords NAME(row_chords)(const ntk_entry *entry, const real *row, vreal a,
                                                                     const NAME(workspace) *w, ptrdiff_t n_features,
                                                                     ptrdiff_t j, const real *values)
{
    const vreal near = vreal_set((real)entry->near);
    const vreal zero = vreal_set(0), half = vreal_set((real)0.5), minus_half = vreal_set((real)-0.5);
    chords c;
    vreal nearest = half;
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++) {
        const ptrdiff_t column = j + g * LANES;
        const vreal ab = vreal_mul(a, vreal_load(w->inverse_norm + column));
        const vreal cosine = vreal_mul(vreal_load(values + column), ab);
        c.opposite[g] = vreal_less(cosine, zero);
        c.square[g] = vreal_max(vreal_fma(vreal_abs(cosine), minus_half, half), zero); /* (1 - |cosine|) / 2 */
        nearest = vreal_min(nearest, c.square[g]);
    }
    if (__builtin_expect(vmask_any(vreal_less(nearest, near)), 0))
        for (int g = 0; g < GROUP; g++) {
            const ptrdiff_t column = j + g * LANES;
            const real *packed = w->packed + column / PANEL * PANEL * n_features + column % PANEL;
            if (vmask_any(vreal_less(c.square[g], near)))
                c.square[g] =
                    NAME(near_square_chord)(entry, row, packed, n_features, a, vreal_load(w->inverse_norm + column),
                                            c.opposite[g], c.square[g]);
        }
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++)
        c.chord[g] = vreal_sqrt(c.square[g]);
    return c;
}

/* Kernel entries of row i, in place of its dot products with columns [first, stop) of the block. */
static inline __attribute__((always_inline)) void
NAME(row_entries)(const ntk_entry *entry, const ntk_rows *x, ptrdiff_t i, const NAME(workspace) *w,
                  ptrdiff_t n_features, ptrdiff_t first, ptrdiff_t stop, real *values, const int n_layers,
                  const real stretch)
{
    const real *row = (const real *)x->values + i * x->row_stride;
    const vreal a = vreal_set(((const real *)x->inverse_norm)[i]);
    const real scale = (real)entry->scale;
    for (ptrdiff_t j = first; j < stop; j += GROUP * LANES) {
        const chords c = NAME(row_chords)(entry, row, a, w, n_features, j, values);
        vreal kappa[GROUP];
        if (n_layers)
            NAME(recursion)(entry, c, (const real *)x->rho + i, (const real *)x->tau + i, x->n_rows, w->rho + j,
                            w->tau + j, w->columns, kappa);
        else {
            const positions at = NAME(locate)(c, stretch, scale);
            NAME(evaluate)(&entry->value, &at, kappa);
        }
#pragma GCC unroll 8
        for (int g = 0; g < GROUP; g++)
            vreal_store(values + j + g * LANES,
                        vreal_mul(kappa[g], vreal_scale_product(x->scale[i], w->scale + j + g * LANES)));
    }
}

#if !REAL_IS_FLOAT
/* Row i's share of the derivatives, from its dot products with columns [first, n_columns) of the block. */
static void NAME(row_adjoint)(const ntk_entry *entry, const ntk_rows *x, ptrdiff_t i, const ntk_block *block,
                              const NAME(workspace) *w, ptrdiff_t first, ptrdiff_t n_columns, real *values)
{
    const int n_layers = entry->n_layers;
    const ntk_adjoint *adjoint = block->adjoint;
    const real *row = x->values, *given = adjoint->weights + i * adjoint->weight_stride + block->column_start;
    const vreal a = vreal_set(((const real *)x->inverse_norm)[i]);
    row += i * x->row_stride;
    for (ptrdiff_t c = first; c < w->columns; c++) {
        const ptrdiff_t above = block->diagonal ? block->column_start + c - i : 1;
        if (c >= n_columns)
            values[c] = 0; /* sums over lanes take in what is beyond the block, which must be finite */
        w->weight[c] = c >= n_columns || above < 0 ? 0 : block->diagonal && above > 0 ? 2 * given[c] : given[c];
    }
    double *row_sums = adjoint->row_sums + (i - block->row_start);
    const ptrdiff_t n_rows = block->row_stop - block->row_start;
    for (ptrdiff_t j = first; j < n_columns; j += GROUP * LANES) {
        const chords c = NAME(row_chords)(entry, row, a, w, block->n_features, j, values);
        const NAME(pair_parameters) p = {(const real *)x->rho + i, (const real *)x->tau + i, x->n_rows,
                                         w->rho + j,               w->tau + j,               w->columns};
        vreal theta[GROUP], weight[GROUP], scale_sum = vreal_set(0);
        NAME(forward)(entry, c, &p, w->kept, theta);
        for (int g = 0; g < GROUP; g++) {
            const ptrdiff_t column = j + g * LANES;
            weight[g] = vreal_mul(vreal_load(w->weight + column), vreal_scale_product(x->scale[i], w->scale + column));
            const vreal value = vreal_mul(weight[g], theta[g]);
            real *cell = w->adjoint + (n_layers + 1) * w->columns + column;
            vreal_store(cell, vreal_add(vreal_load(cell), value));
            scale_sum = vreal_add(scale_sum, value);
        }
        NAME(backward)(entry, &p, w->kept, weight, w->adjoint + j, row_sums, n_rows);
        row_sums[(n_layers + 1) * n_rows] += NAME(sum_of_lanes)(scale_sum);
    }
}
#endif

/* One loop for each kind of entry: no branch on the kind inside. */
static void NAME(entries)(const ntk_entry *entry, const ntk_rows *x, ptrdiff_t i, const NAME(workspace) *w,
                          ptrdiff_t n_features, ptrdiff_t first, ptrdiff_t stop, real *values)
{
    if (entry->n_layers)
        NAME(row_entries)(entry, x, i, w, n_features, first, stop, values, entry->n_layers, 0);
    else if (entry->stretch == 0)
        NAME(row_entries)(entry, x, i, w, n_features, first, stop, values, 0, 0);
    else
        NAME(row_entries)(entry, x, i, w, n_features, first, stop, values, 0, (real)entry->stretch);
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

void NAME(ntk_tile)(const ntk_entry *entry, const ntk_rows *x, const ntk_rows *y, const ntk_block *block, void *scratch)
{
    const ptrdiff_t p = block->n_features, n_columns = block->column_stop - block->column_start;
    NAME(workspace) w = NAME(lay_out)(scratch, p, n_columns, entry->n_layers);
    real *out = (real *)block->out;
    NAME(pack_columns)(y, block, entry->n_layers, &w);
#if !REAL_IS_FLOAT
    const ptrdiff_t n_sums = entry->n_layers + 2, n_rows_of_tile = block->row_stop - block->row_start;
    if (block->adjoint) {
        memset(block->adjoint->row_sums, 0, (size_t)(n_sums * n_rows_of_tile) * sizeof(double));
        memset(w.adjoint, 0, (size_t)(n_sums * w.columns) * sizeof(real));
    }
#endif
    for (ptrdiff_t band_start = block->row_start; band_start < block->row_stop; band_start += BAND) {
        const ptrdiff_t band_stop = band_start + BAND < block->row_stop ? band_start + BAND : block->row_stop;
        /* the panels and groups that reach the diagonal, in a symmetric matrix */
        ptrdiff_t first = 0;
        if (block->diagonal && band_start > block->column_start)
            first = (band_start - block->column_start) / COLUMN_UNIT * COLUMN_UNIT;
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
                for (ptrdiff_t j = first; j < n_columns; j += PANEL)
                    NAME(panel_product)(w.strip_rows, w.features_stride, w.packed + j * p, k_start, k_stop, strip + j,
                                        w.columns);
                if (k_stop < p)
                    continue;
                for (ptrdiff_t r = 0; r < n_rows; r++) {
                    const ptrdiff_t row = i + r;
                    ptrdiff_t column = block->column_start;
                    if (block->diagonal && row > column)
                        column = row;
#if !REAL_IS_FLOAT
                    if (block->adjoint) {
                        NAME(row_adjoint)(entry, x, row, block, &w, first, n_columns, strip + r * w.columns);
                        continue;
                    }
#endif
                    NAME(entries)(entry, x, row, &w, p, first, n_columns, strip + r * w.columns);
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
#if !REAL_IS_FLOAT
    for (ptrdiff_t layer = 0; block->adjoint && layer < n_sums; layer++)
        memcpy(block->adjoint->column_sums + layer * n_columns, w.adjoint + layer * w.columns,
               (size_t)n_columns * sizeof(double));
#endif
    store_fence();
}

/* Sums of squares to the last bit or nearly: both the squares and their sum keep their rounding errors. */
void NAME(ntk_square_norms)(const void *values, ptrdiff_t row_stride, ptrdiff_t n_features, ptrdiff_t row_start,
                            ptrdiff_t row_stop, double *square_norms)
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
    }
}
