#if defined(__x86_64__)
#define NTK_AVX2
#define REAL_IS_FLOAT 0
#include "tile.h"
#endif
