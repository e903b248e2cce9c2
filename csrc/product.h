/* Dot products: a strip of STRIP rows against packed columns, and what else needs the rows' own numbers.
 *
 * Every dot product is summed in one fixed order (by CHUNK features, in each chunk one fused multiply-add a feature), so an
 * entry depends on its two rows alone: not on the tile, the thread or the neighbours. Short chunks also keep the partial
 * sums small; that is what the error of a long single-precision dot product is made of.
 */

#if defined(NTK_AVX512)
#define STRIP 8 /* 8 x 3 accumulators, 3 columns, 1 row: 28 of 32 registers */
#define VECTORS 3
#elif defined(NTK_AVX2)
#define STRIP 4 /* 4 x 3 + 3 + 1: 16 of 16 registers */
#define VECTORS 3
#else
#define STRIP 4 /* for the compiler to vectorise */
#define VECTORS 8
#endif
#define PANEL (VECTORS * LANES)

#if REAL_IS_FLOAT
#define CHUNK 32
#else
#define CHUNK 128
#endif

/* packed[panel][feature][PANEL] = columns' values, zeros beyond the last column */
static void NAME(pack)(const real *values, ptrdiff_t row_stride, ptrdiff_t n_features, ptrdiff_t n_columns, real *packed)
{
    for (ptrdiff_t first = 0; first < n_columns; first += PANEL) {
        const ptrdiff_t width = n_columns - first < PANEL ? n_columns - first : PANEL;
        for (ptrdiff_t k = 0; k < n_features; k++)
            for (ptrdiff_t c = width; c < PANEL; c++)
                packed[k * PANEL + c] = 0;
        for (ptrdiff_t c = 0; c < width; c++) {
            const real *row = values + (first + c) * row_stride;
            for (ptrdiff_t k = 0; k < n_features; k++)
                packed[k * PANEL + c] = row[k];
        }
        packed += n_features * PANEL;
    }
}

/* strip[r][0:PANEL] = sum over features [k_start, k_stop) of rows[r][k] packed[k][0:PANEL]; added unless k_start is 0 */
static inline void NAME(panel_product)(const real *restrict rows, ptrdiff_t row_stride, const real *restrict packed,
                                       ptrdiff_t k_start, ptrdiff_t k_stop, real *restrict strip,
                                       ptrdiff_t strip_stride)
{
    for (ptrdiff_t chunk = k_start; chunk < k_stop; chunk += CHUNK) {
        const ptrdiff_t stop = chunk + CHUNK < k_stop ? chunk + CHUNK : k_stop;
        vreal sum[STRIP][VECTORS];
        for (int r = 0; r < STRIP; r++)
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] = vreal_set(0);
        for (ptrdiff_t k = chunk; k < stop; k++) {
            vreal column[VECTORS];
            for (int v = 0; v < VECTORS; v++)
                column[v] = vreal_load(packed + k * PANEL + v * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < STRIP; r++) {
                const vreal row = vreal_set(rows[r * row_stride + k]);
#pragma GCC unroll 8
                for (int v = 0; v < VECTORS; v++)
                    sum[r][v] = vreal_fma(row, column[v], sum[r][v]);
            }
        }
        for (int r = 0; r < STRIP; r++)
            for (int v = 0; v < VECTORS; v++) {
                real *cell = strip + r * strip_stride + v * LANES;
                vreal_store(cell, chunk == 0 ? sum[r][v] : vreal_add(vreal_load(cell), sum[r][v]));
            }
    }
}

/* Squared chords of one row and LANES packed columns, from the rows themselves: |x/|x| -+ y/|y||^2 / 4.
 * a, b: inverse norms. Symmetric in x and y to the last bit; exactly 0 for equal (or opposite) rows. */
static vreal NAME(square_chord_of_rows)(const real *row, const real *packed, ptrdiff_t n_features, vreal a, vreal b,
                                        vmask opposite)
{
    const vreal signed_b = vreal_select(opposite, vreal_sub(vreal_set(0), b), b);
    vreal sum[4] = {vreal_set(0), vreal_set(0), vreal_set(0), vreal_set(0)};
    for (ptrdiff_t k = 0; k < n_features; k++) {
        const vreal x = vreal_mul(vreal_set(row[k]), a);
        const vreal d = vreal_sub(x, vreal_mul(vreal_load(packed + k * PANEL), signed_b));
        sum[k & 3] = vreal_fma(d, d, sum[k & 3]);
    }
    return vreal_mul(vreal_set((real)0.25), vreal_add(vreal_add(sum[0], sum[1]), vreal_add(sum[2], sum[3])));
}

/* The same to full relative accuracy, however small the angle, and exactly 0 for rows that are multiples of each other.
 *
 * With w = x/|x| +- y/|y| and k the position of its largest component, m = y_k x - x_k y lies in the plane of x and y and is
 * 0 at k: each component is a difference of two products, kept with their rounding errors, and the area |m ^ w| = |w_k|
 * |x ^ y| loses nothing, since m and w are far from parallel. It gives the sine, and the sine gives the chord.
 */
static vreal NAME(square_chord_of_rows_exact)(const real *row, const real *packed, ptrdiff_t n_features, vreal a,
                                              vreal b, vmask opposite)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), ab = vreal_mul(a, b);
    const vreal signed_b = vreal_select(opposite, vreal_sub(zero, b), b);
    vreal w_k = zero, x_k = zero, y_k = zero, square_m = zero, square_w = zero, along = zero;
    for (ptrdiff_t k = 0; k < n_features; k++) {
        const vreal x = vreal_set(row[k]), y = vreal_load(packed + k * PANEL);
        const vreal w = vreal_add(vreal_mul(x, a), vreal_mul(y, signed_b));
        const vmask larger = vreal_less(vreal_abs(w_k), vreal_abs(w));
        w_k = vreal_select(larger, w, w_k);
        x_k = vreal_select(larger, x, x_k);
        y_k = vreal_select(larger, y, y_k);
    }
    for (ptrdiff_t k = 0; k < n_features; k++) {
        const vreal x = vreal_set(row[k]), y = vreal_load(packed + k * PANEL);
        const vreal w = vreal_add(vreal_mul(x, a), vreal_mul(y, signed_b));
        const vreal first = vreal_mul(x, y_k), second = vreal_mul(x_k, y);
        const vreal first_rest = vreal_fma_exact(x, y_k, vreal_sub(zero, first));
        const vreal second_rest = vreal_fma_exact(x_k, y, vreal_sub(zero, second));
        const vreal m = vreal_mul(vreal_add(vreal_sub(first, second), vreal_sub(first_rest, second_rest)), ab);
        square_m = vreal_fma(m, m, square_m);
        square_w = vreal_fma(w, w, square_w);
        along = vreal_fma(m, w, along);
    }
    const vreal area = vreal_max(vreal_sub(vreal_mul(square_m, square_w), vreal_mul(along, along)), zero);
    const vreal square_sine = vreal_min(vreal_div(area, vreal_mul(w_k, w_k)), one);
    const vreal cosine = vreal_sqrt(vreal_sub(one, square_sine));
    return vreal_div(square_sine, vreal_add(vreal_add(one, cosine), vreal_add(one, cosine)));
}
