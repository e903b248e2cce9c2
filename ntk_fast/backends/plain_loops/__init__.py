"""The Numba backend: what C does in SIMD, in loops over plain numbers, to be read. It shares no code with C.

The map:

    backend      the backend: tiles of rows and of images
    tile         a program on a tile of rows; `state`: the numbers of a pair, `rests`: what rounding took from them
    maps         the activations; `tails` sums what a kink leaves of their expansions
    tables       looks tables up; `series`: polynomials of the chord's square, `encoding`: all of them as arrays
    images       a program on images, in the order of `image_schedule`; `rectangles`: the fields of their planes
    planes       activations and sums at positions; `convolutions`, `pools`, `attention`: sums over positions
"""
