/* What a stub compiles for: it defines NTK_AVX512, NTK_AVX2 or NTK_BASELINE, and REAL_IS_FLOAT, and includes tile.h.
 *
 * The instruction set is a pragma here and not a flag of the compiler: every source is built with the same command, and
 * nothing outside a stub may use instructions that the processor lacks.
 */
#if defined(NTK_AVX512)
#define ISA avx512
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
#endif
#elif defined(NTK_AVX2)
#define ISA avx2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#else
#define ISA baseline
#endif

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#if defined(NTK_AVX512) || defined(NTK_AVX2)
#include <immintrin.h>
static inline void store_fence(void) { _mm_sfence(); } /* streamed stores are visible to whoever is told we finished */
#else
static inline void store_fence(void) {}
#endif

#if REAL_IS_FLOAT
#define TYPE_NAME f32
#else
#define TYPE_NAME f64
#endif

#define JOIN_WORDS(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_WORDS(a, b, c)
#define NAME(function) JOIN(function, TYPE_NAME, ISA)
