# cython: language_level=3, boundscheck=False, wraparound=False
"""The C tiles of csrc/, as Python functions that release the GIL. Arrays come as addresses; the caller checked them."""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport uintptr_t


cdef extern from "ntk_tile.h" nogil:
    ctypedef struct ntk_table:
        const void *coefficients
        int n_terms

    ctypedef struct ntk_entry:
        int n_layers
        int has_tangent
        int value_power
        double value_leads[2]
        double value_offset
        double slope_offset
        ntk_table value
        ntk_table slope
        double stretch
        double scale
        double near
        double near_exact

    ctypedef struct ntk_rows:
        const void *values
        const void *inverse_norm
        const double *scale
        const void *rho
        const void *tau
        ptrdiff_t row_stride
        ptrdiff_t n_rows

    ctypedef struct ntk_vectors:
        const void *right
        const void *left
        void *row_sums
        void *column_sums
        ptrdiff_t n_vectors
        ptrdiff_t vector_stride
        ptrdiff_t sum_stride

    ctypedef struct ntk_adjoint:
        const double *weights
        double *row_sums
        double *column_sums
        ptrdiff_t weight_stride

    ctypedef struct ntk_block:
        ptrdiff_t n_features
        ptrdiff_t row_start
        ptrdiff_t row_stop
        ptrdiff_t column_start
        ptrdiff_t column_stop
        const double *diagonal
        void *out
        ptrdiff_t out_row_stride
        ptrdiff_t out_column_stride
        const ntk_vectors *vectors
        const ntk_adjoint *adjoint
        int streaming


cdef extern from "dispatch.h" nogil:
    ctypedef struct ntk_functions:
        int (*pieces)() noexcept nogil
        ptrdiff_t (*block_columns)(ptrdiff_t) noexcept nogil
        size_t (*scratch_bytes)(ptrdiff_t, ptrdiff_t, int) noexcept nogil
        void (*tile)(const ntk_entry *, const ntk_rows *, const ntk_rows *, const ntk_block *, void *) noexcept nogil
        void (*square_norms)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, double *) noexcept nogil

    const ntk_functions *ntk_find_functions(const char *instruction_set, int is_float)


cdef const void *address(array):
    return <const void *><uintptr_t>array.__array_interface__["data"][0]


cdef class Functions:
    """The functions of one instruction set and dtype."""

    cdef const ntk_functions *functions

    def __cinit__(self, str instruction_set, bint is_float):
        self.functions = ntk_find_functions(instruction_set.encode(), is_float)
        if self.functions is NULL:
            raise LookupError(f"this processor has no {instruction_set}")

    def pieces(self):
        return self.functions.pieces()

    def block_columns(self, ptrdiff_t n_features):
        return self.functions.block_columns(n_features)

    def scratch_bytes(self, ptrdiff_t n_features, ptrdiff_t block_columns, int n_layers):
        return self.functions.scratch_bytes(n_features, block_columns, n_layers)

    def square_norms(self, values, ptrdiff_t row_start, ptrdiff_t row_stop, result):
        cdef const void *data = address(values)
        cdef ptrdiff_t row_stride = values.strides[0] // values.itemsize, n_features = values.shape[1]
        cdef double *out = <double *>address(result)
        with nogil:
            self.functions.square_norms(data, row_stride, n_features, row_start, row_stop, out)


cdef class TileRunner:
    """Tiles of one task: everything that does not change from tile to tile, and scratch memory."""

    cdef const ntk_functions *functions
    cdef ntk_entry entry
    cdef ntk_rows x, y
    cdef ntk_block block
    cdef object kept
    cdef void *scratch

    def __init__(self, Functions functions, task, scratch):
        entry, x = task.entry, task.x
        y = x if task.y is None else task.y
        self.functions = functions.functions
        self.kept = (task, scratch)
        self.scratch = <void *>address(scratch)
        self.entry.n_layers = entry.n_layers
        self.entry.has_tangent = entry.has_tangent
        self.entry.value_power = entry.value_power
        self.entry.value_leads = entry.value_leads
        self.entry.value_offset = entry.value_offset
        self.entry.slope_offset = entry.slope_offset
        self.entry.value.coefficients = address(entry.value)
        self.entry.value.n_terms = len(entry.value)
        self.entry.slope.coefficients = address(entry.slope)
        self.entry.slope.n_terms = len(entry.slope)
        self.entry.stretch = entry.stretch
        self.entry.scale = entry.scale
        self.entry.near = entry.near
        self.entry.near_exact = entry.near_exact
        fill_rows(&self.x, x)
        fill_rows(&self.y, y)
        self.block.n_features = x.values.shape[1]
        self.block.diagonal = <const double *>address(x.diagonal) if task.y is None else NULL

    cdef run(self, tile):
        cdef ntk_block block = self.block
        block.row_start = tile.row_start
        block.row_stop = tile.row_stop
        block.column_start = tile.column_start
        block.column_stop = tile.column_stop
        with nogil:
            self.functions.tile(&self.entry, &self.x, &self.y, &block, self.scratch)


cdef class TileFiller(TileRunner):
    """Stores tiles in a matrix."""

    def __init__(self, Functions functions, task, bint streaming, scratch):
        super().__init__(functions, task, scratch)
        out = task.out
        self.block.out = <void *>address(out)
        self.block.out_row_stride = out.strides[0] // out.itemsize
        self.block.out_column_stride = out.strides[1] // out.itemsize
        self.block.streaming = streaming

    def __call__(self, tile):
        self.run(tile)


cdef class TileMultiplier(TileRunner):
    """Multiplies tiles with vectors."""

    cdef ntk_vectors vectors

    def __init__(self, Functions functions, task, scratch):
        super().__init__(functions, task, scratch)
        vectors = task.vectors
        self.vectors.right = address(vectors)
        self.vectors.left = address(vectors) if task.y is None else NULL
        self.vectors.n_vectors = vectors.shape[0]
        self.vectors.vector_stride = vectors.strides[0] // vectors.itemsize
        self.block.vectors = &self.vectors

    def __call__(self, tile, row_sums, column_sums):
        self.vectors.row_sums = <void *>address(row_sums)
        self.vectors.column_sums = <void *>address(column_sums)
        self.vectors.sum_stride = row_sums.strides[0] // row_sums.itemsize
        self.run(tile)


cdef class TileDifferentiator(TileRunner):
    """Sums derivatives of weighted tiles: see ntk_adjoint."""

    cdef ntk_adjoint adjoint

    def __init__(self, Functions functions, task, scratch):
        super().__init__(functions, task, scratch)
        self.adjoint.weights = <const double *>address(task.weights)
        self.adjoint.weight_stride = task.weights.strides[0] // task.weights.itemsize
        self.block.adjoint = &self.adjoint

    def __call__(self, tile, row_sums, column_sums):
        self.adjoint.row_sums = <double *>address(row_sums)
        self.adjoint.column_sums = <double *>address(column_sums)
        self.run(tile)


cdef fill_rows(ntk_rows *result, rows):
    result.values = address(rows.values)
    result.inverse_norm = address(rows.inverse_norm)
    result.scale = <const double *>address(rows.scale)
    result.rho = address(rows.rho)
    result.tau = address(rows.tau)
    result.row_stride = rows.values.strides[0] // rows.values.itemsize
    result.n_rows = rows.values.shape[0]
