def gru_forward(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, *, bint reset_after=True, reverse=False, lengths=None, save=True):
    x, h0, w_ih, w_hh, b_ih, b_hh = contiguous(x), contiguous(h0), contiguous(w_ih), contiguous(w_hh), contiguous(b_ih), contiguous(b_hh)
    cdef recurrent_shape s = sequence(x, w_hh, reverse, lengths)
    y = new_array((s.t, s.b, s.h), x.dtype)
    h_n = new_array((s.b, s.h), x.dtype)
    gates = new_array((s.t, s.b, 3 * s.h), x.dtype) if save else None
    hidden = new_array((s.t, s.b, s.h), x.dtype) if save else None
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *ph0 = address(h0)
    cdef void *pw_ih = address(w_ih)
    cdef void *pw_hh = address(w_hh)
    cdef void *pb_ih = address(b_ih)
    cdef void *pb_hh = address(b_hh)
    cdef void *py = address(y)
    cdef void *ph_n = address(h_n)
    cdef void *pgates = address(gates)
    cdef void *phidden = address(hidden)
    with nogil:
        status = pydl_gru_forward(dtype, &s, reset_after, px, ph0, pw_ih, pw_hh, pb_ih, pb_hh, py, ph_n, pgates, phidden)
    check(status, "gru_forward")
    return y, h_n, gates, hidden


def gru_backward(dy, dh_n, x, h0, w_ih, w_hh, y, gates, hidden, *, bint reset_after=True, reverse=False, lengths=None):
    dy, dh_n, x, h0, w_ih = contiguous(dy), contiguous(dh_n), contiguous(x), contiguous(h0), contiguous(w_ih)
    w_hh, y, gates, hidden = contiguous(w_hh), contiguous(y), contiguous(gates), contiguous(hidden)
    cdef recurrent_shape s = sequence(x, w_hh, reverse, lengths)
    dx = new_array(x.shape, x.dtype)
    dh0 = new_array((s.b, s.h), x.dtype)
    dw_ih = new_array(w_ih.shape, x.dtype)
    dw_hh = new_array(w_hh.shape, x.dtype)
    db_ih = new_array((3 * s.h,), x.dtype)
    db_hh = new_array((3 * s.h,), x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *pdy = address(dy)
    cdef void *pdh_n = address(dh_n)
    cdef void *px = address(x)
    cdef void *ph0 = address(h0)
    cdef void *pw_ih = address(w_ih)
    cdef void *pw_hh = address(w_hh)
    cdef void *py = address(y)
    cdef void *pgates = address(gates)
    cdef void *phidden = address(hidden)
    cdef void *pdx = address(dx)
    cdef void *pdh0 = address(dh0)
    cdef void *pdw_ih = address(dw_ih)
    cdef void *pdw_hh = address(dw_hh)
    cdef void *pdb_ih = address(db_ih)
    cdef void *pdb_hh = address(db_hh)
    with nogil:
        status = pydl_gru_backward(dtype, &s, reset_after, pdy, pdh_n, px, ph0, pw_ih, pw_hh, py, pgates, phidden, pdx,
                                   pdh0, pdw_ih, pdw_hh, pdb_ih, pdb_hh)
    check(status, "gru_backward")
    return dx, dh0, dw_ih, dw_hh, db_ih, db_hh
