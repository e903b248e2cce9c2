/* A tile's scratch memory: columns and their parameters packed for vectors, and what is computed before it is stored. */

typedef struct {
    real *packed;         /* (panels, n_features, PANEL) */
    real *strip_rows;     /* (STRIP, features_stride) */
    real *band;           /* (BAND, columns) */
    real *turned;         /* (LANES, BAND) */
    real *inverse_norm;   /* (columns,) */
    real *parameters;     /* (groups, planes, GROUP_REALS): a group's planes lie together */
    real *row_parameters; /* (STRIP, planes) */
    unsigned char *is_used; /* (planes,): whether any pair of the tile reads it */
    pairs *registers;     /* (n_registers,) */
    double *scale;        /* (columns,) */
    ptrdiff_t columns, features_stride, planes;
    size_t bytes;
} NAME(workspace);

/* Under the address sanitizer a gap that must not be touched lies between two pieces. */
static void *NAME(carve)(char *base, size_t *used, size_t bytes)
{
    void *piece = base ? base + *used : NULL;
    *used += PADDED(bytes, 64);
#ifdef __SANITIZE_ADDRESS__
    if (base) {
        __asan_unpoison_memory_region(piece, bytes);
        __asan_poison_memory_region((char *)piece + bytes, PADDED(bytes, 64) - bytes + 64);
    }
    *used += 64;
#endif
    return piece;
}

static NAME(workspace) NAME(lay_out)(void *scratch, const ntk_program *program, ptrdiff_t n_features,
                                     ptrdiff_t block_columns)
{
    char *base = scratch ? (char *)PADDED((size_t)scratch, 64) : NULL;
    NAME(workspace) w;
    size_t used = 0;
    w.columns = PADDED(block_columns, COLUMN_UNIT);
    /* an odd number of cache lines: rows of a power-of-two length would fall on the same few cache sets */
    w.features_stride = PADDED(n_features, 64 / sizeof(real));
    if (w.features_stride / (64 / sizeof(real)) % 2 == 0)
        w.features_stride += 64 / sizeof(real);
    w.planes = program->n_instructions ? program->n_parameters + 2 : 0; /* and ones and zeros */
    const size_t columns = (size_t)w.columns, planes = (size_t)w.planes;
    w.packed = NAME(carve)(base, &used, (columns + PANEL) * (size_t)n_features * sizeof(real));
    w.strip_rows = NAME(carve)(base, &used, (size_t)STRIP * (size_t)w.features_stride * sizeof(real));
    w.band = NAME(carve)(base, &used, BAND * columns * sizeof(real));
    w.turned = NAME(carve)(base, &used, (size_t)LANES * BAND * sizeof(real));
    w.inverse_norm = NAME(carve)(base, &used, columns * sizeof(real));
    w.parameters = NAME(carve)(base, &used, planes * columns * sizeof(real));
    w.row_parameters = NAME(carve)(base, &used, STRIP * planes * sizeof(real));
    w.is_used = NAME(carve)(base, &used, planes);
    w.registers = NAME(carve)(base, &used, (size_t)program->n_registers * sizeof(pairs));
    w.scale = NAME(carve)(base, &used, columns * sizeof(double));
    w.bytes = used + 64;
    return w;
}

ALWAYS_INLINE real NAME(largest)(const ntk_rows *rows, ptrdiff_t plane, ptrdiff_t start, ptrdiff_t stop)
{
    const real *values = (const real *)rows->parameters + plane * rows->n_rows;
    real result = 0;
    for (ptrdiff_t i = start; i < stop; i++)
        result = values[i] > result ? values[i] : result;
    return result;
}

/* Polynomials may have planes for rows with many terms, hundreds of them, that are in another tile. */
static void NAME(find_used)(const ntk_program *program, const ntk_rows *x, const ntk_rows *y, const ntk_block *block,
                            NAME(workspace) *w)
{
    memset(w->is_used, 1, (size_t)w->planes);
    for (int k = 0; k < program->n_maps; k++) {
        const ntk_map *map = program->maps + k;
        if (map->kind != NTK_POLYNOMIAL)
            continue;
        const ptrdiff_t needed = map->first_parameter + NEAR_PARAMETERS;
        const real of_rows = NAME(largest)(x, needed, block->row_start, block->row_stop);
        const real of_columns = NAME(largest)(y, needed, block->column_start, block->column_stop);
        const ptrdiff_t n_terms = (ptrdiff_t)(of_rows > of_columns ? of_rows : of_columns);
        for (ptrdiff_t plane = NAME(before_terms)(map) + n_terms + 1; plane < map->first_parameter + map->n_parameters; plane++)
            w->is_used[plane] = 0;
    }
}

static void NAME(pack_columns)(const ntk_program *program, const ntk_rows *x, const ntk_rows *y, const ntk_block *block,
                               NAME(workspace) *w)
{
    const ptrdiff_t first = block->column_start, n = block->column_stop - first;
    const real *inverse_norm = (const real *)y->inverse_norm + first;
    NAME(pack)((const real *)y->values + first * y->row_stride, y->row_stride, block->n_features, n, w->packed);
    for (ptrdiff_t c = 0; c < w->columns; c++) {
        w->inverse_norm[c] = c < n ? inverse_norm[c] : 0;
        w->scale[c] = c < n ? y->scale[first + c] : 0;
    }
    if (!w->planes)
        return;
    memset(w->registers, 0, (size_t)program->n_registers * sizeof(pairs)); /* of the tangent, where there is none */
    NAME(find_used)(program, x, y, block, w);
    real *packed = w->parameters;
    for (ptrdiff_t start = 0; start < w->columns; start += GROUP_REALS)
        for (ptrdiff_t plane = 0; plane < w->planes; plane++, packed += GROUP_REALS) {
            if (!w->is_used[plane])
                continue;
            if (plane >= program->n_parameters) {
                for (ptrdiff_t c = 0; c < GROUP_REALS; c++)
                    packed[c] = plane == program->n_parameters;
                continue;
            }
            const real *given = (const real *)y->parameters + plane * y->n_rows + first;
            for (ptrdiff_t c = 0; c < GROUP_REALS; c++) /* padded with the last column: a column of zeros might make NaN */
                packed[c] = given[start + c < n ? start + c : n - 1];
        }
}

/* The parameters of rows [first, first + n) of a strip, a row's together. */
static void NAME(pack_row_parameters)(const ntk_program *program, const ntk_rows *x, ptrdiff_t first, ptrdiff_t n,
                                      NAME(workspace) *w)
{
    const real *given = (const real *)x->parameters + first;
    for (ptrdiff_t plane = 0; plane < program->n_parameters; plane++)
        for (ptrdiff_t r = 0; w->is_used[plane] && r < n; r++)
            w->row_parameters[r * w->planes + plane] = given[plane * x->n_rows + r];
    for (ptrdiff_t r = 0; r < n; r++) {
        w->row_parameters[r * w->planes + program->n_parameters] = 1;
        w->row_parameters[r * w->planes + program->n_parameters + 1] = 0;
    }
}
