/* Random programs on rows, their tables, and rows with the parameters that they need. */
#include <math.h>
#include <stdlib.h>

#include "dispatch.h"
#include "drawing.h"

#define LARGEST_TERMS 5
#define LARGEST_STEPS 6
#define LARGEST_DEGREE 7
#define ODD_SHARE 0.3 /* of a sine, or the linear share of a fold */
#define EVEN_SHARE 0.7

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
    free(made.instructions);
    free(made.maps);
    free(made.numbers);
}
