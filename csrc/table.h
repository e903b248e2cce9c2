/* Tables of the chord: piecewise polynomials whose coefficients are permuted within vectors, not gathered.
 *
 * GROUP vectors go through every step together: a polynomial is a chain of dependent operations, and several chains at
 * once keep the multipliers busy. Eight at once are slower than four even with 32 registers: what is spilled costs more
 * (on a Zen 4, one layer of an NTK with bias 1.05 to 1.08 times as much).
 */

#define GROUP 4
#define GROUP_REALS (GROUP * LANES)

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NEVER_INLINE static __attribute__((noinline))

typedef struct {
    vreal u[GROUP]; /* offset from the centre of the piece, -1/2 to 1/2 */
    vindex piece[GROUP];
} positions;

/* Where chords are in a table; two-sided, the second half of the pieces is for cosine < 0. One-sided: `opposite` is NULL. */
ALWAYS_INLINE positions NAME(locate)(const vreal *chord, const vmask *opposite, const real stretch, const real scale)
{
    const vreal low = vreal_set((real)ROUNDING_SHIFT), high = vreal_set((real)ROUNDING_SHIFT + OPPOSITE);
    const vreal half = vreal_set((real)0.5), minus_half = vreal_set((real)-0.5), one = vreal_set(1);
    const vreal s = vreal_set(scale), a = vreal_set(stretch);
    positions at;
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
        vreal z;
        if (stretch != 0)
            z = vreal_sub(vreal_div(vreal_mul(chord[g], s), vreal_fma(chord[g], a, one)), half);
        else
            z = vreal_fma(chord[g], s, minus_half);
        const vreal shift = opposite ? vreal_select(opposite[g], high, low) : low;
        const vreal shifted = vreal_add(z, shift); /* rounds z; its low bits are the piece */
        at.piece[g] = vreal_index(shifted);
        at.u[g] = vreal_sub(z, vreal_sub(shifted, shift));
    }
    return at;
}

ALWAYS_INLINE void NAME(evaluate_some)(const ntk_table *table, const vreal *u, const vindex *piece, const int n,
                                       vreal *result)
{
    const real *row = (const real *)table->coefficients + (ptrdiff_t)PIECES * (table->n_terms - 1);
#pragma GCC unroll 4
    for (int g = 0; g < n; g++)
        result[g] = vreal_lookup(row, piece[g]);
    for (int k = 1; k < table->n_terms; k++) {
        row -= PIECES;
#pragma GCC unroll 4
        for (int g = 0; g < n; g++)
            result[g] = vreal_fma(result[g], u[g], vreal_lookup(row, piece[g]));
    }
}

ALWAYS_INLINE void NAME(evaluate)(const ntk_table *table, const positions *at, vreal *result)
{
    NAME(evaluate_some)(table, at->u, at->piece, GROUP, result);
}
