/* Activations that are straight but for corners (layers/cornered.py), by covariances of indicators and ramps of two correlated
 * normal variables (layers/orthants.py), whose names these are: A and B of thresholds h, k. In float64 alone.
 *
 * The row parameters are sqrt(q), 1 / sqrt(var s), E[s] - s(0), E[s'], and then those of each corner. */

#if !REAL_IS_FLOAT

#define CORNER_PLANES 8
#define ROW_PLANES 4
#define MOST_PAIRS (NTK_CORNERS_MOST * NTK_CORNERS_MOST)
#define NEAR_ONE 0.08         /* 1 - cosine below which A and B are taken from their values at 1 */
#define LOW_COSINE 0.5        /* up to which half the nodes do */
#define NEAR_OUTPUT 1e-2      /* 1 - cosine of an output below which it is not taken by subtraction */
#define NARROW 1.0            /* stretches wider than this are integrated in closed form */
#define LARGEST_EXPONENT_ROOT 6.5 /* exp of minus its square is nothing */
#define ONE_OVER_TWO_PI 0.15915494309189534

/* Gauss's rules on [0, 1]: within 1e-14 in all that follows. */
#define FEW_NODES 8
#define NODES 16
static const double few_nodes[FEW_NODES] = {0.019855071751231912, 0.10166676129318664, 0.2372337950418355,
                                            0.40828267875217511,  0.59171732124782483, 0.7627662049581645,
                                            0.89833323870681336,  0.98014492824876809};
static const double few_weights[FEW_NODES] = {0.050614268145188532, 0.11119051722668721, 0.15685332293894344,
                                              0.18134189168918083,  0.18134189168918083, 0.15685332293894344,
                                              0.11119051722668721,  0.050614268145188532};
static const double many_nodes[NODES] = {
    0.0052995325041750307, 0.0277124884633837,  0.067184398806084122, 0.1222977958224985,
    0.19106187779867811,   0.27099161117138632, 0.35919822461037054,  0.45249374508118129,
    0.54750625491881877,   0.64080177538962946, 0.72900838882861363,  0.80893812220132189,
    0.87770220417750155,   0.93281560119391593, 0.9722875115366163,   0.99470046749582497};
static const double many_weights[NODES] = {
    0.013576229705877088, 0.031126761969323728, 0.047579255841246303, 0.062314485627767036,
    0.074797994408288354, 0.084578259697501323, 0.09130170752246182,  0.09472530522753432,
    0.09472530522753432,  0.09130170752246182,  0.084578259697501323, 0.074797994408288354,
    0.062314485627767036, 0.047579255841246303, 0.031126761969323728, 0.013576229705877088};

/* A threshold h of a normal u: its density, P(u > h), P(u < h), E[(u - h)+], E[(h - u)+], and of their squares. */
typedef struct {
    vreal h, density, above, below, ramp, ramp_below, square, square_below;
} corner;

/* A weight, and thresholds of the row and of the column. */
typedef struct {
    vreal weight, h, k;
} corner_pair;

typedef struct {
    vreal first, second; /* of A, and of B */
} two_sums;

ALWAYS_INLINE corner NAME(row_corner)(const ntk_map *map, parameters at, int j, int g)
{
    const ptrdiff_t plane = map->first_parameter + ROW_PLANES + (ptrdiff_t)j * CORNER_PLANES;
    const corner c = {NAME(of_left)(at, plane, g),     NAME(of_left)(at, plane + 1, g), NAME(of_left)(at, plane + 2, g),
                      NAME(of_left)(at, plane + 3, g), NAME(of_left)(at, plane + 4, g), NAME(of_left)(at, plane + 5, g),
                      NAME(of_left)(at, plane + 6, g), NAME(of_left)(at, plane + 7, g)};
    return c;
}

/* Of -u where it is mirrored. */
ALWAYS_INLINE corner NAME(column_corner)(const ntk_map *map, parameters at, int j, int g, int is_mirrored)
{
    const ptrdiff_t plane = map->first_parameter + ROW_PLANES + (ptrdiff_t)j * CORNER_PLANES;
    const int turned = is_mirrored ? 1 : 0;
    const vreal h = NAME(of_columns)(at, plane, g);
    const corner c = {is_mirrored ? vreal_sub(vreal_set(0), h) : h,
                      NAME(of_columns)(at, plane + 1, g),
                      NAME(of_columns)(at, plane + 2 + turned, g),
                      NAME(of_columns)(at, plane + 3 - turned, g),
                      NAME(of_columns)(at, plane + 4 + turned, g),
                      NAME(of_columns)(at, plane + 5 - turned, g),
                      NAME(of_columns)(at, plane + 6 + turned, g),
                      NAME(of_columns)(at, plane + 7 - turned, g)};
    return c;
}

ALWAYS_INLINE corner NAME(larger_corner)(corner a, corner b, vmask is_less)
{
    const corner c = {vreal_select(is_less, b.h, a.h),
                      vreal_select(is_less, b.density, a.density),
                      vreal_select(is_less, b.above, a.above),
                      vreal_select(is_less, b.below, a.below),
                      vreal_select(is_less, b.ramp, a.ramp),
                      vreal_select(is_less, b.ramp_below, a.ramp_below),
                      vreal_select(is_less, b.square, a.square),
                      vreal_select(is_less, b.square_below, a.square_below)};
    return c;
}

/* A and B at correlation 1. */
ALWAYS_INLINE two_sums NAME(at_one)(corner a, corner b)
{
    const vreal zero = vreal_set(0);
    const vmask is_less = vreal_less(a.h, b.h);
    const corner high = NAME(larger_corner)(a, b, is_less), low = NAME(larger_corner)(b, a, is_less);
    /* both to the right of 0: if both are to the left, mirrored */
    const vmask mirrored = vreal_less(high.h, zero), low_is_left = vreal_less(low.h, zero);
    const vreal mass = vreal_select(mirrored, low.below, high.above), ramp = vreal_select(mirrored, low.ramp_below, high.ramp);
    const vreal square = vreal_select(mirrored, low.square_below, high.square);
    const vreal inner_ramp = vreal_select(mirrored, high.ramp_below, low.ramp);
    const vreal inner_mass = vreal_select(mirrored, high.below, low.above);
    const vreal whole = vreal_fma(vreal_sub(high.h, low.h), ramp, square);
    const vreal same = vreal_sub(vreal_sub(whole, vreal_mul(inner_ramp, ramp)), vreal_mul(inner_mass, mass));
    two_sums result;
    result.first = vreal_mul(high.above, low.below);
    const vreal apart = vreal_sub(result.first, vreal_mul(low.ramp_below, high.ramp));
    result.second = vreal_select(low_is_left, vreal_select(mirrored, same, apart), same);
    return result;
}

/* The pairs of corners whose sums are needed, or half of them that count twice; and A and B of these at correlation 1. */
static int NAME(corner_pairs)(const ntk_map *map, parameters at, int g, int is_mirrored, corner_pair *pairs, two_sums *one)
{
    const int n = map->corners.n, n_rows = map->parity ? (n + 1) / 2 : n;
    int count = 0;
    if (one)
        one->first = one->second = vreal_set(0);
    for (int i = 0; i < n_rows; i++) {
        const corner a = NAME(row_corner)(map, at, i, g);
        const double twice = map->parity && 2 * i + 1 != n ? 2 : 1;
        for (int j = 0; j < n; j++, count++) {
            const corner b = NAME(column_corner)(map, at, j, g, is_mirrored);
            const vreal weight = vreal_set((real)(twice * map->corners.bends[i] * map->corners.bends[j]));
            const corner_pair both = {weight, a.h, b.h};
            pairs[count] = both;
            if (one) {
                const two_sums part = NAME(at_one)(a, b);
                one->first = vreal_fma(weight, part.first, one->first);
                one->second = vreal_fma(weight, part.second, one->second);
            }
        }
    }
    return count;
}

/* Of angles up to 1.2: by its Taylor series. */
ALWAYS_INLINE vreal NAME(sine_of)(vreal angle)
{
    static const double series[9] = {-1.0 / 6,        1.0 / 120,         -1.0 / 5040,          1.0 / 362880, -1.0 / 39916800,
                                     1.0 / 6227020800, -1.0 / 1307674368e3, 1.0 / 355687428096e3, -1.0 / 121645100408832e3};
    const vreal square = vreal_mul(angle, angle);
    vreal sum = vreal_set((real)series[8]);
    for (int k = 7; k >= 0; k--)
        sum = vreal_fma(sum, square, vreal_set((real)series[k]));
    return vreal_fma(vreal_mul(angle, square), sum, angle);
}

/* The sums of A and B over pairs, at correlations up to 1 - NEAR_ONE: integrals of the density over the angle. */
ALWAYS_INLINE two_sums NAME(covariances)(const corner_pair *pairs, int n_pairs, vreal angle, vreal cosine,
                                         const double *nodes, const double *weights, int n_nodes)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), half = vreal_set((real)0.5);
    vreal steps[MOST_PAIRS], products[MOST_PAIRS];
    two_sums sums = {zero, zero};
    for (int k = 0; k < n_pairs; k++) {
        const vreal step = vreal_sub(pairs[k].h, pairs[k].k);
        steps[k] = vreal_mul(half, vreal_mul(step, step));
        products[k] = vreal_mul(pairs[k].h, pairs[k].k);
    }
    for (int i = 0; i < n_nodes; i++) {
        const vreal sine = NAME(sine_of)(vreal_mul(angle, vreal_set((real)nodes[i])));
        const vreal more = vreal_add(one, sine), less = vreal_sub(one, sine);
        const vreal inverse = vreal_div(one, vreal_mul(more, less));
        const vreal outer = vreal_mul(vreal_sub(zero, less), inverse), inner = vreal_mul(more, inverse);
        vreal part = zero;
        for (int k = 0; k < n_pairs; k++) {
            /* (h^2 + k^2 - 2 h k s) / (2 (1 - s^2)) */
            const vreal exponent = vreal_mul(vreal_fma(steps[k], inner, products[k]), outer);
            part = vreal_fma(pairs[k].weight, NAME(exponential_of)(exponent).power, part);
        }
        part = vreal_mul(part, vreal_set((real)weights[i]));
        sums.first = vreal_add(sums.first, part);
        sums.second = vreal_fma(part, vreal_sub(cosine, sine), sums.second);
    }
    const vreal whole = vreal_mul(angle, vreal_set((real)ONE_OVER_TWO_PI));
    sums.first = vreal_mul(sums.first, whole);
    sums.second = vreal_mul(sums.second, whole);
    return sums;
}

/* What A and B lack at correlation c = 1 - m to their values at 1, and to 1 - c times A: the sums over pairs of
 * int_c^1 (1, t - c) phi dt. */
static two_sums NAME(lacking)(const ntk_map *map, const corner_pair *pairs, int n_pairs, vreal m)
{
    const vreal zero = vreal_set(0), one = vreal_set(1), two = vreal_set(2), half = vreal_set((real)0.5);
    const vreal minus_half = vreal_set((real)-0.5), scale = vreal_set((real)map->corners.moment.scale);
    const vreal stretch = vreal_set((real)map->corners.moment.stretch);
    const vreal square = vreal_max(vreal_mul(m, vreal_sub(two, m)), vreal_set((real)1e-200)), a = vreal_sqrt(square);
    const vreal inverse_square = vreal_div(one, square), c = vreal_sub(one, m), u = vreal_div(one, vreal_add(one, c));
    const vreal largest = vreal_mul(vreal_set((real)(LARGEST_EXPONENT_ROOT * 1.4142135623730951)), a);
    const vreal shift = vreal_set((real)ROUNDING_SHIFT);
    two_sums sums = {zero, zero};
    for (int k = 0; k < n_pairs; k++) {
        const vreal gap = vreal_abs(vreal_sub(pairs[k].h, pairs[k].k));
        const vmask counts = vreal_less(gap, largest);
        const vreal weight = vreal_select(counts, pairs[k].weight, zero), d = vreal_min(gap, largest);
        const vreal product = vreal_min(vreal_max(vreal_mul(pairs[k].h, pairs[k].k), vreal_set(-64)), vreal_set(1000));
        const vreal d_square = vreal_mul(d, d), exponent = vreal_mul(vreal_mul(minus_half, d_square), inverse_square);
        /* over exp(-d^2/(2 a^2)): int_0^a x^(2 i) exp(-d^2/(2 x^2)) dx */
        const vreal y = vreal_sqrt(vreal_sub(zero, exponent));
        vreal z = vreal_sub(vreal_div(vreal_mul(y, scale), vreal_fma(y, stretch, one)), half), moments[4], terms[3];
        const vreal shifted = vreal_add(z, shift);
        const vindex piece = vreal_index(shifted);
        z = vreal_sub(z, vreal_sub(shifted, shift));
        NAME(evaluate_some)(&map->corners.moment, &z, &piece, 1, moments);
        moments[0] = vreal_mul(moments[0], a);
        vreal power = a;
        for (int i = 1; i < 4; i++) {
            power = vreal_mul(power, square);
            moments[i] = vreal_mul(vreal_sub(power, vreal_mul(d_square, moments[i - 1])), vreal_set((real)(1.0 / (2 * i + 1))));
        }
        /* exp(-h k / (1 + t)) / t = exp(-h k / 2) (1 + p x^2 + q x^4 + ...), and over t + c likewise */
        const vreal p = vreal_mul(vreal_sub(vreal_set(4), product), vreal_set((real)0.125));
        const vreal q = vreal_mul(vreal_mul(p, vreal_sub(vreal_set(12), product)), vreal_set((real)0.0625));
        const vreal u_square = vreal_mul(u, u);
        terms[0] = u;
        terms[1] = vreal_mul(u, vreal_fma(half, u, p));
        terms[2] = vreal_mul(u, vreal_add(vreal_fma(vreal_mul(half, p), u, q),
                                          vreal_fma(u_square, vreal_set((real)0.25), vreal_mul(u, vreal_set((real)0.125)))));
        const vreal half_product = vreal_mul(half, product);
        const vreal common = vreal_mul(weight, NAME(exponential_of)(vreal_sub(exponent, half_product)).power);
        sums.first = vreal_fma(common, vreal_fma(q, moments[2], vreal_fma(p, moments[1], moments[0])), sums.first);
        vreal second = zero;
        for (int i = 0; i < 3; i++)
            second = vreal_fma(terms[i], vreal_sub(vreal_mul(square, moments[i]), moments[i + 1]), second);
        sums.second = vreal_fma(common, second, sums.second);
        const vreal share = vreal_mul(weight, a);
        for (int i = 0; i < NODES; i++) {
            const vreal x_square = vreal_mul(square, vreal_set((real)(many_nodes[i] * many_nodes[i])));
            const vreal t = vreal_sqrt(vreal_sub(one, x_square)), t_more = vreal_add(one, t), t_c = vreal_add(t, c);
            const vreal inverse = vreal_div(one, vreal_mul(vreal_mul(t, t_more), t_c));
            const vreal over_t = vreal_mul(inverse, vreal_mul(t_more, t_c)), over_more = vreal_mul(inverse, vreal_mul(t, t_c));
            const vreal over_c = vreal_mul(inverse, vreal_mul(t, t_more));
            const vreal at = vreal_mul(exponent, vreal_set((real)(1 / (many_nodes[i] * many_nodes[i]))));
            const vreal smooth =
                vreal_mul(over_t, NAME(exponential_of)(vreal_sub(at, vreal_mul(product, over_more))).power);
            const vreal taken = NAME(exponential_of)(vreal_sub(at, half_product)).power;
            const vreal series = vreal_fma(x_square, vreal_fma(x_square, q, p), one);
            const vreal other = vreal_fma(x_square, vreal_fma(x_square, terms[2], terms[1]), terms[0]);
            const vreal own = vreal_mul(share, vreal_set((real)many_weights[i]));
            sums.first = vreal_fma(own, vreal_sub(smooth, vreal_mul(taken, series)), sums.first);
            sums.second = vreal_fma(vreal_mul(own, vreal_sub(square, x_square)),
                                    vreal_sub(vreal_mul(smooth, over_c), vreal_mul(taken, other)), sums.second);
        }
    }
    sums.first = vreal_mul(sums.first, vreal_set((real)ONE_OVER_TWO_PI));
    sums.second = vreal_mul(sums.second, vreal_set((real)ONE_OVER_TWO_PI));
    return sums;
}

/* Sums over corners at cosine 1 - m; where that is near 1, also A there and what B lacks. */
typedef struct {
    two_sums sums;
    vreal first_at_one, second_lacking;
} corner_sums;

static corner_sums NAME(sums_over_corners)(const ntk_map *map, parameters at, int g, vreal m, vreal cosine, int is_mirrored)
{
    const vmask is_near = vreal_less(m, vreal_set((real)NEAR_ONE)), is_far = vreal_less(cosine, vreal_set((real)(1 - NEAR_ONE)));
    const vmask is_low = vreal_less(cosine, vreal_set((real)LOW_COSINE)), is_high = vreal_less(m, vreal_set((real)(1 - LOW_COSINE)));
    corner_pair pairs[MOST_PAIRS];
    two_sums one;
    corner_sums result;
    const int any_near = vmask_any(is_near), n_pairs = NAME(corner_pairs)(map, at, g, is_mirrored, pairs, any_near ? &one : NULL);
    result.sums.first = result.sums.second = result.first_at_one = result.second_lacking = vreal_set(0);
    if (!any_near || vmask_any(is_far)) {
        const vreal farther = vreal_min(cosine, vreal_set((real)(1 - NEAR_ONE))), lost = vreal_max(m, vreal_set((real)NEAR_ONE));
        const vreal sine = vreal_sqrt(vreal_mul(lost, vreal_add(vreal_set(1), farther)));
        vreal angle;
        NAME(arc_sines)(&farther, &sine, &angle, 1);
        two_sums sums = {vreal_set(0), vreal_set(0)};
        if (vmask_any(is_high) || !vmask_any(is_low))
            sums = NAME(covariances)(pairs, n_pairs, angle, cosine, many_nodes, many_weights, NODES);
        if (vmask_any(is_low)) {
            const two_sums few = NAME(covariances)(pairs, n_pairs, angle, cosine, few_nodes, few_weights, FEW_NODES);
            sums.first = vreal_select(is_low, few.first, sums.first);
            sums.second = vreal_select(is_low, few.second, sums.second);
        }
        result.sums = sums;
    }
    if (any_near) {
        const two_sums less = NAME(lacking)(map, pairs, n_pairs, vreal_min(m, vreal_set((real)NEAR_ONE)));
        const vreal second = vreal_add(vreal_sub(one.second, vreal_mul(m, one.first)), less.second);
        result.sums.first = vreal_select(is_near, vreal_sub(one.first, less.first), result.sums.first);
        result.sums.second = vreal_select(is_near, second, result.sums.second);
        result.first_at_one = one.first;
        result.second_lacking = less.second;
    }
    return result;
}

/* E[(alpha + beta u)^2] beyond a threshold. */
ALWAYS_INLINE vreal NAME(square_beyond)(vreal alpha, vreal beta, vreal h, vreal mass, vreal ramp, vreal square)
{
    const vreal edge = vreal_fma(beta, h, alpha), twice = vreal_add(edge, edge);
    return vreal_fma(vreal_mul(edge, edge), mass, vreal_mul(beta, vreal_fma(twice, ramp, vreal_mul(beta, square))));
}

ALWAYS_INLINE vreal NAME(density_at)(vreal z)
{
    const vreal exponent = vreal_mul(vreal_mul(vreal_set((real)-0.5), z), z);
    return vreal_mul(vreal_set((real)0.3989422804014327), NAME(exponential_of)(exponent).power);
}

/* The same between two thresholds. */
static vreal NAME(square_between)(vreal alpha, vreal beta, corner start, corner stop)
{
    const vreal zero = vreal_set(0), two = vreal_set(2), narrow = vreal_set((real)NARROW);
    const vreal width = vreal_max(vreal_sub(stop.h, start.h), zero), inner = vreal_min(width, narrow);
    const vmask is_right = vreal_less(zero, vreal_add(start.h, stop.h)); /* masses from the side on which they have digits */
    vreal sum = zero;
    for (int i = 0; i < NODES; i++) {
        const vreal z = vreal_fma(inner, vreal_set((real)many_nodes[i]), start.h), value = vreal_fma(beta, z, alpha);
        const vreal weight = vreal_mul(vreal_mul(inner, vreal_set((real)many_weights[i])), NAME(density_at)(z));
        sum = vreal_fma(weight, vreal_mul(value, value), sum);
    }
    const vreal mass = vreal_select(is_right, vreal_sub(start.above, stop.above), vreal_sub(stop.below, start.below));
    const vreal first = vreal_sub(start.density, stop.density);
    const vreal second = vreal_add(mass, vreal_sub(vreal_mul(start.h, start.density), vreal_mul(stop.h, stop.density)));
    const vreal mixed = vreal_mul(vreal_mul(two, vreal_mul(alpha, beta)), first);
    const vreal wide =
        vreal_fma(vreal_mul(alpha, alpha), mass, vreal_fma(vreal_mul(beta, beta), second, mixed));
    return vreal_select(vreal_less(narrow, width), wide, sum);
}

/* |b - b'|^2 of the normalised functions of one normal variable that two rows make of the activation. */
static vreal NAME(distance_of_outputs)(const ntk_map *map, parameters at, int g)
{
    const ntk_corners *c = &map->corners;
    const ptrdiff_t plane = map->first_parameter;
    const vreal zero = vreal_set(0);
    const vreal root = NAME(of_left)(at, plane, g), weight = NAME(of_left)(at, plane + 1, g), mean = NAME(of_left)(at, plane + 2, g);
    const vreal other_root = NAME(of_columns)(at, plane, g), other_weight = vreal_sub(zero, NAME(of_columns)(at, plane + 1, g));
    const vreal other_mean = NAME(of_columns)(at, plane + 2, g);
    const vreal step = vreal_fma(root, weight, vreal_mul(other_root, other_weight));
    vreal total = zero;
    corner high_before = {zero, zero, zero, zero, zero, zero, zero, zero};
    for (int j = 0; j <= c->n; j++) {
        const vreal rise = vreal_set((real)c->rises[j]), beta = vreal_mul(vreal_set((real)c->slopes[j]), step);
        const vreal alpha = vreal_fma(weight, vreal_sub(rise, mean), vreal_mul(other_weight, vreal_sub(rise, other_mean)));
        if (j == c->n) {
            const vreal part = NAME(square_beyond)(alpha, beta, high_before.h, high_before.above, high_before.ramp,
                                                   high_before.square);
            return vreal_add(total, part);
        }
        const corner a = NAME(row_corner)(map, at, j, g), b = NAME(column_corner)(map, at, j, g, 0);
        const vmask is_less = vreal_less(a.h, b.h);
        const corner high = NAME(larger_corner)(a, b, is_less), low = NAME(larger_corner)(b, a, is_less);
        if (j == 0)
            total = NAME(square_beyond)(alpha, vreal_sub(zero, beta), vreal_sub(zero, low.h), low.below, low.ramp_below,
                                        low.square_below);
        else
            total = vreal_add(total, NAME(square_between)(alpha, beta, high_before, low));
        /* between the two rows' thresholds, the one whose comes first is on the next stretch already */
        const vreal next = vreal_set((real)c->rises[j + 1]), next_slope = vreal_set((real)c->slopes[j + 1]);
        const vreal here_slope = vreal_set((real)c->slopes[j]);
        const vreal own = vreal_select(is_less, next, rise), others = vreal_select(is_less, rise, next);
        const vreal own_slope = vreal_select(is_less, next_slope, here_slope);
        const vreal others_slope = vreal_select(is_less, here_slope, next_slope);
        const vreal between = vreal_fma(weight, vreal_sub(own, mean), vreal_mul(other_weight, vreal_sub(others, other_mean)));
        const vreal rising = vreal_fma(vreal_mul(weight, root), own_slope,
                                       vreal_mul(vreal_mul(other_weight, other_root), others_slope));
        total = vreal_add(total, NAME(square_between)(between, rising, low, high));
        high_before = high;
    }
    return total;
}

/* Whether no threshold of one row is between two of the other's. */
static vmask NAME(are_apart)(const ntk_map *map, parameters at, int g)
{
    const ptrdiff_t plane = map->first_parameter + ROW_PLANES;
    vreal least = vreal_set(1), before = vreal_set(0);
    for (int j = 0; j < map->corners.n; j++) {
        const vreal h = NAME(of_left)(at, plane + (ptrdiff_t)j * CORNER_PLANES, g);
        const vreal k = NAME(of_columns)(at, plane + (ptrdiff_t)j * CORNER_PLANES, g);
        if (j)
            least = vreal_min(least, vreal_select(vreal_less(vreal_min(h, k), before), vreal_set(-1), vreal_set(1)));
        before = vreal_max(h, k);
    }
    return vreal_less(vreal_set(0), least);
}

NEVER_INLINE void NAME(apply_corners)(const ntk_map *map, parameters at, const pairs *from, pairs *to)
{
    const ptrdiff_t plane = map->first_parameter;
    const vreal zero = vreal_set(0), one = vreal_set(1), half = vreal_set((real)0.5);
    for (int g = 0; g < GROUP; g++) {
        const vmask opposite = vreal_less(from->p[g], from->m[g]);
        const vreal m = vreal_min(from->m[g], from->p[g]), cosine = vreal_sub(one, m);
        const vreal scale =
            vreal_mul(vreal_mul(NAME(of_left)(at, plane, g), NAME(of_left)(at, plane + 1, g)),
                      vreal_mul(NAME(of_columns)(at, plane, g), NAME(of_columns)(at, plane + 1, g)));
        const vreal slopes = vreal_mul(NAME(of_left)(at, plane + 3, g), NAME(of_columns)(at, plane + 3, g));
        const corner_sums same = NAME(sums_over_corners)(map, at, g, m, cosine, 0);
        two_sums odd = same.sums, even = {zero, zero};
        if (map->parity > 0) {
            even = same.sums;
            odd.first = odd.second = zero;
        } else if (!map->parity) {
            const two_sums mirrored = NAME(sums_over_corners)(map, at, g, m, cosine, 1).sums;
            odd.first = vreal_mul(half, vreal_sub(same.sums.first, mirrored.first));
            odd.second = vreal_mul(half, vreal_sub(same.sums.second, mirrored.second));
            even.first = vreal_mul(half, vreal_add(same.sums.first, mirrored.first));
            even.second = vreal_mul(half, vreal_add(same.sums.second, mirrored.second));
        }
        const vreal odd_slope = vreal_mul(scale, vreal_add(slopes, odd.first));
        const vreal odd_value = vreal_mul(scale, vreal_fma(cosine, slopes, odd.second));
        const vreal even_slope = vreal_mul(scale, even.first), even_value = vreal_mul(scale, even.second);
        vreal shortfall = vreal_max(vreal_sub(one, vreal_add(odd_value, even_value)), zero);
        const vreal nearness = vreal_max(vreal_mul(shortfall, vreal_set((real)(NEAR_ONE / NEAR_OUTPUT))), m);
        if (vmask_any(vreal_less(nearness, vreal_set((real)NEAR_ONE)))) {
            const vreal lost = vreal_sub(vreal_mul(m, vreal_add(slopes, same.first_at_one)), same.second_lacking);
            const vreal near = vreal_fma(scale, lost, vreal_mul(half, NAME(distance_of_outputs)(map, at, g)));
            const vreal chosen = vreal_select(NAME(are_apart)(map, at, g), near, shortfall);
            shortfall = vreal_select(vreal_less(nearness, vreal_set((real)NEAR_ONE)), chosen, shortfall);
        }
        const vreal twice_odd = vreal_add(odd_value, odd_value), twice_even = vreal_add(even_value, even_value);
        const vreal slope = vreal_add(odd_slope, vreal_select(opposite, vreal_sub(zero, even_slope), even_slope));
        const pair new = {vreal_select(opposite, vreal_add(shortfall, twice_odd), shortfall),
                          vreal_add(shortfall, vreal_select(opposite, twice_even, vreal_add(twice_odd, twice_even))),
                          vreal_mul(slope, vreal_add(from->t[g], from->rest[g])), zero};
        NAME(put_pair)(to, g, new, 1);
    }
}

#endif
