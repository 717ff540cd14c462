from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from *:
    """
    static __thread void *pydl_recorder; /* the Program that records the calls of this thread, or NULL */
    """
    void *recorder "pydl_recorder"

ctypedef int (*Again)(const void *) noexcept nogil

cdef struct Call:
    Again again
    void *arguments


cdef class Program:
    """Calls of kernels in their order, recorded once, to be done again with their arrays elsewhere.

    While it records, every call of this thread's bindings is noted with its arguments. A pointer among these is a place
    in a buffer: ``buffers[i]`` is (bytes, array), the array that a call reads without an earlier one having written it,
    or None; ``uses`` is a list of (call, buffer, whether it is written). `bind` says where a buffer is.
    """
    cdef Call *calls
    cdef int count, room
    cdef list blocks  # of memory that the arguments point to
    cdef list live  # (address, bytes, buffer), the latest last
    cdef list foreign  # arrays that the bindings did not make
    cdef list places  # for every buffer: (where the pointer is, offset)
    cdef readonly list names, buffers, uses
    cdef set written  # buffers
    cdef object problem
    cdef str isa

    def __cinit__(self):
        self.blocks, self.live, self.foreign, self.places = [], [], [], []
        self.names, self.buffers, self.uses, self.written = [], [], [], set()
        self.isa = isa()

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            free(self.calls[i].arguments)
        free(self.calls)

    def __len__(self):
        return self.count

    def __enter__(self):
        global recorder
        if recorder != NULL:
            raise RuntimeError("this thread is recording already")
        recorder = <void *>self
        return self

    def __exit__(self, *_):
        global recorder
        recorder = NULL
        self.live, self.foreign = [], []
        if self.problem is not None:
            raise self.problem

    # ---- what the bindings tell ----
    cdef object new(self, tuple shape, object dtype, Py_ssize_t size):
        """An array whose memory is the next buffer."""
        block = Block(max(size, 1))
        self.enter((<Block>block).data, max(size, 1))
        return ndarray(shape, dtype, block)

    cdef int enter(self, const void *data, Py_ssize_t size) except -1:
        """Let the memory be the next buffer, whose number is returned."""
        cdef uintptr_t first = <uintptr_t>data
        self.live = [(a, n, b) for a, n, b in self.live if <uintptr_t>a + <uintptr_t>n <= first or first + size <= <uintptr_t>a]
        self.live.append((first, size, len(self.buffers)))
        self.buffers.append((size, None))
        self.places.append([])
        return len(self.buffers) - 1

    def find(self, array):
        """The buffer that an array is in, one of its own if there is none yet, and the offset there; while it records."""
        return self.look_up(<uintptr_t>strided_address(array))

    cdef object look_up(self, uintptr_t data):
        for a, n, buffer in reversed(self.live):
            if <uintptr_t>a <= data < <uintptr_t>a + <uintptr_t>n:
                return buffer, data - <uintptr_t>a
        return None

    cdef int see(self, object array, const void *data) except -1:
        """Keep an array that comes from elsewhere, so that its memory stays."""
        if self.look_up(<uintptr_t>data) is None:
            self.foreign.append(array)
            self.enter(data, max(array.nbytes, 1))
            self.buffers[-1] = array.nbytes, array
        return 0

    # ---- what the recorded calls tell ----
    cdef void *begin(self, str name, size_t size, Again again) except NULL:
        """The memory for the arguments of the next call."""
        cdef Call *calls = self.calls
        if self.count == self.room:
            calls = <Call *>realloc(self.calls, (2 * self.room + 16) * sizeof(Call))
            if calls == NULL:
                raise MemoryError("cannot record a call")
            self.calls, self.room = calls, 2 * self.room + 16
        calls[self.count].arguments = calloc(1, size)
        if calls[self.count].arguments == NULL:
            raise MemoryError("cannot record a call")
        calls[self.count].again = again
        self.count += 1
        self.names.append(name)
        return calls[self.count - 1].arguments

    cdef int reads(self, const void **place) except -1:
        return self.use(place, False)

    cdef int writes(self, const void **place) except -1:
        return self.use(place, True)

    cdef int use(self, const void **place, bint written) except -1:
        """Note the pointer at a place in the arguments of the latest call."""
        if place[0] == NULL:
            return 0
        found = self.look_up(<uintptr_t>place[0])
        if found is None:
            raise ValueError(f"{self.names[-1]}: an argument is nowhere in the arrays of this recording")
        buffer, offset = found
        if written:
            self.written.add(buffer)
        elif buffer not in self.written and self.buffers[buffer][1] is None:
            self.keep(buffer, <const char *>place[0] - <Py_ssize_t>offset)
        self.uses.append((self.count - 1, buffer, written))
        self.places[buffer].append((<uintptr_t>place, offset))
        return 0

    cdef int keep(self, Py_ssize_t buffer, const char *data) except -1:
        """A copy of what a buffer holds that no call has written."""
        size = self.buffers[buffer][0]
        self.buffers[buffer] = size, bytearray(data[:size])
        return 0

    cdef void *copied(self, const void *data, Py_ssize_t size) except NULL:
        """The same values in memory that lives as long as the program."""
        block = Block(max(size, 1))
        self.blocks.append(block)
        memcpy((<Block>block).data, data, size)
        return (<Block>block).data

    cdef int each(self, const void **list, idx count, bint written) except -1:
        cdef idx i
        for i in range(count):
            self.use(list + i, written)
        return 0

    # ---- afterwards ----
    def bind(self, Py_ssize_t buffer, array, Py_ssize_t offset=0):
        """Let a buffer begin at an offset into an array, which the caller keeps."""
        cdef char *data = <char *>start(array, PyBUF_STRIDED_RO) + offset
        cdef uintptr_t place
        cdef Py_ssize_t inside
        for place, inside in <list>self.places[buffer]:
            (<char **>place)[0] = data + inside

    def run(self, double[::1] seconds=None):
        """Do all calls again; add the time of each to what `seconds` holds for it."""
        cdef int i, status = OK
        cdef bint timed = seconds is not None
        cdef timespec begin, end
        if isa() != self.isa:
            raise RuntimeError(f"compiled for the instruction set {self.isa}, which is not in use now: compile again")
        with nogil:
            for i in range(self.count):
                if timed:
                    clock_gettime(CLOCK_MONOTONIC, &begin)
                status = self.calls[i].again(self.calls[i].arguments)
                if status != OK:
                    break
                if timed:
                    clock_gettime(CLOCK_MONOTONIC, &end)
                    seconds[i] += (end.tv_sec - begin.tv_sec) + 1e-9 * (end.tv_nsec - begin.tv_nsec)
        if status != OK:
            check(status, self.names[i])


def is_recording():
    """Whether a Program records what this thread does."""
    return recorder != NULL


# ---- what Python checks before a call, to be checked again ----
cdef struct Lengths:
    const int64_t *lengths
    idx count, most


cdef int lengths_again(const Lengths *of) noexcept nogil:
    cdef idx i
    for i in range(of.count):
        if not 0 <= of.lengths[i] <= of.most:
            return BAD_INDEX
    return OK


cdef int note_lengths(const int64_t *lengths, idx count, idx most) except -1:
    """Let a Program check, before the call that reads them, that lengths are from 0 to `most`."""
    cdef Lengths *of
    if recorder == NULL or lengths == NULL:
        return 0
    program = <Program>recorder
    of = <Lengths *>program.begin("lengths", sizeof(Lengths), <Again>lengths_again)
    of.lengths, of.count, of.most = lengths, count, most
    return program.reads(<const void **>&of.lengths)


# ---- the copies that the bindings make ----
cdef enum:
    MOST_AXES = 8

cdef struct Copy:
    char *to
    const char *source
    int axes
    idx shape[MOST_AXES]
    idx steps[MOST_AXES]  # of the source, in bytes
    idx item


cdef int copy_again(const Copy *of) noexcept nogil:
    copy_axis(of, 0, of.to, of.source)
    return OK


cdef char *copy_axis(const Copy *of, int axis, char *to, const char *source) noexcept nogil:
    """Copy what the axes from this one on hold; the end of what is written."""
    cdef idx i
    if axis == of.axes:
        memcpy(to, source, of.item)
        return to + of.item
    if axis == of.axes - 1 and of.steps[axis] == of.item:
        memcpy(to, source, of.item * of.shape[axis])
        return to + of.item * of.shape[axis]
    for i in range(of.shape[axis]):
        to = copy_axis(of, axis + 1, to, source + i * of.steps[axis])
    return to


def copy_into(out, array):
    """out[...] = array for arrays of one shape and dtype, out being C-contiguous; recorded as a kernel's call is."""
    cdef Copy *of
    cdef int axis
    if recorder == NULL or array.ndim > MOST_AXES:
        out[...] = array
        return
    program = <Program>recorder
    to, source = address(out), strided_address(array)
    of = <Copy *>program.begin("copy", sizeof(Copy), <Again>copy_again)
    of.to, of.source, of.axes, of.item = <char *>to, <const char *>source, array.ndim, array.itemsize
    for axis in range(of.axes):
        of.shape[axis], of.steps[axis] = array.shape[axis], array.strides[axis]
    program.reads(<const void **>&of.source)
    program.writes(<const void **>&of.to)
    copy_again(of)
