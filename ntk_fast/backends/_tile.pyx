# cython: language_level=3, boundscheck=False, wraparound=False
"""The C tiles of csrc/, as Python functions that release the GIL. Arrays come as addresses; the caller checked them."""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free


cdef extern from "ntk_tile.h" nogil:
    ctypedef struct ntk_table:
        const void *coefficients
        int n_terms
        double stretch
        double scale

    enum:
        NTK_FOLD
        NTK_TABLE
        NTK_EXPONENTIAL
        NTK_ERF
        NTK_GELU
        NTK_SINE
        NTK_GAUSSIAN
        NTK_POLYNOMIAL

    enum:
        NTK_TAIL_NODES
        NTK_TAIL_FUNCTIONS

    ctypedef struct ntk_tail:
        int n_functions
        ntk_table *functions
        double *at_zero
        double *steps
        double reach
        double shift
        double largest_square

    ctypedef struct ntk_map:
        int kind
        int parity
        int first_parameter
        int n_parameters
        double constants[4]
        double near_shortfall
        double near_bending
        int power
        ntk_table value
        ntk_table derivative
        ntk_tail tail

    ctypedef struct ntk_instruction:
        int destination
        int map
        int n_sources
        const int *sources
        const int *shares
        int bias
        int adds_own
        int is_product
        int promotes

    ctypedef struct ntk_program:
        int n_instructions
        int n_maps
        int n_registers
        int n_parameters
        int has_tangent
        int carries_tangent
        const ntk_instruction *instructions
        const ntk_map *maps
        ntk_table profile
        ntk_table fold_value
        ntk_table fold_angle
        double near
        double near_exact

    ctypedef struct ntk_rows:
        const void *values
        const void *inverse_norm
        const double *scale
        const void *parameters
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
        ptrdiff_t row_stride
        ptrdiff_t column_stride
        void *scratch

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
        ptrdiff_t (*block_columns)(ptrdiff_t, ptrdiff_t) noexcept nogil
        size_t (*scratch_bytes)(const ntk_program *, ptrdiff_t, ptrdiff_t) noexcept nogil
        size_t (*adjoint_bytes)(const ntk_program *, ptrdiff_t) noexcept nogil
        void (*tile)(const ntk_program *, const ntk_rows *, const ntk_rows *, const ntk_block *, void *) noexcept nogil
        void (*square_norms)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, double *,
                             double *) noexcept nogil

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

    def block_columns(self, ptrdiff_t n_features, ptrdiff_t n_parameters):
        return self.functions.block_columns(n_features, n_parameters)

    def square_norms(self, values, ptrdiff_t row_start, ptrdiff_t row_stop, result, rest):
        cdef const void *data = address(values)
        cdef ptrdiff_t row_stride = values.strides[0] // values.itemsize, n_features = values.shape[1]
        cdef double *out = <double *>address(result)
        cdef double *below = <double *>address(rest)
        with nogil:
            self.functions.square_norms(data, row_stride, n_features, row_start, row_stop, out, below)


KINDS = {
    "fold": NTK_FOLD,
    "table": NTK_TABLE,
    "exponential": NTK_EXPONENTIAL,
    "erf": NTK_ERF,
    "gelu": NTK_GELU,
    "sine": NTK_SINE,
    "gaussian": NTK_GAUSSIAN,
    "polynomial": NTK_POLYNOMIAL,
}


cdef class CompiledProgram:
    """A `Program` as C takes it; immutable, and shared between threads."""

    cdef ntk_program program
    cdef ntk_instruction *instructions
    cdef ntk_map *maps
    cdef int *numbers
    cdef object kept

    def __cinit__(self, program, double near_shortfall, double near_bending):
        cdef int k
        cdef int *free_numbers
        self.kept = program
        self.instructions = <ntk_instruction *>calloc(max(1, len(program.instructions)), sizeof(ntk_instruction))
        self.maps = <ntk_map *>calloc(max(1, len(program.maps)), sizeof(ntk_map))
        n_sources = sum(len(instruction.sources) for instruction in program.instructions)
        self.numbers = <int *>calloc(max(1, 2 * n_sources), sizeof(int))
        if self.instructions is NULL or self.maps is NULL or self.numbers is NULL:
            raise MemoryError
        free_numbers = self.numbers
        for k, instruction in enumerate(program.instructions):
            free_numbers = fill_instruction(&self.instructions[k], instruction, program.n_parameters, free_numbers)
        for k, pair_map in enumerate(program.maps):
            fill_map(&self.maps[k], pair_map)
            self.maps[k].near_shortfall = near_shortfall
            self.maps[k].near_bending = near_bending
        self.program.n_instructions = len(program.instructions)
        self.program.n_maps = len(program.maps)
        self.program.n_registers = program.n_registers
        self.program.n_parameters = program.n_parameters
        self.program.has_tangent = program.has_tangent
        self.program.carries_tangent = program.has_tangent or any(step.promotes for step in program.instructions)
        self.program.instructions = self.instructions
        self.program.maps = self.maps
        fill_table(&self.program.profile, program.profile)
        fill_table(&self.program.fold_value, program.fold_value)
        fill_table(&self.program.fold_angle, program.fold_angle)
        self.program.near = program.near
        self.program.near_exact = program.near_exact

    def __dealloc__(self):
        free(self.instructions)
        free(self.maps)
        free(self.numbers)

    def scratch_bytes(self, Functions functions, ptrdiff_t n_features, ptrdiff_t block_columns):
        return functions.functions.scratch_bytes(&self.program, n_features, block_columns)

    def adjoint_bytes(self, Functions functions, ptrdiff_t block_columns):
        return functions.functions.adjoint_bytes(&self.program, block_columns)


cdef int *fill_instruction(ntk_instruction *result, instruction, int n_parameters, int *numbers) except NULL:
    """Return what is left of the numbers."""
    cdef int k, n_sources = len(instruction.sources)
    result.destination = instruction.destination
    result.map = instruction.map
    result.n_sources = n_sources
    result.sources = numbers
    result.shares = numbers + n_sources
    for k in range(n_sources):
        numbers[k] = instruction.sources[k]
        numbers[n_sources + k] = n_parameters  # the plane of ones, unless it says otherwise
    for k in range(len(instruction.shares)):
        if instruction.shares[k] >= 0:
            numbers[n_sources + k] = instruction.shares[k]
    result.bias = instruction.bias if instruction.bias >= 0 else n_parameters + 1  # the plane of zeros
    result.adds_own = instruction.adds_own
    result.is_product = instruction.is_product
    result.promotes = instruction.promotes
    return numbers + 2 * n_sources


cdef fill_map(ntk_map *result, pair_map):
    cdef int k
    result.kind = KINDS[pair_map.kind]
    result.parity = pair_map.parity
    result.first_parameter = pair_map.first_parameter
    result.n_parameters = pair_map.n_parameters
    for k in range(len(pair_map.constants)):
        result.constants[k] = pair_map.constants[k]
    if pair_map.table is not None:
        result.parity = pair_map.table.parity
        result.power = pair_map.table.power
        fill_table(&result.value, pair_map.table.value)
        fill_table(&result.derivative, pair_map.table.derivative)
    if pair_map.tail is not None:
        fill_tail(&result.tail, pair_map.tail)


cdef fill_tail(ntk_tail *result, tail):
    cdef int k
    result.n_functions = len(tail.functions)
    if (result.n_functions, len(tail.steps)) != (NTK_TAIL_FUNCTIONS, NTK_TAIL_NODES):
        raise ValueError(f"tails have {NTK_TAIL_NODES} nodes here, and {len(tail.steps)} there")
    for k in range(NTK_TAIL_FUNCTIONS):
        fill_table(&result.functions[k], tail.functions[k])
    for k in range(NTK_TAIL_NODES):
        result.at_zero[k] = tail.at_zero[k]
        result.steps[k] = tail.steps[k]
    result.reach = tail.reach
    result.shift = tail.shift
    result.largest_square = tail.largest_square


cdef fill_table(ntk_table *result, table):
    if table is not None:
        result.coefficients = address(table.coefficients)
        result.n_terms = len(table.coefficients)
        result.stretch = table.stretch
        result.scale = table.scale


cdef class TileRunner:
    """Tiles of one task: everything that does not change from tile to tile, and scratch memory."""

    cdef const ntk_functions *functions
    cdef CompiledProgram program
    cdef ntk_rows x, y
    cdef ntk_block block
    cdef object kept
    cdef void *scratch

    def __init__(self, Functions functions, CompiledProgram program, task, scratch):
        x = task.x
        y = x if task.y is None else task.y
        self.functions = functions.functions
        self.program = program
        self.kept = (task, scratch)
        self.scratch = <void *>address(scratch)
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
            self.functions.tile(&self.program.program, &self.x, &self.y, &block, self.scratch)


cdef class TileFiller(TileRunner):
    """Stores tiles in a matrix."""

    def __init__(self, Functions functions, CompiledProgram program, task, bint streaming, scratch):
        super().__init__(functions, program, task, scratch)
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

    def __init__(self, Functions functions, CompiledProgram program, task, scratch):
        super().__init__(functions, program, task, scratch)
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
    cdef object adjoint_scratch

    def __init__(self, Functions functions, CompiledProgram program, task, scratch, adjoint_scratch):
        super().__init__(functions, program, task, scratch)
        self.adjoint_scratch = adjoint_scratch
        self.adjoint.weights = <const double *>address(task.weights)
        self.adjoint.weight_stride = task.weights.strides[0] // task.weights.itemsize
        self.adjoint.scratch = <void *>address(adjoint_scratch)
        self.block.adjoint = &self.adjoint

    def __call__(self, tile, row_sums, column_sums):
        self.adjoint.row_sums = <double *>address(row_sums)
        self.adjoint.row_stride = row_sums.strides[0] // row_sums.itemsize
        self.adjoint.column_sums = <double *>address(column_sums)
        self.adjoint.column_stride = column_sums.strides[0] // column_sums.itemsize
        self.run(tile)


cdef fill_rows(ntk_rows *result, rows):
    result.values = address(rows.values)
    result.inverse_norm = address(rows.inverse_norm)
    result.scale = <const double *>address(rows.scale)
    result.parameters = address(rows.parameters)
    result.row_stride = rows.values.strides[0] // rows.values.itemsize
    result.n_rows = rows.values.shape[0]
