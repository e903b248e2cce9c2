#include <string.h>

#include "dispatch.h"

#define ENTRY(set, is_float, suffix) \
    {set, is_float, ntk_pieces_##suffix, ntk_block_columns_##suffix, ntk_scratch_bytes_##suffix, \
     ntk_adjoint_bytes_##suffix, ntk_tile_##suffix, ntk_square_norms_##suffix, ntk_lanes_##suffix, \
     ntk_image_bytes_##suffix, ntk_pack_images_##suffix, ntk_begin_segment_##suffix, \
     ntk_image_components_##suffix, ntk_image_output_##suffix, \
     ntk_image_entries_##suffix}

static const ntk_functions functions[] = {
#if defined(__x86_64__)
    ENTRY("avx512", 0, f64_avx512), ENTRY("avx512", 1, f32_avx512),
    ENTRY("avx2", 0, f64_avx2),     ENTRY("avx2", 1, f32_avx2),
#endif
    ENTRY("baseline", 0, f64_baseline), ENTRY("baseline", 1, f32_baseline),
};

static int processor_has(const char *instruction_set)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (strcmp(instruction_set, "avx512") == 0)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    if (strcmp(instruction_set, "avx2") == 0)
        return avx2;
#endif
    return strcmp(instruction_set, "baseline") == 0;
}

const ntk_functions *ntk_find_functions(const char *instruction_set, int is_float)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strcmp(functions[i].instruction_set, instruction_set) == 0 && functions[i].is_float == is_float)
            return processor_has(instruction_set) ? &functions[i] : NULL;
    return NULL;
}
