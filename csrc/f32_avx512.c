#if defined(__x86_64__)
#define NTK_AVX512
#define REAL_IS_FLOAT 1
#include "tile.h"
#endif
