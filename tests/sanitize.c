/* Runs every tile function over many odd shapes, in memory that is exactly as large as promised; compiled together with
 * csrc/ under the address and undefined-behaviour sanitizers, and run by test_csrc.py.
 *
 * The table of a profile is 1 everywhere, so an entry is the product of its two rows' scales, which are small whole
 * numbers: every result is known exactly. A program's values must be finite, and the same in both halves.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define RUNS 400
#define LARGEST_TERMS 5
#define LARGEST_STEPS 6
#define LARGEST_DEGREE 7
#define ODD_SHARE 0.3 /* of a sine, or the linear share of a fold */
#define EVEN_SHARE 0.7

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

/* A program of a few random steps, in memory that is exactly as large as its parts. Of each kind of map there is one; its
 * parameters come after the planes of shares, of which every step has three: two sources' and a bias's. */
typedef struct {
    ntk_program program;
    ntk_instruction *instructions;
    ntk_map *maps;
    int *numbers;
} random_program;

static int n_tail_parameters(const ntk_map *map) { return map->tail.n_functions ? 2 * NTK_TAIL_NODES : 0; }

static int n_own_parameters(const ntk_map *map)
{
    switch (map->kind) {
    case NTK_EXPONENTIAL:
    case NTK_GAUSSIAN:
        return 2;
    case NTK_SINE:
    case NTK_ERF:
    case NTK_GELU:
        return 5;
    case NTK_POLYNOMIAL:
        return 3 + n_tail_parameters(map) + LARGEST_DEGREE;
    }
    return 0;
}

/* Parameters of one row, at stride n from plane `first` on. */
static void put_parameters(reals planes, ptrdiff_t n, ptrdiff_t i, const ntk_map *map)
{
    const int kind = map->kind, parity = map->parity, before = 2 + n_tail_parameters(map);
    const double q = exp(6 * uniform() - 3), share = q / (1 + q);
    double own[3 + 2 * NTK_TAIL_NODES + LARGEST_DEGREE] = {uniform(), uniform()}, sum = 0;
    switch (kind) {
    case NTK_EXPONENTIAL:
        own[0] = 2 * uniform();
        own[1] = 1e-8 * uniform();
        break;
    case NTK_GAUSSIAN:
        own[0] = share;
        own[1] = sqrt(1 - share * share);
        break;
    case NTK_SINE:
        own[2] = sqrt(q);
        own[3] = 0;
        own[4] = 1 / sqrt(0.5 * (EVEN_SHARE * pow(expm1(-q), 2) - ODD_SHARE * expm1(-2 * q)));
        break;
    case NTK_ERF:
    case NTK_GELU:
        own[2] = sqrt(share);
        own[3] = sqrt(1 - share);
        own[4] = 1 / sqrt(asin(share));
        if (kind == NTK_GELU)
            own[4] = 1 / sqrt(0.25 + (asin(share) + 2 * share * sqrt(1 - share) / sqrt(1 + share)) / (2 * acos(-1)));
        break;
    case NTK_POLYNOMIAL:
        own[2] = (double)(1 + pick(LARGEST_DEGREE));
        for (int k = 3; k <= before; k++)
            own[k] = 0.01 * (uniform() - 0.5);
        for (int k = 1; k <= LARGEST_DEGREE; k++)
            own[before + k] = parity && (k % 2 == 0) != (parity > 0) ? 0 : uniform() - 0.5;
        for (int k = 1; k <= LARGEST_DEGREE; k++)
            sum += own[before + k] * own[before + k];
        for (int k = 1; k <= LARGEST_DEGREE; k++)
            own[before + k] /= sqrt(sum);
        break;
    }
    for (ptrdiff_t k = 0; k < n_own_parameters(map); k++)
        put(planes, (map->first_parameter + k) * n + i, own[k]);
}

typedef struct {
    ntk_rows rows;
    reals values, inverse_norm, parameters;
    double *scale;
} row_set;

static row_set new_rows(const ntk_program *program, ptrdiff_t n, ptrdiff_t p, int is_float)
{
    const ptrdiff_t stride = p + pick(3);
    row_set set;
    set.values = new_reals(n ? (n - 1) * stride + p : 0, is_float);
    set.inverse_norm = new_reals(n, is_float);
    set.parameters = new_reals(program->n_parameters * n, is_float);
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
        for (int step = 0; step < program->n_instructions; step++) {
            const ntk_instruction *instruction = program->instructions + step;
            const double first = uniform(), second = (instruction->n_sources > 1) * (1 - first) * uniform();
            put(set.parameters, 3 * step * n + i, sqrt(first));
            put(set.parameters, (3 * step + 1) * n + i, sqrt(second));
            put(set.parameters, (3 * step + 2) * n + i, sqrt(1 - first - second));
        }
        for (int k = 0; k < program->n_maps; k++)
            put_parameters(set.parameters, n, i, program->maps + k);
    }
    set.rows = (ntk_rows){set.values.memory, set.inverse_norm.memory, set.scale, set.parameters.memory, stride, n};
    return set;
}

static void free_rows(row_set set)
{
    free(set.values.memory);
    free(set.inverse_norm.memory);
    free(set.parameters.memory);
    free(set.scale);
}

/* A table in 64-byte aligned memory of exactly its size; `first` everywhere, and higher powers that vanish or are small. The
 * largest chord is in its last piece. */
static ntk_table new_table(int pieces, int two_sided, double stretch, double first, double higher, int is_float)
{
    const int n_terms = 1 + (int)pick(LARGEST_TERMS);
    const size_t bytes = (size_t)n_terms * (size_t)pieces * (is_float ? sizeof(float) : sizeof(double));
    reals a = {aligned_alloc(64, (bytes + 63) / 64 * 64), is_float};
    if (!a.memory)
        abort();
    for (ptrdiff_t i = 0; i < (ptrdiff_t)n_terms * pieces; i++)
        put(a, i, i < pieces ? first : higher * uniform());
    const double scale = pieces / (two_sided ? 2 : 1) * (1 + stretch * 0.7071) / 0.70711;
    return (ntk_table){a.memory, n_terms, stretch, scale};
}

static ntk_tail new_tail(int pieces, int is_float)
{
    ntk_tail tail = {.n_functions = NTK_TAIL_FUNCTIONS, .reach = 2600, .shift = 3, .largest_square = 0.2};
    for (int k = 0; k < NTK_TAIL_FUNCTIONS; k++)
        tail.functions[k] = new_table(pieces, 0, 0, 0.1, 0.01, is_float);
    for (int k = 0; k < NTK_TAIL_NODES; k++) {
        tail.at_zero[k] = uniform() - 0.5;
        tail.steps[k] = 51 / (0.01 + uniform());
    }
    return tail;
}

static random_program new_program(int n_steps, int pieces, int is_float)
{
    random_program made;
    const int n_maps = n_steps ? NTK_POLYNOMIAL + 1 : 0;
    made.instructions = allocate((size_t)n_steps * sizeof(ntk_instruction));
    made.maps = allocate((size_t)n_maps * sizeof(ntk_map));
    made.numbers = allocate((size_t)n_steps * 4 * sizeof(int));
    ntk_program program = {.n_instructions = n_steps, .n_maps = n_maps, .has_tangent = (int)pick(2)};
    program.instructions = made.instructions;
    program.maps = made.maps;
    program.n_parameters = 3 * n_steps;
    program.n_registers = n_steps ? 3 : (int)pick(2);
    for (int kind = 0; kind < n_maps; kind++) {
        ntk_map map = {.kind = kind, .parity = (int)pick(3) - 1, .power = (int)pick(4),
                       .constants = {ODD_SHARE, EVEN_SHARE},
                       .near_shortfall = 0.01, .near_bending = 0.003};
        map.first_parameter = program.n_parameters;
        if (kind == NTK_POLYNOMIAL && pick(2))
            map.tail = new_tail(pieces, is_float);
        map.n_parameters = n_own_parameters(&map);
        map.value = new_table(pieces, map.parity == 0, (double)pick(3), 0.1, 0.01, is_float);
        map.derivative = new_table(pieces, map.parity == 0, (double)pick(3), 0.5, 0.01, is_float);
        program.n_parameters += map.n_parameters;
        made.maps[kind] = map;
    }
    for (int k = 0; k < n_steps; k++) {
        ntk_instruction *step = made.instructions + k;
        int *sources = made.numbers + 4 * k, *step_shares = sources + 2;
        *step = (ntk_instruction){.destination = (int)pick(3), .map = -1, .n_sources = 1 + (int)pick(2), .bias = 3 * k + 2};
        step->sources = sources;
        step->shares = step_shares;
        step->adds_own = (int)pick(2);
        step->is_product = pick(5) == 0;
        for (int source = 0; source < 2; source++) {
            sources[source] = k ? (int)pick(3) : 0;
            step_shares[source] = 3 * k + source;
        }
        if (step->n_sources == 1) {
            step->map = (int)pick(n_maps + 1) - 1;
            if (pick(3) == 0) { /* shares that are 1, and no bias */
                step_shares[0] = program.n_parameters;
                step->bias = program.n_parameters + 1;
            }
        }
    }
    program.profile = new_table(pieces, 1, (double)pick(3), 1, 0, is_float);
    program.fold_value = new_table(pieces, 0, 0, 1.7, 0.01, is_float);
    program.fold_angle = new_table(pieces, 0, 0, 2, 0.01, is_float);
    made.program = program;
    return made;
}

static void free_program(random_program made)
{
    for (int kind = 0; kind < made.program.n_maps; kind++) {
        free((void *)made.maps[kind].value.coefficients);
        free((void *)made.maps[kind].derivative.coefficients);
        for (int k = 0; k < made.maps[kind].tail.n_functions; k++)
            free((void *)made.maps[kind].tail.functions[k].coefficients);
    }
    free((void *)made.program.profile.coefficients);
    free((void *)made.program.fold_value.coefficients);
    free((void *)made.program.fold_angle.coefficients);
    free(made.instructions);
    free(made.maps);
    free(made.numbers);
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
