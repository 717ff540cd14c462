cdef recurrent_shape sequence(x, w_hh, bint reverse, lengths):
    """The caller keeps lengths alive."""
    cdef recurrent_shape s
    s.t, s.b, s.input = x.shape
    s.h = w_hh.shape[1]
    s.reverse = reverse
    s.lengths = <const int64_t *>address(lengths)
    note_lengths(s.lengths, s.b, s.t)
    return s


def rnn_forward(x, h0, w_ih, w_hh, b=None, *, nonlinearity="tanh", reverse=False, lengths=None):
    x, h0, w_ih, w_hh, b = contiguous(x), contiguous(h0), contiguous(w_ih), contiguous(w_hh), contiguous(b)
    cdef recurrent_shape s = sequence(x, w_hh, reverse, lengths)
    y = new_array((s.t, s.b, s.h), x.dtype)
    h_n = new_array((s.b, s.h), x.dtype)
    cdef int dtype = code_of(x), status, relu = nonlinearity == "relu"
    cdef void *px = address(x)
    cdef void *ph0 = address(h0)
    cdef void *pw_ih = address(w_ih)
    cdef void *pw_hh = address(w_hh)
    cdef void *pb = address(b)
    cdef void *py = address(y)
    cdef void *ph_n = address(h_n)
    with nogil:
        status = pydl_rnn_forward(dtype, &s, relu, px, ph0, pw_ih, pw_hh, pb, py, ph_n)
    check(status, "rnn_forward")
    return y, h_n


def rnn_backward(dy, dh_n, x, h0, w_ih, w_hh, y, *, nonlinearity="tanh", reverse=False, lengths=None):
    dy, dh_n, x, h0 = contiguous(dy), contiguous(dh_n), contiguous(x), contiguous(h0)
    w_ih, w_hh, y = contiguous(w_ih), contiguous(w_hh), contiguous(y)
    cdef recurrent_shape s = sequence(x, w_hh, reverse, lengths)
    dx = new_array(x.shape, x.dtype)
    dh0 = new_array((s.b, s.h), x.dtype)
    dw_ih = new_array(w_ih.shape, x.dtype)
    dw_hh = new_array(w_hh.shape, x.dtype)
    db = new_array((s.h,), x.dtype)
    cdef int dtype = code_of(x), status, relu = nonlinearity == "relu"
    cdef void *pdy = address(dy)
    cdef void *pdh_n = address(dh_n)
    cdef void *px = address(x)
    cdef void *ph0 = address(h0)
    cdef void *pw_ih = address(w_ih)
    cdef void *pw_hh = address(w_hh)
    cdef void *py = address(y)
    cdef void *pdx = address(dx)
    cdef void *pdh0 = address(dh0)
    cdef void *pdw_ih = address(dw_ih)
    cdef void *pdw_hh = address(dw_hh)
    cdef void *pdb = address(db)
    with nogil:
        status = pydl_rnn_backward(dtype, &s, relu, pdy, pdh_n, px, ph0, pw_ih, pw_hh, py, pdx, pdh0, pdw_ih,
                                   pdw_hh, pdb)
    check(status, "rnn_backward")
    return dx, dh0, dw_ih, dw_hh, db
