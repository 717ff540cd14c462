def lstm_forward(x, h0, c0, w_ih, w_hh, b=None, *, reverse=False, lengths=None, save=True):
    x, h0, c0, w_ih, w_hh, b = contiguous(x), contiguous(h0), contiguous(c0), contiguous(w_ih), contiguous(w_hh), contiguous(b)
    cdef recurrent_shape s = sequence(x, w_hh, reverse, lengths)
    y = new_array((s.t, s.b, s.h), x.dtype)
    h_n = new_array((s.b, s.h), x.dtype)
    c_n = new_array((s.b, s.h), x.dtype)
    gates = new_array((s.t, s.b, 4 * s.h), x.dtype) if save else None
    cells = new_array((s.t, s.b, s.h), x.dtype) if save else None
    cdef int dtype = code_of(x), status
    cdef void *px = address(x)
    cdef void *ph0 = address(h0)
    cdef void *pc0 = address(c0)
    cdef void *pw_ih = address(w_ih)
    cdef void *pw_hh = address(w_hh)
    cdef void *pb = address(b)
    cdef void *py = address(y)
    cdef void *ph_n = address(h_n)
    cdef void *pc_n = address(c_n)
    cdef void *pgates = address(gates)
    cdef void *pcells = address(cells)
    with nogil:
        status = pydl_lstm_forward(dtype, &s, px, ph0, pc0, pw_ih, pw_hh, pb, py, ph_n, pc_n, pgates, pcells)
    check(status, "lstm_forward")
    return y, h_n, c_n, gates, cells


def lstm_backward(dy, dh_n, dc_n, x, h0, c0, w_ih, w_hh, y, gates, cells, *, reverse=False, lengths=None):
    dy, dh_n, dc_n, x, h0, c0 = contiguous(dy), contiguous(dh_n), contiguous(dc_n), contiguous(x), contiguous(h0), contiguous(c0)
    w_ih, w_hh, y, gates, cells = contiguous(w_ih), contiguous(w_hh), contiguous(y), contiguous(gates), contiguous(cells)
    cdef recurrent_shape s = sequence(x, w_hh, reverse, lengths)
    dx = new_array(x.shape, x.dtype)
    dh0 = new_array((s.b, s.h), x.dtype)
    dc0 = new_array((s.b, s.h), x.dtype)
    dw_ih = new_array(w_ih.shape, x.dtype)
    dw_hh = new_array(w_hh.shape, x.dtype)
    db = new_array((4 * s.h,), x.dtype)
    cdef int dtype = code_of(x), status
    cdef void *pdy = address(dy)
    cdef void *pdh_n = address(dh_n)
    cdef void *pdc_n = address(dc_n)
    cdef void *px = address(x)
    cdef void *ph0 = address(h0)
    cdef void *pc0 = address(c0)
    cdef void *pw_ih = address(w_ih)
    cdef void *pw_hh = address(w_hh)
    cdef void *py = address(y)
    cdef void *pgates = address(gates)
    cdef void *pcells = address(cells)
    cdef void *pdx = address(dx)
    cdef void *pdh0 = address(dh0)
    cdef void *pdc0 = address(dc0)
    cdef void *pdw_ih = address(dw_ih)
    cdef void *pdw_hh = address(dw_hh)
    cdef void *pdb = address(db)
    with nogil:
        status = pydl_lstm_backward(dtype, &s, pdy, pdh_n, pdc_n, px, ph0, pc0, pw_ih, pw_hh, py, pgates,
                                    pcells, pdx, pdh0, pdc0, pdw_ih, pdw_hh, pdb)
    check(status, "lstm_backward")
    return dx, dh0, dc0, dw_ih, dw_hh, db
