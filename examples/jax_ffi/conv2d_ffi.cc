/* Handlers of XLA's foreign function interface that call pydl's C functions:
 *   PydlConv2d          x (n,c,h,w), w (oc, c/groups, kh, kw), b (oc) -> y (n,oc,oh,ow) = conv(x, w) + b, or the larger of 0 and that
 *   PydlConv2dGradient  dy (n,oc,oh,ow), x, w -> dx, dw, db
 * float or double, contiguous. XLA passes sizes that it does not check, so `shape_of` does: the kernels trust their caller.
 * Source: the JAX documentation, "Foreign function interface (FFI)". */
#include <string>

#include "pydl.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Pair = ffi::Span<const int64_t>; /* of height, of width */

namespace {

ffi::Error invalid(const char *expected) {
    return ffi::Error::InvalidArgument(std::string("pydl_conv2d: expected ") + expected);
}

ffi::Error error_of(int status) {
    return status == PYDL_OK ? ffi::Error::Success() : ffi::Error(ffi::ErrorCode::kResourceExhausted, "pydl_conv2d: no memory");
}

/* The places of a filter along an axis; 0 if it does not fit. */
pydl_idx positions(pydl_idx size, pydl_idx k, pydl_idx stride, pydl_idx pad, pydl_idx dilation) {
    const pydl_idx room = size + 2 * pad - dilation * (k - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
}

/* Fills s; x, w and y have one dtype, float or double, and fit each other. */
ffi::Error shape_of(ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer y, Pair stride, Pair padding, Pair dilation, int64_t groups,
                    pydl_dtype *dtype, pydl_conv2d_shape *s) {
    if (x.element_type() != ffi::F32 && x.element_type() != ffi::F64) return invalid("float32 or float64");
    if (w.element_type() != x.element_type() || y.element_type() != x.element_type()) return invalid("one dtype");
    *dtype = x.element_type() == ffi::F32 ? PYDL_F32 : PYDL_F64;
    const auto dx = x.dimensions(), dw = w.dimensions(), dy = y.dimensions();
    if (dx.size() != 4 || dw.size() != 4 || dy.size() != 4) return invalid("images and filters of four axes");
    if (stride.size() != 2 || padding.size() != 2 || dilation.size() != 2) return invalid("pairs (h, w)");
    for (int i = 0; i < 2; i++)
        if (stride[i] < 1 || dilation[i] < 1 || padding[i] < 0) return invalid("stride and dilation above 0, padding of 0 or more");
    *s = pydl_conv2d_shape{dx[0],     dx[1],      dx[2],      dx[3],       dw[0],       dy[2],  dy[3],    dw[2], dw[3],
                           stride[0], stride[1],  padding[0], padding[1],  dilation[0], dilation[1], groups, PYDL_AUTO};
    if (groups < 1 || s->c % groups || s->oc % groups || dw[1] * groups != s->c) return invalid("w (oc, c / groups, kh, kw)");
    if (s->kh < 1 || s->kw < 1 || dy[0] != s->n || dy[1] != s->oc ||
        s->oh != positions(s->h, s->kh, stride[0], padding[0], dilation[0]) ||
        s->ow != positions(s->w, s->kw, stride[1], padding[1], dilation[1]) || s->oh < 1 || s->ow < 1)
        return invalid("y (n, oc, oh, ow), with the sizes that x and w give");
    return ffi::Error::Success();
}

ffi::Error forward(ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> y, Pair stride, Pair padding,
                   Pair dilation, int64_t groups, bool relu) {
    pydl_dtype dtype;
    pydl_conv2d_shape s;
    ffi::Error error = shape_of(x, w, *y, stride, padding, dilation, groups, &dtype, &s);
    if (error.failure()) return error;
    if (b.element_type() != x.element_type() || (pydl_idx)b.element_count() != s.oc) return invalid("b (oc,)");
    return error_of(pydl_conv2d_forward(dtype, &s, x.untyped_data(), w.untyped_data(), b.untyped_data(), nullptr, relu, PYDL_AS_GIVEN,
                                        y->untyped_data()));
}

ffi::Error backward(ffi::AnyBuffer dy, ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::Result<ffi::AnyBuffer> dx,
                    ffi::Result<ffi::AnyBuffer> dw, ffi::Result<ffi::AnyBuffer> db, Pair stride, Pair padding, Pair dilation,
                    int64_t groups) {
    pydl_dtype dtype;
    pydl_conv2d_shape s;
    ffi::Error error = shape_of(x, w, dy, stride, padding, dilation, groups, &dtype, &s);
    if (error.failure()) return error;
    if (dx->size_bytes() != x.size_bytes() || dw->size_bytes() != w.size_bytes() ||
        db->size_bytes() * s.c / groups * s.kh * s.kw != w.size_bytes())
        return invalid("dx, dw, db of the sizes of x, w, b");
    int status = pydl_conv2d_backward_input(dtype, &s, dy.untyped_data(), w.untyped_data(), dx->untyped_data());
    if (status == PYDL_OK) status = pydl_conv2d_backward_weight(dtype, &s, dy.untyped_data(), x.untyped_data(), dw->untyped_data());
    if (status == PYDL_OK) status = pydl_conv2d_backward_bias(dtype, s.n, s.oc, s.oh * s.ow, dy.untyped_data(), db->untyped_data());
    return error_of(status);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(PydlConv2d, forward,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<Pair>("stride")
                                  .Attr<Pair>("padding")
                                  .Attr<Pair>("dilation")
                                  .Attr<int64_t>("groups")
                                  .Attr<bool>("relu"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(PydlConv2dGradient, backward,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<Pair>("stride")
                                  .Attr<Pair>("padding")
                                  .Attr<Pair>("dilation")
                                  .Attr<int64_t>("groups"));
