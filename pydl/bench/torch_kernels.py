"""PyTorch's side of the benchmark: each operation on a case's inputs.

Backward operations call the functions that PyTorch's autograd calls, without its tape; recurrent
layers, whose gradients need what the tape keeps, go through it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from pydl import runtime
from pydl.bench.cases import Case, Inputs

Run = Callable[[], Any]
Adapt = Callable[[Any], tuple[Any, ...]]

_LIMITS = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "baseline": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}


def import_torch() -> Any:
    """PyTorch; held to pydl's instruction set if that is not the best of this machine.

    Raises ImportError if it is not installed.
    """
    isa = runtime.isa()
    if isa != runtime.available_isas()[0] and "torch" not in sys.modules:
        for name, value in _LIMITS.get(isa, {}).items():
            os.environ.setdefault(name, value)
    import torch

    return torch


def prepare(torch: Any, case: Case, inputs: Inputs, layout: Any = None) -> tuple[Run, Adapt] | None:
    """A function that runs the case's operation, and one that makes its results pydl's.

    None if PyTorch has no such operation. The tensors share the memory of `inputs`, but for images
    and filters where a memory layout of PyTorch's is given.
    """
    build = _BUILDERS.get(case.operation)
    if build is None:
        return None
    tensors = {
        name: torch.from_numpy(a) if isinstance(a, np.ndarray) else a for name, a in inputs.items()
    }
    if layout is not None:
        for name, a in tensors.items():
            if getattr(a, "ndim", 0) == 4:
                tensors[name] = a.contiguous(memory_format=layout)
    made = build(torch, tensors, dict(case.options))
    return made if isinstance(made, tuple) else (made, as_arrays)


def as_arrays(results: Any) -> tuple[Any, ...]:
    """A tensor or some as a tuple of arrays, indices as int32."""
    tensors = results if isinstance(results, (tuple, list)) else (results,)
    return tuple(_array(t) for t in tensors)


def _array(tensor: Any) -> np.ndarray:
    array = tensor.detach().contiguous().numpy()
    return array.astype(np.int32) if array.dtype == np.int64 else array


def _pair(value: int) -> list[int]:
    return [value, value]


def _conv2d_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    stride, padding, groups = o["stride"], o["padding"], o["groups"]
    x, w, b = t["x"], t["w"], t["b"]
    conv2d = torch.nn.functional.conv2d
    return lambda: conv2d(x, w, b, stride, padding, 1, groups)


def _conv2d_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward = torch.ops.aten.convolution_backward
    stride, padding = _pair(o["stride"]), _pair(o["padding"])
    dy, x, w, oc = t["dy"], t["x"], t["w"], [len(t["w"])]
    rest = (oc, stride, padding, [1, 1], False, [0, 0], o["groups"], [True, True, True])
    return lambda: backward(dy, x, w, *rest)


def _im2col(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    unfold, x = torch.nn.functional.unfold, t["x"]
    return lambda: unfold(x, o["kernel_size"], 1, o["padding"], o["stride"])


def _col2im(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    fold, cols, size = torch.nn.functional.fold, t["cols"], o["x_shape"][2:]
    return lambda: fold(cols, size, o["kernel_size"], 1, o["padding"], o["stride"])


def _window(o: dict[str, Any]) -> list[list[int]]:
    return [_pair(o[name]) for name in ("kernel_size", "stride", "padding")]


def _max_pool2d_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    pool, x = torch.ops.aten.max_pool2d_with_indices, t["x"]
    window = (*_window(o), [1, 1], o["ceil_mode"])
    return lambda: pool(x, *window)


def _max_pool2d_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    dy, x, indices = t["dy"], t["x"], t["argmax"].long()
    window = (*_window(o), [1, 1], o["ceil_mode"])
    return lambda: backward(dy, x, *window, indices)


def _avg_pool2d_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    pool, x = torch.ops.aten.avg_pool2d, t["x"]
    window = (*_window(o), o["ceil_mode"], True, None)
    return lambda: pool(x, *window)


def _avg_pool2d_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward, dy, x = torch.ops.aten.avg_pool2d_backward, t["dy"], t["x"]
    window = (*_window(o), o["ceil_mode"], True, None)
    return lambda: backward(dy, x, *window)


def _global_avg_pool2d_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> tuple[Run, Adapt]:
    pool, x = torch.nn.functional.adaptive_avg_pool2d, t["x"]
    return lambda: pool(x, 1), lambda y: as_arrays(y.flatten(1))


def _global_avg_pool2d_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    dy, shape = t["dy"][:, :, None, None], o["x_shape"]
    return lambda: dy.expand(shape) / (shape[2] * shape[3])


def _adaptive_avg_pool2d_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    pool, x, size = torch.nn.functional.adaptive_avg_pool2d, t["x"], o["output_size"]
    return lambda: pool(x, size)


def _adaptive_avg_pool2d_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward, dy, x = torch.ops.aten._adaptive_avg_pool2d_backward, t["dy"], t["x"]
    return lambda: backward(dy, x)


def _local_response_norm_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    normalize, x = torch.nn.functional.local_response_norm, t["x"]
    return lambda: normalize(x, o["size"], o["alpha"], o["beta"], o["k"])


def _local_response_norm_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    """PyTorch composes it of several operations, so its gradient goes through the tape."""
    x, dy, grad = t["x"].requires_grad_(), t["dy"], torch.autograd.grad
    with torch.enable_grad():
        y = _local_response_norm_forward(torch, t, o)()
    return lambda: grad(y, x, dy, retain_graph=True)


def _batch_norm_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    x, w, b, finish = t["x"], t["weight"], t["bias"], _finish(torch, t, o)
    norm = torch.ops.aten.native_batch_norm
    return lambda: finish(norm(x, w, b, None, None, True, 0.1, 1e-5)[0])


def _batch_norm_inference(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    x, finish, norm = t["x"], _finish(torch, t, o), torch.nn.functional.batch_norm
    mean, var, w, b = t["mean"], t["rstd"], t["weight"], t["bias"]
    return lambda: finish(norm(x, mean, var, w, b, False, 0.1, 1e-5))


def _finish(torch: Any, t: Inputs, o: dict[str, Any]) -> Callable[[Any], Any]:
    """The residual and the ReLU after a normalisation, in place."""
    residual = t["residual"]
    if "add" in o["fused"]:
        return lambda y: y.add_(residual).relu_()
    return (lambda y: y.relu_()) if o["fused"] else (lambda y: y)


def _batch_norm_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    aten, dy, x, y = torch.ops.aten, t["dy"], t["x"], t.get("y")
    w, mean, rstd = t["weight"], t["mean"], t["rstd"]
    rest = (w, None, None, mean, rstd, True, 1e-5, [True, True, True])

    def run() -> Any:
        g = dy if y is None else aten.threshold_backward(dy, y, 0)
        results = aten.native_batch_norm_backward(g, x, *rest)
        return (*results, g) if "add" in o["fused"] else results

    return run


def _layer_norm_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> tuple[Run, Adapt]:
    norm, x, w, b = torch.ops.aten.native_layer_norm, t["x"], t["weight"], t["bias"]
    size = list(w.shape)
    return lambda: norm(x, size, w, b, 1e-5), lambda r: as_arrays([r[0], r[1][:, 0], r[2][:, 0]])


def _layer_norm_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward, dy, x, w, b = (torch.ops.aten.native_layer_norm_backward, t["dy"], t["x"],
                             t["weight"], t["bias"])  # fmt: skip
    mean, rstd, size = t["mean"][:, None], t["rstd"][:, None], list(w.shape)
    return lambda: backward(dy, x, size, mean, rstd, w, b, [True, True, True])


def _linear_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    linear, x, w, b = torch.nn.functional.linear, t["x"], t["w"], t["b"]
    return lambda: linear(x, w, b)


def _linear_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    dy, x, w = t["dy"], t["x"], t["w"]
    return lambda: (dy.mm(w), dy.t().mm(x), dy.sum(0))


def _matmul(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    matmul, a, b = torch.matmul, t["a"], t["b"]
    return lambda: matmul(a, b)


def _elementwise(name: str) -> Callable[..., Run]:
    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
        function, x = getattr(torch, name), t["x"]
        return lambda: function(x)

    return build


def _relu_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward, dy, y = torch.ops.aten.threshold_backward, t["dy"], t["y"]
    return lambda: backward(dy, y, 0)


def _elementwise_backward(name: str) -> Callable[..., Run]:
    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
        backward, dy, y = getattr(torch.ops.aten, name), t["dy"], t["y"]
        return lambda: backward(dy, y)

    return build


def _smooth_forward(name: str) -> Callable[..., Run]:
    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
        function, x = getattr(torch.nn.functional, name), t["x"]
        return lambda: function(x, **o)

    return build


def _smooth_backward(name: str) -> Callable[..., Run]:
    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
        backward, dy, x = getattr(torch.ops.aten, name), t["dy"], t["x"]
        if "approximate" in o:
            return lambda: backward(dy, x, **o)
        rest = tuple(o.values())
        if name == "leaky_relu_backward":
            rest = (*rest, False)
        if name == "elu_backward":
            return lambda: backward(dy, *rest, 1.0, 1.0, False, x)
        return lambda: backward(dy, x, *rest)

    return build


def _add_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    a, b, relu = t["a"], t["b"], torch.relu_
    return (lambda: relu(a + b)) if o["relu"] else (lambda: a + b)


def _concatenate_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    cat, arrays = torch.cat, list(t.values())
    return lambda: cat(arrays, 1)


def _concatenate_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    """PyTorch's gradient is views; this is the copies that its next operations make of them."""
    dy, sizes = t["dy"], o["sizes"]
    layout = torch.contiguous_format if dy.is_contiguous() else torch.channels_last
    return lambda: [part.contiguous(memory_format=layout) for part in dy.split(sizes, 1)]


def _softmax_forward(name: str) -> Callable[..., Run]:
    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
        function, x, axis = getattr(torch, name), t["x"], o["axis"]
        return lambda: function(x, axis)

    return build


def _softmax_backward(name: str) -> Callable[..., Run]:
    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
        backward, dy, y, axis = getattr(torch.ops.aten, name), t["dy"], t["y"], o["axis"]
        return lambda: backward(dy, y, axis, dy.dtype)

    return build


def _softmax_cross_entropy(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    aten = torch.ops.aten
    logits, labels, dloss = t["logits"], t["labels"], t["dloss"]

    def run() -> Any:
        log_p = aten._log_softmax(logits, 1, False)
        loss, weight = aten.nll_loss_forward(log_p, labels, None, 0, -100)
        dlog_p = aten.nll_loss_backward(dloss, log_p, labels, None, 0, -100, weight)
        return loss, aten._log_softmax_backward_data(dlog_p, log_p, 1, logits.dtype)

    return run


def _dropout_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    dropout, x, p = torch.ops.aten.native_dropout, t["x"], o["p_drop"]
    return lambda: dropout(x, p, True)


def _dropout_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward, dy, mask = torch.ops.aten.native_dropout_backward, t["dy"], t["mask"]
    scale = 1 / (1 - o["p_drop"])
    return lambda: backward(dy, mask, scale)


def _recurrent(name: str, gradients: bool) -> Callable[..., tuple[Run, Adapt]]:
    """``torch.nn``'s layer on the case's weights; its gradients come from PyTorch's autograd."""

    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> tuple[Run, Adapt]:
        layer = getattr(torch.nn, name)(t["x"].shape[2], t["h0"].shape[1], dtype=t["x"].dtype)
        weights = [t["w_ih"], t["w_hh"], t["b_ih"], t.get("b_hh", torch.zeros_like(t["b_ih"]))]
        for (key, _), value in zip(list(layer.named_parameters()), weights, strict=True):
            setattr(layer, key, torch.nn.Parameter(value, requires_grad=gradients))
        layer.train(gradients)
        states = o["states"]
        x, first = t["x"], [t[key][None] for key in ("h0", "c0")[:states]]
        hx = first[0] if states == 1 else tuple(first)
        if not gradients:

            def adapt_forward(results: Any) -> tuple[Any, ...]:
                y, last = results
                return as_arrays([y, *(s[0] for s in (last if states > 1 else (last,)))])

            return lambda: layer(x, hx), adapt_forward
        dy = t["dy"]
        wanted = [x, *first, *list(layer.parameters())[: 2 + o["biases"]]]
        for tensor in wanted:
            tensor.requires_grad_()

        def run() -> Any:
            with torch.enable_grad():
                y, _ = layer(x, hx)
                return y, *torch.autograd.grad(y, wanted, dy)

        def adapt(results: Any) -> tuple[Any, ...]:
            y, dx, *rest = results
            return as_arrays([y, dx, *(s[0] for s in rest[:states]), *rest[states:]])

        return run, adapt

    return build


def _embedding_forward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    embedding, indices, weight = torch.nn.functional.embedding, t["indices"], t["weight"]
    return lambda: embedding(indices, weight)


def _embedding_backward(torch: Any, t: Inputs, o: dict[str, Any]) -> Run:
    backward = torch.ops.aten.embedding_dense_backward
    dy, indices, rows = t["dy"], t["indices"], o["num_embeddings"]
    return lambda: backward(dy, indices, rows, -1, False)


def _optimizer(name: str, states: tuple[str, ...]) -> Callable[..., tuple[Run, Adapt]]:
    """``torch.optim``'s class with fused=True where it has that; the state is put in by hand.

    Where there are dy and x rather than a gradient, it is made of them first.
    """

    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> tuple[Run, Adapt]:
        param = torch.nn.Parameter(t["param"])
        dy, x = t.get("dy"), t.get("x")
        param.grad = t.get("grad")
        cls, options = getattr(torch.optim, name), _optimizer_options(name, o)
        if o.get("decoupled"):
            cls = torch.optim.AdamW
        optimizer = cls([param], **options)
        kept = [array for key, array in t.items() if key.startswith("state")]
        state = dict(zip(states, kept, strict=False))
        if name != "SGD":
            state["step"] = torch.tensor(float(o.get("step", 1) - 1))
        if state:
            optimizer.state[param] = state

        def step() -> Any:
            if dy is not None and x is not None:
                param.grad = dy.t() @ x
            optimizer.step()

        return step, lambda _: as_arrays((param, *kept))

    return build


def _optimizer_of_list(name: str, states: dict[str, str]) -> Callable[..., tuple[Run, Adapt]]:
    """The same on a list of parameters; `states` is what torch calls each state of ours."""

    def build(torch: Any, t: Inputs, o: dict[str, Any]) -> tuple[Run, Adapt]:
        count = sum(key.startswith("param") for key in t)
        params = [torch.nn.Parameter(t[f"param{i}"]) for i in range(count)]
        optimizer = getattr(torch.optim, name)(params, **_optimizer_options(name, o))
        for i, param in enumerate(params):
            param.grad = t[f"grad{i}"]
            optimizer.state[param] = {theirs: t[f"{ours}{i}"] for ours, theirs in states.items()}
            if name != "SGD":
                optimizer.state[param]["step"] = torch.tensor(float(o["step"] - 1))

        def step() -> Any:
            optimizer.step()

        def results(_: Any) -> tuple[Any, ...]:
            kept = [[p, *(t[f"{ours}{i}"] for ours in states)] for i, p in enumerate(params)]
            return as_arrays([array for arrays in kept for array in arrays])

        return step, results

    return build


def _optimizer_options(name: str, o: dict[str, Any]) -> dict[str, Any]:
    defaults = {"SGD": {}, "Adam": {"lr": 1e-3}, "RMSprop": {"lr": 1e-2}, "Adagrad": {"lr": 1e-2}}
    kept = ("lr", "momentum", "weight_decay")
    options = {**defaults[name], **{k: v for k, v in o.items() if k in kept}}
    return options if name == "RMSprop" else {**options, "fused": True}


_BUILDERS: dict[str, Callable[..., Any]] = {
    "conv2d_forward": _conv2d_forward,
    "conv2d_backward": _conv2d_backward,
    "im2col": _im2col,
    "col2im": _col2im,
    "max_pool2d_forward": _max_pool2d_forward,
    "max_pool2d_backward": _max_pool2d_backward,
    "avg_pool2d_forward": _avg_pool2d_forward,
    "avg_pool2d_backward": _avg_pool2d_backward,
    "global_avg_pool2d_forward": _global_avg_pool2d_forward,
    "global_avg_pool2d_backward": _global_avg_pool2d_backward,
    "adaptive_avg_pool2d_forward": _adaptive_avg_pool2d_forward,
    "adaptive_avg_pool2d_backward": _adaptive_avg_pool2d_backward,
    "local_response_norm_forward": _local_response_norm_forward,
    "local_response_norm_backward": _local_response_norm_backward,
    **{
        f"batch_norm_{fused}{pass_}": build
        for fused in ("", "relu_", "add_relu_")
        for pass_, build in (
            ("forward", _batch_norm_forward),
            ("inference", _batch_norm_inference),
            ("backward", _batch_norm_backward),
        )
    },
    "layer_norm_forward": _layer_norm_forward,
    "layer_norm_backward": _layer_norm_backward,
    "linear_forward": _linear_forward,
    "linear_backward": _linear_backward,
    "matmul": _matmul,
    "relu_forward": _elementwise("relu"),
    "relu_backward": _relu_backward,
    "sigmoid_forward": _elementwise("sigmoid"),
    "sigmoid_backward": _elementwise_backward("sigmoid_backward"),
    "tanh_forward": _elementwise("tanh"),
    "tanh_backward": _elementwise_backward("tanh_backward"),
    **{
        f"{stem}_forward": _smooth_forward(stem)
        for stem in ("leaky_relu", "elu", "gelu", "silu", "softplus", "hardswish")
    },
    **{
        f"{stem}_backward": _smooth_backward(f"{stem}_backward")
        for stem in ("leaky_relu", "elu", "gelu", "silu", "softplus", "hardswish")
    },
    "add_forward": _add_forward,
    "concatenate_forward": _concatenate_forward,
    "concatenate_backward": _concatenate_backward,
    "softmax_forward": _softmax_forward("softmax"),
    "softmax_backward": _softmax_backward("_softmax_backward_data"),
    "log_softmax_forward": _softmax_forward("log_softmax"),
    "log_softmax_backward": _softmax_backward("_log_softmax_backward_data"),
    "softmax_cross_entropy": _softmax_cross_entropy,
    "dropout_forward": _dropout_forward,
    "dropout_backward": _dropout_backward,
    "lstm_forward": _recurrent("LSTM", False),
    "lstm": _recurrent("LSTM", True),
    "gru_forward": _recurrent("GRU", False),
    "gru": _recurrent("GRU", True),
    "rnn_forward": _recurrent("RNN", False),
    "rnn": _recurrent("RNN", True),
    "embedding_forward": _embedding_forward,
    "embedding_backward": _embedding_backward,
    "sgd_step": _optimizer("SGD", ("momentum_buffer",)),
    "adam_step": _optimizer("Adam", ("exp_avg", "exp_avg_sq")),
    "rmsprop_step": _optimizer("RMSprop", ("square_avg",)),
    "adagrad_step": _optimizer("Adagrad", ("sum",)),
    "sgd_steps": _optimizer_of_list("SGD", {"m": "momentum_buffer"}),
    "adam_steps": _optimizer_of_list("Adam", {"m": "exp_avg", "v": "exp_avg_sq"}),
    "linear_sgd_step": _optimizer("SGD", ("momentum_buffer",)),
    "linear_adam_step": _optimizer("Adam", ("exp_avg", "exp_avg_sq")),
}
