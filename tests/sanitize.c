/* Runs every tile function over many odd shapes, in memory that is exactly as large as promised; compiled together with
 * csrc/ under the address and undefined-behaviour sanitizers, and run by test_csrc.py.
 *
 * The table of a profile is 1 everywhere, so an entry is the product of its two rows' scales, which are small whole
 * numbers: every result is known exactly. A layered entry's values must be finite, and the same in both halves.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define RUNS 400
#define LARGEST_TERMS 5

static uint64_t state = 88172645463325252u;

/* A whole number in [0, n): xorshift. */
static ptrdiff_t pick(ptrdiff_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (ptrdiff_t)((state >> 11) % (uint64_t)n);
}

static ptrdiff_t pick_size(void)
{
    static const ptrdiff_t sizes[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 48, 63, 65, 97, 130, 257};
    return sizes[pick(sizeof sizes / sizeof sizes[0])];
}

static double uniform(void) { return (double)pick(1 << 20) / (1 << 20); }

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        abort();
    return memory;
}

/* Reals of either type, addressed alike. */
typedef struct {
    char *memory;
    int is_float;
} reals;

static reals new_reals(ptrdiff_t n, int is_float)
{
    reals a = {allocate((size_t)n * (is_float ? sizeof(float) : sizeof(double))), is_float};
    return a;
}

static void put(reals a, ptrdiff_t i, double value)
{
    if (a.is_float)
        ((float *)a.memory)[i] = (float)value;
    else
        ((double *)a.memory)[i] = value;
}

static double get(reals a, ptrdiff_t i)
{
    return a.is_float ? (double)((float *)a.memory)[i] : ((double *)a.memory)[i];
}

typedef struct {
    ntk_rows rows;
    reals values, inverse_norm, rho, tau;
    double *scale;
} row_set;

static row_set new_rows(ptrdiff_t n, ptrdiff_t p, int n_layers, int is_float)
{
    const ptrdiff_t stride = p + pick(3), layers = n_layers ? n_layers + 1 : 0;
    row_set set;
    set.values = new_reals(n ? (n - 1) * stride + p : 0, is_float);
    set.inverse_norm = new_reals(n, is_float);
    set.rho = new_reals(layers * n, is_float);
    set.tau = new_reals(layers * n, is_float);
    set.scale = allocate((size_t)n * sizeof(double));
    for (ptrdiff_t i = 0; i < n; i++) {
        const int kind = (int)pick(4); /* ordinary, a copy of the first row, its negative, zeros */
        double square = 0;
        for (ptrdiff_t k = 0; k < p; k++) {
            double value = uniform() - 0.5;
            if (kind && i)
                value = kind == 3 ? 0 : (kind == 1 ? 1 : -1) * get(set.values, k);
            put(set.values, i * stride + k, value);
            square += get(set.values, i * stride + k) * get(set.values, i * stride + k);
        }
        put(set.inverse_norm, i, square > 0 ? 1 / sqrt(square) : 0);
        set.scale[i] = (double)pick(8);
        for (ptrdiff_t layer = 0; layer < layers; layer++) {
            const double share = uniform();
            put(set.rho, layer * n + i, sqrt(share));
            put(set.tau, layer * n + i, sqrt(1 - share));
        }
    }
    set.rows = (ntk_rows){set.values.memory, set.inverse_norm.memory, set.scale, set.rho.memory,
                          set.tau.memory,    stride,                  n};
    return set;
}

static void free_rows(row_set set)
{
    free(set.values.memory);
    free(set.inverse_norm.memory);
    free(set.rho.memory);
    free(set.tau.memory);
    free(set.scale);
}

/* A table in 64-byte aligned memory of exactly its size; `first` everywhere, and higher powers that vanish or are small. */
static ntk_table new_table(int pieces, int n_terms, double first, double higher, int is_float)
{
    const size_t bytes = (size_t)n_terms * (size_t)pieces * (is_float ? sizeof(float) : sizeof(double));
    reals a = {aligned_alloc(64, (bytes + 63) / 64 * 64), is_float};
    if (!a.memory)
        abort();
    for (ptrdiff_t i = 0; i < (ptrdiff_t)n_terms * pieces; i++)
        put(a, i, i < pieces ? first : higher * uniform());
    return (ntk_table){a.memory, n_terms};
}

static int failures = 0;

static void expect(int condition, const char *what, const ntk_functions *f, const ntk_block *b)
{
    if (condition)
        return;
    failures++;
    fprintf(stderr, "%s %s: %s; p %td, rows %td to %td, columns %td to %td, symmetric %d, streaming %d, vectors %d\n",
            f->instruction_set, f->is_float ? "float" : "double", what, b->n_features, b->row_start, b->row_stop,
            b->column_start, b->column_stop, b->diagonal != NULL, b->streaming, b->vectors != NULL);
}

/* Whether the tile has to compute entry (i, j), and for a matrix also store it. */
static int is_wanted(const ntk_block *b, ptrdiff_t i, ptrdiff_t j)
{
    const int inside = i >= b->row_start && i < b->row_stop && j >= b->column_start && j < b->column_stop;
    return inside && (!b->diagonal || i <= j);
}

static void check_matrix(const ntk_functions *f, const ntk_entry *entry, const row_set *x, const row_set *y,
                         ntk_block block, void *scratch, ptrdiff_t n, ptrdiff_t m)
{
    /* row-major with a gap, column-major, every second number, or backwards: `first` is where entry (0, 0) lies */
    const ptrdiff_t gap = pick(3), layout = pick(4);
    const ptrdiff_t strides[4][2] = {{m + gap, 1}, {1, n + gap}, {2 * m + gap, 2}, {-(m + gap), -1}};
    const ptrdiff_t di = strides[layout][0], dj = strides[layout][1];
    const ptrdiff_t last = (n - 1) * labs(di) + (m - 1) * labs(dj), first = di < 0 ? last : 0, shift = pick(4);
    reals out = new_reals(last + 1 + shift, f->is_float);
    for (ptrdiff_t i = 0; i <= last + shift; i++)
        put(out, i, NAN);
    block.out = out.memory + (first + shift) * (f->is_float ? (ptrdiff_t)sizeof(float) : (ptrdiff_t)sizeof(double));
    block.out_row_stride = di;
    block.out_column_stride = dj;
    f->tile(entry, &x->rows, &y->rows, &block, scratch);

    ptrdiff_t written = 0, wanted = 0;
    for (ptrdiff_t i = 0; i <= last + shift; i++)
        written += !isnan(get(out, i));
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j < m; j++) {
            const double value = get(out, first + shift + i * di + j * dj);
            if (!is_wanted(&block, i, j) && !(block.diagonal && is_wanted(&block, j, i)))
                continue;
            wanted++;
            double expected = x->scale[i] * y->scale[j];
            if (block.diagonal && i == j)
                expected = block.diagonal[i];
            else if (entry->n_layers) {
                expected = block.diagonal ? get(out, first + shift + j * di + i * dj) : value;
                expect(isfinite(value), "not finite", f, &block);
            }
            expect(value == expected, "wrong entry", f, &block);
        }
    expect(written == wanted, "wrote where it must not", f, &block);
    free(out.memory);
}

static void check_product(const ntk_functions *f, const ntk_entry *entry, const row_set *x, const row_set *y,
                          ntk_block block, void *scratch, ptrdiff_t m)
{
    const ptrdiff_t n_vectors = 1 + pick(19), n_tile_rows = block.row_stop - block.row_start;
    const ptrdiff_t n_tile_columns = block.column_stop - block.column_start;
    const ptrdiff_t vector_stride = m + NTK_PADDING;
    const ptrdiff_t sum_stride = (n_tile_rows > n_tile_columns ? n_tile_rows : n_tile_columns) + NTK_PADDING;
    reals right = new_reals(n_vectors * vector_stride, f->is_float);
    reals row_sums = new_reals(n_vectors * sum_stride, f->is_float);
    reals column_sums = new_reals(n_vectors * sum_stride, f->is_float);
    for (ptrdiff_t v = 0; v < n_vectors; v++)
        for (ptrdiff_t j = 0; j < vector_stride; j++)
            put(right, v * vector_stride + j, j < m ? (double)pick(5) : 0);
    for (ptrdiff_t i = 0; i < n_vectors * sum_stride; i++) {
        put(row_sums, i, 0);
        put(column_sums, i, 0);
    }
    const ntk_vectors vectors = {right.memory,       block.diagonal ? right.memory : NULL, row_sums.memory,
                                 column_sums.memory, n_vectors,                            vector_stride,
                                 sum_stride};
    block.vectors = &vectors;
    f->tile(entry, &x->rows, &y->rows, &block, scratch);
    for (ptrdiff_t v = 0; !entry->n_layers && v < n_vectors; v++) {
        for (ptrdiff_t i = block.row_start; i < block.row_stop; i++) {
            double sum = 0;
            for (ptrdiff_t j = block.column_start; j < block.column_stop; j++)
                if (!block.diagonal || i < j)
                    sum += x->scale[i] * y->scale[j] * get(right, v * vector_stride + j);
            expect(get(row_sums, v * sum_stride + i - block.row_start) == sum, "wrong row sum", f, &block);
        }
        for (ptrdiff_t j = block.column_start; block.diagonal && j < block.column_stop; j++) {
            double sum = 0;
            for (ptrdiff_t i = block.row_start; i < block.row_stop && i < j; i++)
                sum += x->scale[i] * y->scale[j] * get(right, v * vector_stride + i);
            expect(get(column_sums, v * sum_stride + j - block.column_start) == sum, "wrong column sum", f, &block);
        }
    }
    free(right.memory);
    free(row_sums.memory);
    free(column_sums.memory);
}

static void check_adjoint(const ntk_functions *f, const ntk_entry *entry, const row_set *x, const row_set *y,
                          ntk_block block, void *scratch, ptrdiff_t n, ptrdiff_t m)
{
    const ptrdiff_t n_sums = entry->n_layers + 2, weight_stride = m + pick(3);
    const ptrdiff_t n_row_sums = n_sums * (block.row_stop - block.row_start);
    const ptrdiff_t n_column_sums = n_sums * (block.column_stop - block.column_start);
    double *weights = allocate((size_t)((n - 1) * weight_stride + m) * sizeof(double));
    double *row_sums = allocate((size_t)n_row_sums * sizeof(double));
    double *column_sums = allocate((size_t)n_column_sums * sizeof(double));
    for (ptrdiff_t i = 0; i < (n - 1) * weight_stride + m; i++)
        weights[i] = (double)pick(5);
    for (ptrdiff_t i = 0; i < n_row_sums; i++)
        row_sums[i] = NAN;
    for (ptrdiff_t i = 0; i < n_column_sums; i++)
        column_sums[i] = NAN;
    const ntk_adjoint adjoint = {weights, row_sums, column_sums, weight_stride};
    block.adjoint = &adjoint;
    f->tile(entry, &x->rows, &y->rows, &block, scratch);
    double rows = 0, columns = 0; /* the logarithm of the scale is one of the row and one of the column */
    for (ptrdiff_t i = 0; i < n_row_sums; i++) {
        expect(isfinite(row_sums[i]), "not finite", f, &block);
        rows += i >= n_row_sums - n_row_sums / n_sums ? row_sums[i] : 0;
    }
    for (ptrdiff_t i = 0; i < n_column_sums; i++) {
        expect(isfinite(column_sums[i]), "not finite", f, &block);
        columns += i >= n_column_sums - n_column_sums / n_sums ? column_sums[i] : 0;
    }
    expect(fabs(rows - columns) <= 1e-9 * (1 + fabs(rows)), "rows and columns differ", f, &block);
    free(weights);
    free(row_sums);
    free(column_sums);
}

static void check_square_norms(const ntk_functions *f, const row_set *x, ptrdiff_t n, ptrdiff_t p)
{
    double *squares = allocate((size_t)n * sizeof(double)), *rests = allocate((size_t)n * sizeof(double));
    f->square_norms(x->values.memory, x->rows.row_stride, p, 0, n, squares, rests);
    for (ptrdiff_t i = 0; i < n; i++) {
        double sum = 0;
        for (ptrdiff_t k = 0; k < p; k++)
            sum += get(x->values, i * x->rows.row_stride + k) * get(x->values, i * x->rows.row_stride + k);
        const ntk_block block = {.n_features = p, .row_start = i, .row_stop = i + 1};
        expect(fabs(squares[i] - sum) <= 1e-14 * sum, "wrong squared norm", f, &block);
    }
    free(squares);
    free(rests);
}

static void run(const ntk_functions *f)
{
    static const double nears[][2] = {{0, 0}, {0.1, 0}, {0.5, 0.1}, {1, 1}};
    const int pieces = f->pieces(), is_float = f->is_float;
    const int symmetric = (int)pick(2), n_layers = (int)pick(2) * (1 + (int)pick(3));
    const ptrdiff_t n = pick_size(), m = symmetric ? n : pick_size(), p = pick_size();
    const double *near = nears[pick(4)];
    row_set x = new_rows(n, p, n_layers, is_float), y = symmetric ? x : new_rows(m, p, n_layers, is_float);
    double *diagonal = allocate((size_t)n * sizeof(double));
    for (ptrdiff_t i = 0; i < n; i++)
        diagonal[i] = (double)pick(100);

    ntk_entry entry = {.n_layers = n_layers, .has_tangent = (int)pick(2), .near = near[0], .near_exact = near[1]};
    static const int powers[] = {1, 3, 4};
    entry.value_power = powers[pick(3)];
    entry.value_leads[0] = n_layers ? 2 : 0;
    entry.value_leads[1] = n_layers ? -1 : 0;
    entry.value_offset = entry.slope_offset = n_layers ? 1 : 0;
    entry.stretch = n_layers ? 0 : (double)pick(3);
    entry.scale = pieces / 2 * (1 + entry.stretch * 0.7071) / 0.70711; /* the largest chord is in the last piece */
    entry.value = new_table(pieces, 1 + (int)pick(LARGEST_TERMS), n_layers ? 0.1 : 1, n_layers ? 0.01 : 0, is_float);
    entry.slope = new_table(pieces, 1 + (int)pick(LARGEST_TERMS), 0.5, 0.01, is_float);

    ntk_block block = {.n_features = p, .diagonal = symmetric ? diagonal : NULL, .streaming = (int)pick(2)};
    const ptrdiff_t most_columns = f->block_columns(p);
    block.row_start = pick(3) ? 0 : pick(n);
    block.row_stop = pick(3) ? n : block.row_start + 1 + pick(n - block.row_start);
    block.column_start = pick(3) ? 0 : pick(m);
    block.column_stop = pick(3) ? m : block.column_start + 1 + pick(m - block.column_start);
    if (block.column_stop - block.column_start > most_columns)
        block.column_stop = block.column_start + most_columns;
    if (symmetric && block.column_stop <= block.row_start) /* such a tile holds nothing: the schedule leaves it out */
        block.column_stop = m < block.column_start + most_columns ? m : block.column_start + most_columns;
    if (!symmetric || block.column_stop > block.row_start) {
        void *scratch = allocate(f->scratch_bytes(p, block.column_stop - block.column_start, n_layers));
        if (n_layers && !is_float && !pick(3))
            check_adjoint(f, &entry, &x, &y, block, scratch, n, m);
        else if (pick(3))
            check_matrix(f, &entry, &x, &y, block, scratch, n, m);
        else
            check_product(f, &entry, &x, &y, block, scratch, m);
        free(scratch);
    }
    check_square_norms(f, &x, n, p);
    free((void *)entry.value.coefficients);
    free((void *)entry.slope.coefficients);
    free(diagonal);
    free_rows(x);
    if (!symmetric)
        free_rows(y);
}

int main(void)
{
    static const char *instruction_sets[] = {"baseline", "avx2", "avx512"};
    for (size_t set = 0; set < 3; set++)
        for (int is_float = 0; is_float < 2; is_float++) {
            const ntk_functions *f = ntk_find_functions(instruction_sets[set], is_float);
            if (!f)
                continue;
            for (int i = 0; i < RUNS && failures < 10; i++)
                run(f);
            printf("%s %s\n", instruction_sets[set], is_float ? "float" : "double");
        }
    return failures != 0;
}
