"""From a network's description to what tiles execute.

The map:

    steps, plan         a description as a few steps, and what a network may not be; `limit`: its S, or its T
    scaled, row_forms   what steps make of a row alone: variances, in numbers of any size
    instructions        a plan on registers; `program`: with what a dtype's tiles need besides
    tables, tails       univariate functions as piecewise polynomials
    row_parameters      what instructions take from rows; `accuracy`: what is promised, and what that asks of them
    compile             a program for some rows; `chord_functions`: what is a table in it; `evaluate`: in NumPy
    differentiate       the same in forward mode; `row_derivatives`: of rows; `reversible`: programs for reverse mode
    positions           of images: which pairs of positions each node is needed at
    spatial_compile     a program of images: `spatial_program`; of rows alone `spatial_rows`, with `position_sums`;
                        `spatial_evaluate`: its reference in NumPy
    near_images         what pools take from nearly equal images, in the numbers of `wide`: of homogeneous activations
                        `wide_angle`, of others sums of `wide_series`, of kinked ones with `wide_tails` behind them
"""
