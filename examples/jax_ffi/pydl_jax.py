"""pydl's convolution as a JAX function, with a gradient, inside `jax.jit`.

    register(build(folder))                 # once per process
    y = conv2d(x, w, b, stride=2, relu=True)

JAX has no function of this kind; `jax.lax.conv_general_dilated` is the nearest.
"""

import ctypes
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pydl.kernels import conv_output_size


def register(library):
    """Make the handlers of the library that `build` has made known to XLA."""
    handlers = ctypes.CDLL(str(library))
    for name in ("PydlConv2d", "PydlConv2dGradient"):
        capsule = jax.ffi.pycapsule(getattr(handlers, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")


def conv2d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, relu=False):
    """Convolve images x (N,C,H,W) with w (OC,C/groups,KH,KW), add b (OC,), take max(0, .) if relu.

    float32, or float64 where JAX has it enabled; stride, padding, dilation are an int or (h, w).
    Returns y (N,OC,OH,OW). Use `jax.grad` once: a gradient has none itself.
    """
    if b is None:
        b = jnp.zeros(w.shape[0], w.dtype)
    pairs = (tuple(np.broadcast_to(v, 2).tolist()) for v in (stride, padding, dilation))
    return _conv2d(x, w, b, (*pairs, groups), relu)


def _attributes(options):
    names = ("stride", "padding", "dilation")
    pairs = {name: np.array(value, np.int64) for name, value in zip(names, options, strict=False)}
    return {**pairs, "groups": np.int64(options[3])}


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv2d(x, w, b, options, relu):
    size = [
        conv_output_size(x.shape[2 + i], w.shape[2 + i], *(pair[i] for pair in options[:3]))
        for i in range(2)
    ]
    result = jax.ShapeDtypeStruct((x.shape[0], w.shape[0], *size), x.dtype)
    call = jax.ffi.ffi_call("PydlConv2d", result, vmap_method="sequential")
    return call(x, w, b, **_attributes(options), relu=np.bool_(relu))


def _forward(x, w, b, options, relu):
    y = _conv2d(x, w, b, options, relu)
    return y, (x, w, b, y if relu else None)


def _backward(options, relu, saved, dy):
    x, w, b, y = saved
    if relu:
        dy = jnp.where(y <= 0, 0, dy)
    results = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, w, b)]
    call = jax.ffi.ffi_call("PydlConv2dGradient", results, vmap_method="sequential")
    return tuple(call(dy, x, w, **_attributes(options)))


_conv2d.defvjp(_forward, _backward)
