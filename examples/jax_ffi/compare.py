"""pydl's convolution in JAX beside JAX's own: the same results, and the times of both."""

import tempfile
import time
from statistics import median

import jax
import numpy as np
from build_handlers import build
from pydl_jax import conv2d, register


def jax_conv2d(x, w, b):
    """The same by XLA: 3x3, padding 1, and a ReLU."""
    y = jax.lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (1, 1)))
    return jax.nn.relu(y + b[:, None, None])


def pydl_conv2d(x, w, b):
    """The same by pydl."""
    return conv2d(x, w, b, padding=1, relu=True)


def with_gradients(f):
    """The sum of the squares of f, and its gradients, compiled."""
    return jax.jit(jax.value_and_grad(lambda *args: (f(*args) ** 2).sum(), argnums=(0, 1, 2)))


with tempfile.TemporaryDirectory() as folder:
    register(build(folder))
rng = np.random.default_rng(0)
for n, c, size, oc in ((1, 16, 32, 16), (4, 64, 56, 64)):
    shapes = (n, c, size, size), (oc, c, 3, 3), (oc,)
    arrays = [jax.numpy.asarray(rng.standard_normal(s, np.float32) / 8) for s in shapes]
    for what, change in (("forward", jax.jit), ("forward and gradients", with_gradients)):
        contestants = [change(f) for f in (pydl_conv2d, jax_conv2d)]
        for ours, theirs in zip(*(jax.tree.leaves(f(*arrays)) for f in contestants), strict=True):
            scale = float(abs(theirs).max())
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * scale)
        seconds = [[], []]
        for _ in range(30):
            for f, times in zip(contestants, seconds, strict=True):
                start = time.perf_counter()
                jax.block_until_ready(f(*arrays))
                times.append(time.perf_counter() - start)
        ours, theirs = (1e3 * median(times) for times in seconds)
        print(f"{c}-{oc} 3x3 @{size} n{n}, {what}: pydl {ours:.3f} ms, JAX {theirs:.3f} ms")
