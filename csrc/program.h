/* A program on GROUP vectors of pairs: pure arithmetic, with no index and no memory but its registers, which stay in the
 * first-level cache. Kinds are told apart once an instruction and group, never in a loop over vectors. */

static void NAME(apply_map)(const ntk_map *map, parameters at, const pairs *from, pairs *to, int has_tangent)
{
    switch (map->kind) {
    case NTK_TABLE:
        NAME(apply_table)(map, from, to, has_tangent);
        break;
    case NTK_EXPONENTIAL:
        NAME(apply_exponential)(map, at, from, to);
        break;
    case NTK_GAUSSIAN:
        NAME(apply_gaussian)(map, at, from, to);
        break;
    case NTK_ERF:
        NAME(apply_erf)(map, at, from, to, has_tangent);
        break;
    case NTK_GELU:
        NAME(apply_gelu)(map, at, from, to, has_tangent);
        break;
    case NTK_SINE:
        NAME(apply_sine)(map, at, from, to, has_tangent);
        break;
    case NTK_POLYNOMIAL:
        if (map->parity > 0)
            NAME(apply_even_polynomial)(map, at, from, to, has_tangent);
        else if (map->parity < 0)
            NAME(apply_odd_polynomial)(map, at, from, to, has_tangent);
        else
            NAME(apply_polynomial)(map, at, from, to, has_tangent);
        break;
#if !REAL_IS_FLOAT
    case NTK_CORNERS:
        NAME(apply_corners)(map, at, from, to);
        break;
#endif
    }
}

/* One instruction, from registers to one of them. */
ALWAYS_INLINE void NAME(run_step)(const ntk_program *program, const ntk_instruction *step, parameters at,
                                  pairs *registers, pairs *to)
{
    const int ones = program->n_parameters, zeros = ones + 1;
    const pairs *from = registers + step->sources[0];
    if (step->is_product) {
        NAME(multiply_nodes)(step, registers, to);
        return;
    }
    if (step->promotes) {
        NAME(promote)(step, at, from, to);
        return;
    }
    if (step->n_sources > 1) {
        NAME(mix_many)(step, at, registers, to);
        return;
    }
    const int is_whole = step->shares[0] == ones && step->bias == zeros;
    if (step->map >= 0) {
        NAME(apply_map)(program->maps + step->map, at, from, to, program->carries_tangent);
        from = to;
    }
    if (from != to || !is_whole || step->adds_own)
        NAME(mix_one)(step, at, from, to);
}

/* Register 0 holds the rows' own state. Returns the register that holds the result. */
static const pairs *NAME(execute)(const ntk_program *program, parameters at, pairs *registers)
{
    const int ones = program->n_parameters, zeros = ones + 1;
    pairs *to = registers;
    for (int k = 0; k < program->n_instructions; k++) {
        const ntk_instruction *step = program->instructions + k;
        to = registers + step->destination;
        if (step->map >= 0 && program->maps[step->map].kind == NTK_FOLD) {
            const int is_whole = step->shares[0] == ones && step->bias == zeros;
            NAME(fold_step)(program, step, at, registers + step->sources[0], to, is_whole);
            continue;
        }
        NAME(run_step)(program, step, at, registers, to);
        if (program->keeps_m_rest)
            memset(to->m_rest, 0, sizeof to->m_rest);
    }
    return to;
}
