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
        NTK_CORNERS

    enum:
        NTK_TAIL_NODES
        NTK_TAIL_FUNCTIONS
        NTK_CORNERS_MOST

    ctypedef struct ntk_tail:
        int n_functions
        ntk_table *functions
        double *at_zero
        double *steps
        double reach
        double shift
        double largest_square

    ctypedef struct ntk_corners:
        int n
        double *positions
        double *slopes
        double *rises
        double *bends
        ntk_table moment

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
        ntk_corners corners

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
        int keeps_m_rest
        const ntk_instruction *instructions
        const ntk_map *maps
        ntk_table profile
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


cdef extern from "ntk_images.h" nogil:
    enum:
        NTK_ARRANGE
        NTK_POINT
        NTK_CONVOLVE
        NTK_GATHER

    ctypedef struct ntk_planes:
        int height
        int width
        int n_planes
        const int *offsets
        const ptrdiff_t *starts
        const int *plane_of

    ctypedef struct ntk_window:
        int n_taps
        int n_outputs
        int is_whole
        int is_circular
        int sizes[2]
        int strides[2]
        int dilation[2]
        int before[2]
        const int *seen
        const int *output_starts
        const int *outputs
        const int *output_rows
        const int *output_columns

    ctypedef struct ntk_image_step:
        int kind
        int segment
        int is_kept
        int first_plane
        ptrdiff_t place
        ptrdiff_t room
        int has_opposite
        int is_passed_on
        ptrdiff_t weighed_by
        ptrdiff_t first
        ptrdiff_t root
        ptrdiff_t inverse
        ptrdiff_t tau
        ptrdiff_t distance
        int is_watched
        int channels
        ntk_window window
        ntk_instruction instruction

    ctypedef struct ntk_image_program:
        ntk_program program
        int n_nodes
        int n_segments
        int all_planes
        int has_tangent
        const ntk_image_step *steps
        const ntk_planes *planes
        ptrdiff_t n_features
        ptrdiff_t n_parameters
        ptrdiff_t n_vectors
        ptrdiff_t kept_vectors
        ptrdiff_t largest_planes
        ptrdiff_t largest_pitch
        int most_beside
        const int *segment_starts
        const int *component_starts
        const int *entry_nodes
        const int *entry_planes
        const ptrdiff_t *entry_starts
        const ptrdiff_t *entry_pitches
        const int *entry_counts

    ctypedef struct ntk_images:
        const void *parameters
        const void *values
        ptrdiff_t value_stride


cdef extern from "dispatch.h" nogil:
    ctypedef struct ntk_functions:
        int (*pieces)() noexcept nogil
        ptrdiff_t (*block_columns)(ptrdiff_t, ptrdiff_t) noexcept nogil
        size_t (*scratch_bytes)(const ntk_program *, ptrdiff_t, ptrdiff_t) noexcept nogil
        size_t (*adjoint_bytes)(const ntk_program *, ptrdiff_t) noexcept nogil
        void (*tile)(const ntk_program *, const ntk_rows *, const ntk_rows *, const ntk_block *, void *) noexcept nogil
        void (*square_norms)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, double *,
                             double *) noexcept nogil
        ptrdiff_t (*lanes)() noexcept nogil
        size_t (*image_bytes)(const ntk_image_program *) noexcept nogil
        void (*pack_images)(const void *, ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, void *) noexcept nogil
        void (*begin_segment)(const ntk_image_program *, const ntk_images *, const ntk_images *, int, void *) noexcept nogil
        void (*image_components)(const ntk_image_program *, const ntk_images *, const ntk_images *, int, int,
                                 void *) noexcept nogil
        void (*image_output)(const ntk_image_program *, void *, void *) noexcept nogil
        void (*image_entries)(const ntk_image_program *, const ntk_images *, ptrdiff_t, const ntk_images *, void *,
                              void *) noexcept nogil

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

    def lanes(self):
        return self.functions.lanes()

    def pack_images(self, given, ptrdiff_t n, ptrdiff_t row_stride, ptrdiff_t image_stride, ptrdiff_t n_images, result):
        cdef const void *data = address(given)
        cdef void *out = <void *>address(result)
        with nogil:
            self.functions.pack_images(data, n, row_stride, image_stride, n_images, out)


KINDS = {
    "fold": NTK_FOLD,
    "table": NTK_TABLE,
    "exponential": NTK_EXPONENTIAL,
    "erf": NTK_ERF,
    "gelu": NTK_GELU,
    "sine": NTK_SINE,
    "gaussian": NTK_GAUSSIAN,
    "polynomial": NTK_POLYNOMIAL,
    "corners": NTK_CORNERS,
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
        self.program.keeps_m_rest = program.keeps_m_rest
        self.program.instructions = self.instructions
        self.program.maps = self.maps
        fill_table(&self.program.profile, program.profile)
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
    if pair_map.corners is not None:
        fill_corners(&result.corners, pair_map.corners)


cdef fill_corners(ntk_corners *result, corners):
    cdef int k
    result.n = len(corners.positions)
    if result.n > NTK_CORNERS_MOST:
        raise ValueError(f"activations have at most {NTK_CORNERS_MOST} corners here, and {result.n} there")
    for k in range(result.n):
        result.positions[k] = corners.positions[k]
        result.bends[k] = corners.bends[k]
    for k in range(result.n + 1):
        result.slopes[k] = corners.slopes[k]
        result.rises[k] = corners.rises[k]
    fill_table(&result.moment, corners.moment)


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


cdef class CompiledImages:
    """A `SpatialProgram` and its `ImageSchedule` as C takes them; immutable, and shared between threads."""

    cdef ntk_image_program program
    cdef ntk_image_step *steps
    cdef ntk_planes *planes
    cdef ntk_map *maps
    cdef int *numbers
    cdef object kept

    def __cinit__(self, program, schedule, double near_shortfall, double near_bending):
        cdef int node, n_nodes = len(program.grids), n_maps = 0, first_plane = 0
        cdef int *free_numbers
        n_sources = 0
        for step in program.steps:
            n_maps += getattr(step, "map", None) is not None
            n_sources += len(step.instruction.sources) if hasattr(step, "instruction") else 1
        self.kept = (program, schedule)
        self.steps = <ntk_image_step *>calloc(n_nodes, sizeof(ntk_image_step))
        self.planes = <ntk_planes *>calloc(n_nodes, sizeof(ntk_planes))
        self.maps = <ntk_map *>calloc(max(1, n_maps), sizeof(ntk_map))
        self.numbers = <int *>calloc(max(1, 2 * n_sources), sizeof(int))
        if self.steps is NULL or self.planes is NULL or self.maps is NULL or self.numbers is NULL:
            raise MemoryError
        free_numbers = self.numbers
        n_maps = 0
        for node in range(1, n_nodes):
            step = program.steps[node - 1]
            fill_planes(&self.planes[node], schedule.planes[node])
            self.steps[node].segment = schedule.segments[node]
            self.steps[node].is_kept = schedule.is_kept[node]
            self.steps[node].place = schedule.places[node]
            self.steps[node].room = schedule.rooms[node]
            self.steps[node].has_opposite = schedule.forms[node].has_opposite
            self.steps[node].is_passed_on = schedule.forms[node].is_passed_on
            self.steps[node].weighed_by = schedule.forms[node].weighed_by
            self.steps[node].inverse = -1
            self.steps[node].distance = schedule.distances[node]
            self.steps[node].is_watched = node in program.watched
            self.steps[node].first_plane = first_plane
            first_plane += self.planes[node].n_planes
            if schedule.windows[node] is not None:
                fill_window(&self.steps[node].window, schedule.windows[node])
            if hasattr(step, "shape"):
                self.steps[node].kind = NTK_ARRANGE
                self.steps[node].inverse = step.inverse
                self.steps[node].channels = step.shape[len(step.shape) - 1]
            elif hasattr(step, "instruction"):
                self.steps[node].kind = NTK_POINT
                self.steps[node].first = step.first
                free_numbers = fill_instruction(&self.steps[node].instruction, step.instruction, -1, free_numbers)
                self.steps[node].instruction.bias = step.instruction.bias
                if step.map is not None:
                    fill_map(&self.maps[n_maps], step.map)
                    self.maps[n_maps].near_shortfall = near_shortfall
                    self.maps[n_maps].near_bending = near_bending
                    self.steps[node].instruction.map = n_maps
                    n_maps += 1
            else:
                self.steps[node].kind = NTK_GATHER if hasattr(step, "mu") else NTK_CONVOLVE
                self.steps[node].root = step.root
                self.steps[node].inverse = step.inverse
                self.steps[node].tau = step.mu if hasattr(step, "mu") else step.tau
                self.steps[node].instruction.adds_own = getattr(step, "adds_own", False)
                self.steps[node].instruction.n_sources = 1
                self.steps[node].instruction.sources = free_numbers
                free_numbers[0] = step.source
                free_numbers += 1
        self.program.program.n_maps = n_maps
        self.program.program.maps = self.maps
        self.program.program.has_tangent = program.has_tangent
        self.program.program.carries_tangent = program.carries_tangent
        self.program.n_nodes = n_nodes
        self.program.n_segments = len(schedule.segment_starts) - 1
        self.program.all_planes = first_plane
        self.program.has_tangent = program.has_tangent
        self.program.steps = self.steps
        self.program.planes = self.planes
        self.program.n_parameters = program.n_parameters
        self.program.n_vectors = schedule.n_vectors
        self.program.kept_vectors = schedule.kept_vectors
        self.program.largest_planes = schedule.largest_planes
        self.program.largest_pitch = schedule.entry_pitches.max(initial=1)
        self.program.most_beside = schedule.entry_counts.max(initial=1)
        self.program.segment_starts = <const int *>address(schedule.segment_starts)
        self.program.component_starts = <const int *>address(schedule.component_starts)
        self.program.entry_nodes = <const int *>address(schedule.entry_nodes)
        self.program.entry_planes = <const int *>address(schedule.entry_planes)
        self.program.entry_starts = <const ptrdiff_t *>address(schedule.entry_starts)
        self.program.entry_pitches = <const ptrdiff_t *>address(schedule.entry_pitches)
        self.program.entry_counts = <const int *>address(schedule.entry_counts)

    def __dealloc__(self):
        free(self.steps)
        free(self.planes)
        free(self.maps)
        free(self.numbers)

    def scratch_bytes(self, Functions functions):
        return functions.functions.image_bytes(&self.program)

    def begin(self, Functions functions, x, y, int segment, scratch):
        """Without an x, None, each image of y goes with itself."""
        cdef ntk_images left = images_of(x), right = images_of(y)
        cdef const ntk_images *other = NULL if x is None else &left
        cdef void *memory = <void *>address(scratch)
        with nogil:
            functions.functions.begin_segment(&self.program, other, &right, segment, memory)

    def run(self, Functions functions, x, y, int first, int stop, scratch):
        cdef ntk_images left = images_of(x), right = images_of(y)
        cdef const ntk_images *other = NULL if x is None else &left
        cdef void *memory = <void *>address(scratch)
        with nogil:
            functions.functions.image_components(&self.program, other, &right, first, stop, memory)

    def entries(self, Functions functions, x, y, scratch, result):
        """Outputs of the images of x, (n_images, n_parameters) and (n_images, n_features), as (n_images, 4, lanes)."""
        cdef ntk_images left = images_of(x), right = images_of(y)
        cdef ptrdiff_t n_images = len(result)
        cdef void *memory = <void *>address(scratch)
        cdef void *out = <void *>address(result)
        left.value_stride = x[1].strides[0] // x[1].itemsize
        with nogil:
            functions.functions.image_entries(&self.program, &left, n_images, &right, memory, out)

    def output(self, Functions functions, scratch, result):
        functions.functions.image_output(&self.program, <void *>address(scratch), <void *>address(result))


cdef ntk_images images_of(packed):
    cdef ntk_images result
    result.parameters = NULL if packed is None else address(packed[0])
    result.values = NULL if packed is None else address(packed[1])
    return result


cdef fill_planes(ntk_planes *result, planes):
    result.height, result.width = planes.grid
    result.n_planes = len(planes.offsets)
    result.offsets = <const int *>address(planes.offsets)
    result.starts = <const ptrdiff_t *>address(planes.starts)
    result.plane_of = <const int *>address(planes.plane_of)


cdef fill_window(ntk_window *result, window):
    result.n_taps, result.n_outputs = window.seen.shape
    result.is_whole = window.is_whole
    result.is_circular = window.is_circular
    result.sizes[0], result.sizes[1] = window.sizes
    result.strides[0], result.strides[1] = window.strides
    result.dilation[0], result.dilation[1] = window.dilation
    result.before[0], result.before[1] = window.before
    result.seen = <const int *>address(window.seen_by)
    result.output_starts = <const int *>address(window.output_starts)
    result.outputs = <const int *>address(window.outputs)
    result.output_rows = <const int *>address(window.output_rows)
    result.output_columns = <const int *>address(window.output_columns)


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
