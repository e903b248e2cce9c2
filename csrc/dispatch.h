/* The functions of one instruction set and one real type, found by name while the program runs. */
#ifndef NTK_DISPATCH_H
#define NTK_DISPATCH_H

#include "ntk_images.h"
#include "ntk_tile.h"

typedef struct {
    const char *instruction_set;
    int is_float;
    int (*pieces)(void);
    ptrdiff_t (*block_columns)(ptrdiff_t n_features, ptrdiff_t n_parameters);
    size_t (*scratch_bytes)(const ntk_program *, ptrdiff_t n_features, ptrdiff_t block_columns);
    size_t (*adjoint_bytes)(const ntk_program *, ptrdiff_t block_columns);
    void (*tile)(const ntk_program *, const ntk_rows *, const ntk_rows *, const ntk_block *, void *);
    void (*square_norms)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, double *, double *);
    ptrdiff_t (*lanes)(void);
    size_t (*image_bytes)(const ntk_image_program *);
    void (*pack_images)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, void *);
    void (*begin_segment)(const ntk_image_program *, const ntk_images *, const ntk_images *, int, void *);
    void (*image_components)(const ntk_image_program *, const ntk_images *, const ntk_images *, int, int, void *);
    void (*image_output)(const ntk_image_program *, void *, void *);
    void (*image_entries)(const ntk_image_program *, const ntk_images *, ptrdiff_t, const ntk_images *, void *, void *);
} ntk_functions;

/* NULL unless this instruction set was compiled and the processor has it. */
const ntk_functions *ntk_find_functions(const char *instruction_set, int is_float);

#endif
