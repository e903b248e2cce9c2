/* Runs every tile function over many odd shapes, in memory that is exactly as large as promised; compiled together with
 * csrc/ under the address and undefined-behaviour sanitizers, and run by backends/test_csrc.py.
 *
 * The table of a profile is 1 everywhere, so an entry is the product of its two rows' scales, which are small whole
 * numbers: every result is known exactly. A program's values must be finite, and the same in both halves.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs.h"

#define RUNS 400

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

static void check_matrix(const ntk_functions *f, const ntk_program *program, const row_set *x, const row_set *y,
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
    f->tile(program, &x->rows, &y->rows, &block, scratch);

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
            else if (program->n_instructions) {
                expected = block.diagonal ? get(out, first + shift + j * di + i * dj) : value;
                expect(isfinite(value), "not finite", f, &block);
            }
            expect(value == expected, "wrong entry", f, &block);
        }
    expect(written == wanted, "wrote where it must not", f, &block);
    free(out.memory);
}

static void check_product(const ntk_functions *f, const ntk_program *program, const row_set *x, const row_set *y,
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
    f->tile(program, &x->rows, &y->rows, &block, scratch);
    for (ptrdiff_t v = 0; !program->n_instructions && v < n_vectors; v++) {
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

/* The same program as its way back needs it: folds in steps of their own, and every step to a register of its own. */
static void make_reversible(random_program *made)
{
    for (int k = 0; k < made->program.n_instructions; k++) {
        ntk_instruction *step = made->instructions + k;
        int *sources = made->numbers + 4 * k, *step_shares = sources + 2;
        step->destination = k + 1;
        sources[0] = (int)pick(k + 1);
        sources[1] = (int)pick(k + 1);
        step->map = !step->is_product && step->n_sources == 1 && pick(2) ? NTK_FOLD : -1;
        if (step->map == NTK_FOLD) {
            step_shares[0] = made->program.n_parameters;
            step->bias = made->program.n_parameters + 1;
            step->adds_own = 0;
        }
    }
    made->program.n_registers = made->program.n_instructions + 1;
}

static void check_adjoint(const ntk_functions *f, const ntk_program *program, const row_set *x, const row_set *y,
                          ntk_block block, void *scratch, ptrdiff_t n, ptrdiff_t m)
{
    const ptrdiff_t n_sums = program->n_parameters + 1, weight_stride = m + pick(3);
    const ptrdiff_t n_rows = block.row_stop - block.row_start, n_columns = block.column_stop - block.column_start;
    const ptrdiff_t column_stride = n_columns + NTK_SUM_PADDING;
    double *weights = allocate((size_t)((n - 1) * weight_stride + m) * sizeof(double));
    double *row_sums = allocate((size_t)(n_sums * n_rows) * sizeof(double));
    double *column_sums = allocate((size_t)(n_sums * column_stride) * sizeof(double));
    for (ptrdiff_t i = 0; i < (n - 1) * weight_stride + m; i++)
        weights[i] = (double)pick(5);
    for (ptrdiff_t i = 0; i < n_sums * n_rows; i++)
        row_sums[i] = 0;
    for (ptrdiff_t i = 0; i < n_sums * column_stride; i++)
        column_sums[i] = 0;
    void *own = allocate(f->adjoint_bytes(program, n_columns));
    const ntk_adjoint adjoint = {weights, row_sums, column_sums, weight_stride, n_rows, column_stride, own};
    block.adjoint = &adjoint;
    f->tile(program, &x->rows, &y->rows, &block, scratch);
    double of_rows = 0, of_columns = 0; /* the logarithm of the scale is one of the row and one of the column */
    for (ptrdiff_t k = 0; k < n_sums * n_rows; k++) {
        expect(isfinite(row_sums[k]), "not finite", f, &block);
        of_rows += k >= (n_sums - 1) * n_rows ? row_sums[k] : 0;
    }
    for (ptrdiff_t k = 0; k < n_sums * column_stride; k++) {
        expect(isfinite(column_sums[k]), "not finite", f, &block);
        expect(k % column_stride < n_columns || column_sums[k] == 0, "a column that is not there", f, &block);
        of_columns += k >= (n_sums - 1) * column_stride ? column_sums[k] : 0;
    }
    expect(fabs(of_rows - of_columns) <= 1e-9 * (1 + fabs(of_rows)), "rows and columns differ", f, &block);
    free(weights);
    free(row_sums);
    free(column_sums);
    free(own);
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
    const int symmetric = (int)pick(2), n_steps = (int)pick(2) * (1 + (int)pick(LARGEST_STEPS));
    const ptrdiff_t n = pick_size(), m = symmetric ? n : pick_size(), p = pick_size();
    const double *near = nears[pick(4)];
    random_program made = new_program(n_steps, pieces, is_float);
    const int differentiated = n_steps && !is_float && !pick(4);
    if (differentiated)
        make_reversible(&made);
    made.program.near = near[0];
    made.program.near_exact = near[1];
    row_set x = new_rows(&made.program, n, p, is_float), y = symmetric ? x : new_rows(&made.program, m, p, is_float);
    double *diagonal = allocate((size_t)n * sizeof(double));
    for (ptrdiff_t i = 0; i < n; i++)
        diagonal[i] = (double)pick(100);

    ntk_block block = {.n_features = p, .diagonal = symmetric ? diagonal : NULL, .streaming = (int)pick(2)};
    const ptrdiff_t most_columns = f->block_columns(p, made.program.n_parameters);
    block.row_start = pick(3) ? 0 : pick(n);
    block.row_stop = pick(3) ? n : block.row_start + 1 + pick(n - block.row_start);
    block.column_start = pick(3) ? 0 : pick(m);
    block.column_stop = pick(3) ? m : block.column_start + 1 + pick(m - block.column_start);
    if (block.column_stop - block.column_start > most_columns)
        block.column_stop = block.column_start + most_columns;
    if (symmetric && block.column_stop <= block.row_start) /* such a tile holds nothing: the schedule leaves it out */
        block.column_stop = m < block.column_start + most_columns ? m : block.column_start + most_columns;
    if (!symmetric || block.column_stop > block.row_start) {
        void *scratch = allocate(f->scratch_bytes(&made.program, p, block.column_stop - block.column_start));
        if (differentiated)
            check_adjoint(f, &made.program, &x, &y, block, scratch, n, m);
        else if (pick(3))
            check_matrix(f, &made.program, &x, &y, block, scratch, n, m);
        else
            check_product(f, &made.program, &x, &y, block, scratch, m);
        free(scratch);
    }
    check_square_norms(f, &x, n, p);
    free_program(made);
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
