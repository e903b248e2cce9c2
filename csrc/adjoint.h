/* Derivatives of sum_ij weight_ij K_ij with respect to what a kernel of several layers knows of its rows: reverse mode.
 *
 * Per layer a row has (rho, tau) = (cos t, sin t). With delta, m = 1 - kappa and s = kappa' of a pair's layers,
 *
 *     delta_l = rho rho' m_l + 1 - cos(t - t')        d m_l / d delta_(l-1) = s_l
 *     theta_l = rho rho' s_l theta_(l-1) + 1 - delta_l      d s_l / d delta_(l-1) = -(slope_offset / pi) / sin(angle)
 *
 * so one pass down the layers, which keeps four numbers of each, and one pass up give the derivatives with respect to every
 * t of the row and of the column. What is kept is products only: nearly parallel rows lose no digits.
 */

#define ONE_OVER_PI 0.31830988618379067154
#define LEAST_SINE 1e-150 /* below it a pair counts as parallel: nothing it is multiplied with overflows */

/* Of a group of pairs, per layer. */
typedef struct {
    vreal complement[GROUP];   /* m */
    vreal slope[GROUP];        /* s */
    vreal below[GROUP];        /* theta of the layer below */
    vreal inverse_sine[GROUP]; /* of the angle that comes in; 0 for parallel rows, whose angle nothing moves */
} NAME(kept_layer);

#if !REAL_IS_FLOAT

static inline real NAME(sum_of_lanes)(vreal a)
{
    real lanes[LANES], sum = 0;
    vreal_store(lanes, a);
    for (int lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    return sum;
}

typedef struct {
    const real *row_rho, *row_tau; /* one real a layer, row_layers apart */
    ptrdiff_t row_layers;
    const real *column_rho, *column_tau; /* LANES * GROUP reals a layer, column_layers apart */
    ptrdiff_t column_layers;
} NAME(pair_parameters);

/* The layers downwards. Returns theta of the last in `theta`. */
static void NAME(forward)(const ntk_entry *entry, chords c, const NAME(pair_parameters) *p, NAME(kept_layer) *kept,
                          vreal *theta)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), two = vreal_set(2), half = vreal_set((real)0.5);
    const vreal least = vreal_set((real)LEAST_SINE);
    for (int g = 0; g < GROUP; g++)
        theta[g] = zero;
    for (int layer = 0; layer <= entry->n_layers; layer++) {
        NAME(kept_layer) *k = kept + layer;
        const vreal rho_i = vreal_set(p->row_rho[layer * p->row_layers]);
        const vreal tau_i = vreal_set(p->row_tau[layer * p->row_layers]);
        if (layer > 0) {
            const positions at = NAME(locate)(c, (real)entry->stretch, (real)entry->scale);
            NAME(value_complement)(entry, &c, &at, k->complement);
            NAME(slope_complement)(entry, &c, &at, k->slope);
        }
        for (int g = 0; g < GROUP; g++) {
            const vreal square = vreal_mul(c.square[g], two);
            const vreal sine = vreal_mul(vreal_mul(c.chord[g], two), vreal_sqrt(vreal_sub(one, c.square[g])));
            const vreal inverse = vreal_div(one, vreal_max(sine, least));
            k->inverse_sine[g] = vreal_select(vreal_less(least, sine), inverse, zero);
            k->below[g] = theta[g];
            if (layer == 0) {
                k->complement[g] = vreal_select(c.opposite[g], vreal_sub(two, square), square);
                k->slope[g] = zero;
            } else
                k->slope[g] = vreal_sub(one, k->slope[g]);
            const vreal rho_j = vreal_load(p->column_rho + layer * p->column_layers + g * LANES);
            const vreal tau_j = vreal_load(p->column_tau + layer * p->column_layers + g * LANES);
            const vreal rho = vreal_mul(rho_i, rho_j), tau = vreal_mul(tau_i, tau_j);
            const vreal cross = vreal_sub(vreal_mul(rho_i, tau_j), vreal_mul(tau_i, rho_j));
            const vreal apart = vreal_div(vreal_mul(cross, cross), vreal_add(vreal_add(one, tau), rho));
            const vreal delta = vreal_fma(rho, k->complement[g], apart);
            vreal opposite_delta = vreal_sub(two, delta);
            if (layer == 0) { /* see entry.h */
                const vreal sum = vreal_add(vreal_mul(rho_i, tau_j), vreal_mul(tau_i, rho_j));
                const vreal divisor = vreal_max(vreal_add(vreal_sub(one, tau), rho), one);
                opposite_delta = vreal_fma(rho, square, vreal_div(vreal_mul(sum, sum), divisor));
            }
            theta[g] = vreal_sub(one, delta);
            if (entry->has_tangent)
                theta[g] = vreal_fma(vreal_mul(rho, k->slope[g]), k->below[g], theta[g]);
            c.opposite[g] = vreal_less(one, delta);
            c.square[g] = vreal_max(vreal_mul(half, vreal_select(c.opposite[g], opposite_delta, delta)), zero);
            c.chord[g] = vreal_sqrt(c.square[g]);
        }
    }
}

/* The layers upwards: `weight` is the derivative with respect to theta of the last. Adds to the columns' sums, LANES * GROUP
 * reals a layer, column_layers apart, and to the row's, one real a layer, row_sums_layers apart. */
static void NAME(backward)(const ntk_entry *entry, const NAME(pair_parameters) *p, const NAME(kept_layer) *kept,
                           const vreal *weight, real *column_sums, real *row_sums, ptrdiff_t row_sums_layers)
{
    const vreal zero = vreal_set(0), slope_rate = vreal_set((real)(entry->slope_offset * ONE_OVER_PI));
    vreal by_theta[GROUP], by_delta[GROUP];
    for (int g = 0; g < GROUP; g++) {
        by_theta[g] = weight[g];
        by_delta[g] = zero;
    }
    for (int layer = entry->n_layers; layer >= 0; layer--) {
        const NAME(kept_layer) *k = kept + layer;
        const vreal rho_i = vreal_set(p->row_rho[layer * p->row_layers]);
        const vreal tau_i = vreal_set(p->row_tau[layer * p->row_layers]);
        vreal row_sum = zero;
        for (int g = 0; g < GROUP; g++) {
            const vreal rho_j = vreal_load(p->column_rho + layer * p->column_layers + g * LANES);
            const vreal tau_j = vreal_load(p->column_tau + layer * p->column_layers + g * LANES);
            const vreal rho = vreal_mul(rho_i, rho_j), below = entry->has_tangent ? k->below[g] : zero;
            const vreal cross = vreal_sub(vreal_mul(tau_i, rho_j), vreal_mul(rho_i, tau_j)); /* sin(t - t') */
            const vreal delta = vreal_sub(by_delta[g], by_theta[g]);
            const vreal through = vreal_mul(by_theta[g], below);
            const vreal by_rho = vreal_fma(delta, k->complement[g], vreal_mul(through, k->slope[g]));
            const vreal turn = vreal_mul(delta, cross);
            row_sum = vreal_add(row_sum, vreal_sub(turn, vreal_mul(vreal_mul(tau_i, rho_j), by_rho)));
            real *cell = column_sums + layer * p->column_layers + g * LANES;
            const vreal column = vreal_add(turn, vreal_mul(vreal_mul(rho_i, tau_j), by_rho));
            vreal_store(cell, vreal_sub(vreal_load(cell), column));
            const vreal by_slope = vreal_mul(vreal_mul(through, rho), vreal_mul(slope_rate, k->inverse_sine[g]));
            by_delta[g] = vreal_sub(vreal_mul(vreal_mul(delta, rho), k->slope[g]), by_slope);
            by_theta[g] = entry->has_tangent ? vreal_mul(vreal_mul(by_theta[g], rho), k->slope[g]) : zero;
        }
        row_sums[layer * row_sums_layers] += NAME(sum_of_lanes)(row_sum);
    }
}

#endif
