#define NTK_BASELINE
#define REAL_IS_FLOAT 0
#include "tile.h"
