/* From chords to kernel entries: pure arithmetic on a group of vectors, with no index and no memory but the tables.
 *
 * GROUP vectors go through every step together: a polynomial is a chain of dependent operations, and several chains at
 * once keep the multipliers busy (eight: 0.83 cycles a term and vector, four: 0.93), as far as there are registers.
 */

#if defined(NTK_AVX512)
#define GROUP 8
#else
#define GROUP 4
#endif

typedef struct {
    vreal chord[GROUP];    /* half the distance of the unit vectors, to the nearer of y and -y: at most sqrt(1/2) */
    vreal square[GROUP];   /* its square, which may be known better than by squaring */
    vmask opposite[GROUP]; /* cosine < 0 */
} chords;

typedef struct {
    vreal u[GROUP]; /* offset from the centre of the piece, -1/2 to 1/2 */
    vindex piece[GROUP];
} positions;

static inline positions NAME(locate)(chords c, real stretch, real scale)
{
    const vreal low = vreal_set((real)ROUNDING_SHIFT), high = vreal_set((real)ROUNDING_SHIFT + OPPOSITE);
    const vreal half = vreal_set((real)0.5), one = vreal_set(1), s = vreal_set(scale), a = vreal_set(stretch);
    positions at;
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++) {
        vreal z = vreal_mul(c.chord[g], s);
        if (stretch != 0)
            z = vreal_div(z, vreal_fma(c.chord[g], a, one));
        z = vreal_sub(z, half);
        vreal shift = vreal_select(c.opposite[g], high, low);
        vreal shifted = vreal_add(z, shift); /* rounds z; its low bits are the piece */
        at.piece[g] = vreal_index(shifted);
        at.u[g] = vreal_sub(z, vreal_sub(shifted, shift));
    }
    return at;
}

static inline void NAME(evaluate)(const ntk_table *table, const positions *at, vreal *result)
{
    const real *row = (const real *)table->coefficients + (ptrdiff_t)PIECES * (table->n_terms - 1);
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++)
        result[g] = vreal_lookup(row, at->piece[g]);
    for (int k = 1; k < table->n_terms; k++) {
        row -= PIECES;
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++)
            result[g] = vreal_fma(result[g], at->u[g], vreal_lookup(row, at->piece[g]));
    }
}

/* 1 - kappa of one layer. The table holds only what its lead leaves: near cosine 1 its rounding errors, the same in
 * every layer, do not add up. */
static inline void NAME(value_complement)(const ntk_entry *entry, const chords *c, const positions *at, vreal *result)
{
    const vreal zero = vreal_set(0), offset = vreal_set((real)entry->value_offset);
    const vreal near_lead = vreal_set((real)entry->value_leads[0]), far_lead = vreal_set((real)entry->value_leads[1]);
    NAME(evaluate)(&entry->value, at, result);
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++) {
        vreal factor = c->chord[g];
        if (entry->value_power == 3)
            factor = vreal_mul(factor, c->square[g]);
        else if (entry->value_power == 4)
            factor = vreal_mul(c->square[g], c->square[g]);
        const vreal lead = vreal_select(c->opposite[g], far_lead, near_lead);
        const vreal rest = vreal_fma(result[g], factor, vreal_select(c->opposite[g], offset, zero));
        result[g] = vreal_fma(lead, c->square[g], rest);
    }
}

/* 1 - kappa' of one layer. */
static inline void NAME(slope_complement)(const ntk_entry *entry, const chords *c, const positions *at, vreal *result)
{
    const vreal zero = vreal_set(0), offset = vreal_set((real)entry->slope_offset);
    NAME(evaluate)(&entry->slope, at, result);
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++)
        result[g] = vreal_fma(result[g], c->chord[g], vreal_select(c->opposite[g], offset, zero));
}

/* Row i against GROUP vectors of columns: rho and tau of the row (one real per layer, stride row_layers) and of the
 * columns (LANES * GROUP reals per layer, stride column_layers). Returns Sigma_L or Theta_L over sqrt(q_L q_L'). */
static inline void NAME(recursion)(const ntk_entry *entry, chords c, const real *row_rho, const real *row_tau,
                                   ptrdiff_t row_layers, const real *column_rho, const real *column_tau,
                                   ptrdiff_t column_layers, vreal *result)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), two = vreal_set(2), half = vreal_set((real)0.5);
    const real stretch = (real)entry->stretch, scale = (real)entry->scale;
    vreal m[GROUP], turn[GROUP], theta[GROUP], rest[GROUP];
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++) { /* the input layer: 1 - cosine of the rows */
        const vreal square = vreal_mul(c.square[g], two);
        m[g] = vreal_select(c.opposite[g], vreal_sub(two, square), square);
        theta[g] = rest[g] = turn[g] = zero;
    }
    for (int layer = 0; layer <= entry->n_layers; layer++) {
        const vreal rho_i = vreal_set(row_rho[layer * row_layers]), tau_i = vreal_set(row_tau[layer * row_layers]);
        if (layer > 0) {
            const positions at = NAME(locate)(c, stretch, scale);
            NAME(value_complement)(entry, &c, &at, m);
            if (entry->has_tangent)
                NAME(slope_complement)(entry, &c, &at, turn);
        }
#pragma GCC unroll 8
        for (int g = 0; g < GROUP; g++) {
            const vreal rho_j = vreal_load(column_rho + layer * column_layers + g * LANES);
            const vreal tau_j = vreal_load(column_tau + layer * column_layers + g * LANES);
            const vreal rho = vreal_mul(rho_i, rho_j), tau = vreal_mul(tau_i, tau_j);
            /* 1 - rho - tau = (rho_i tau_j - tau_i rho_j)^2 / (1 + rho + tau): nothing cancels */
            const vreal cross = vreal_sub(vreal_mul(rho_i, tau_j), vreal_mul(tau_i, rho_j));
            const vreal apart = vreal_div(vreal_mul(cross, cross), vreal_add(vreal_add(one, tau), rho));
            const vreal lost = vreal_add(tau, apart); /* 1 - rho, with digits of its own */
            const vmask keeps_most = vreal_less(lost, half);
            /* rho m: m - lost m where rho, near 1, has no digits of its own; where lost is near 1, that has none left */
            const vreal turned =
                vreal_select(keeps_most, vreal_fma(lost, vreal_sub(zero, m[g]), m[g]), vreal_mul(rho, m[g]));
            const vreal delta = vreal_add(turned, apart);
            vreal complement = vreal_sub(two, delta);
            if (layer == 0) {
                /* 1 + cosine of nearly opposite rows, the same way: 1 - rho + tau = (rho_i tau_j + tau_i rho_j)^2 /
                 * (1 + rho - tau). Where it is used the cosine is negative, so rho > tau: the divisor exceeds 1. */
                const vreal sum = vreal_add(vreal_mul(rho_i, tau_j), vreal_mul(tau_i, rho_j));
                const vreal square = vreal_mul(c.square[g], two);
                const vreal divisor = vreal_max(vreal_add(vreal_sub(one, tau), rho), one);
                complement = vreal_fma(rho, square, vreal_div(vreal_mul(sum, sum), divisor));
            }
            if (entry->has_tangent) {
                /* rho kappa' theta = theta - (1 - rho) theta - rho turn theta: what a layer takes away is rounded, not what
                 * it keeps, and the sum keeps its rounding errors, or over many layers they would add up */
                const vreal kept = vreal_mul(rho, theta[g]), sigma = vreal_sub(one, delta);
                const vreal less = vreal_fma(lost, theta[g], vreal_mul(turn[g], kept));
                const vreal step = vreal_add(vreal_sub(sigma, less), rest[g]), sum = vreal_add(theta[g], step);
                const vreal direct = vreal_add(vreal_fma(turn[g], vreal_sub(zero, kept), kept), sigma);
                rest[g] = vreal_select(keeps_most, vreal_sub(step, vreal_sub(sum, theta[g])), zero);
                theta[g] = vreal_select(keeps_most, sum, direct);
            } else
                theta[g] = vreal_sub(one, delta);
            c.opposite[g] = vreal_less(one, delta);
            c.square[g] = vreal_max(vreal_mul(half, vreal_select(c.opposite[g], complement, delta)), zero);
            c.chord[g] = vreal_sqrt(c.square[g]);
        }
    }
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++)
        result[g] = theta[g];
}
