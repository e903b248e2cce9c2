#define NTK_BASELINE
#define REAL_IS_FLOAT 1
#include "tile.h"
