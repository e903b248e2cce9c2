/* Numbers drawn at random, and arrays of either type in memory that is exactly as large as promised. */
#include <stdint.h>
#include <stdlib.h>

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
