"""A case's operation as an ONNX model, which onnxruntime and openvino run.

Weights are constants of the model, as in inference; images, sequences and both factors of a matrix
product are its inputs. Operator semantics: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pydl.bench.cases import Case, Inputs

__all__ = ["Model", "OPERATIONS", "build"]

_OPSET, _IR_VERSION = 20, 10
_ONNX_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}  # i,o,f,c and z,r,h of ours


class Model(NamedTuple):
    """A serialised model, its inputs, and what makes its outputs the case's results."""

    content: bytes
    feeds: dict[str, np.ndarray]
    adapt: Callable[[Sequence[np.ndarray]], tuple[Any, ...]]


class _Graph:
    """A model in the making."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.feeds: dict[str, np.ndarray] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.indices: set[str] = set()  # results that are int64

    def feed(self, **arrays: np.ndarray) -> list[str]:
        """Name inputs of the model."""
        self.feeds |= {name: np.ascontiguousarray(a) for name, a in arrays.items()}
        return list(arrays)

    def constant(self, **arrays: np.ndarray) -> list[str]:
        """Name constants of the model."""
        self.constants |= {name: np.ascontiguousarray(a) for name, a in arrays.items()}
        return list(arrays)

    def node(
        self, kind: str, inputs: Sequence[str], count: int = 1, **attributes: Any
    ) -> list[str]:
        """Add an operator; the names of its results."""
        names = [f"y{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def serialise(self, outputs: Sequence[str], dtypes: Sequence[np.dtype]) -> bytes:
        """The model with these results."""
        helper = self.onnx.helper

        def info(name: str, dtype: np.dtype, shape: Sequence[int] | None) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            return helper.make_tensor_value_info(name, kind, shape)

        graph = helper.make_graph(
            self.nodes,
            "case",
            [info(name, a.dtype, a.shape) for name, a in self.feeds.items()],
            [info(name, dtype, None) for name, dtype in zip(outputs, dtypes, strict=True)],
            [self.onnx.numpy_helper.from_array(a, name) for name, a in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        return model.SerializeToString()


Made = tuple[list[str], Callable[[Sequence[np.ndarray]], tuple[Any, ...]]]


def build(onnx: Any, case: Case, inputs: Inputs) -> Model | None:
    """The model of a case; None if there is no such operator, and in double precision.

    An operator's attributes, as epsilon, are single precision in ONNX, and most runtimes have few
    operators in another.
    """
    make = OPERATIONS.get(case.operation)
    real = next(a.dtype for a in inputs.values() if a.dtype.kind == "f")
    if make is None or real != np.float32:
        return None
    graph = _Graph(onnx)
    outputs, adapt = make(graph, inputs, dict(case.options))
    dtypes = [np.dtype(np.int64) if name in graph.indices else real for name in outputs]
    return Model(graph.serialise(outputs, dtypes), graph.feeds, adapt)


def _window(o: dict[str, Any]) -> dict[str, Any]:
    return {
        "kernel_shape": [o["kernel_size"]] * 2,
        "strides": [o["stride"]] * 2,
        "pads": [o["padding"]] * 4,
        "ceil_mode": int(o["ceil_mode"]),
    }


def _conv2d(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    names = [*g.feed(x=a["x"]), *g.constant(w=a["w"], b=a["b"])]
    options = {"strides": [o["stride"]] * 2, "pads": [o["padding"]] * 4, "group": o["groups"]}
    return g.node("Conv", names, **options), tuple


def _max_pool2d(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    y, indices = g.node("MaxPool", g.feed(x=a["x"]), 2, **_window(o))
    g.indices.add(indices)
    plane = a["x"].shape[2] * a["x"].shape[3]
    return [y, indices], lambda r: (r[0], (r[1] % plane).astype(np.int32))


def _avg_pool2d(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    return g.node("AveragePool", g.feed(x=a["x"]), count_include_pad=1, **_window(o)), tuple


def _global_avg_pool2d(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    return g.node("GlobalAveragePool", g.feed(x=a["x"])), lambda r: (r[0][:, :, 0, 0],)


def _batch_norm_inference(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    weights = {name: a[name] for name in ("weight", "bias", "mean")} | {"var": a["rstd"]}
    y = g.node("BatchNormalization", [*g.feed(x=a["x"]), *g.constant(**weights)], epsilon=1e-5)
    if "add" in o["fused"]:
        y = g.node("Add", [*y, *g.feed(residual=a["residual"])])
    return (g.node("Relu", y) if o["fused"] else y), tuple


def _layer_norm(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    names = [*g.feed(x=a["x"]), *g.constant(w=a["weight"], b=a["bias"])]
    y = g.node("LayerNormalization", names, 3, axis=-1, epsilon=1e-5)
    return y, lambda r: (r[0], r[1][:, 0], r[2][:, 0])


def _response_norm(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    options = {"size": o["size"], "alpha": o["alpha"], "beta": o["beta"], "bias": o["k"]}
    return g.node("LRN", g.feed(x=a["x"]), **options), tuple


def _linear(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    names = [*g.feed(x=a["x"]), *g.constant(w=a["w"], b=a["b"])]
    return g.node("Gemm", names, transB=1), tuple


def _matmul(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    return g.node("MatMul", g.feed(a=a["a"], b=a["b"])), tuple


def _unary(kind: str, **renamed: str) -> Callable[[_Graph, Inputs, dict[str, Any]], Made]:
    """An operator of x whose attributes are options of the case under other names."""

    def make(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
        options = {theirs: o[ours] for theirs, ours in renamed.items()}
        return g.node(kind, g.feed(x=a["x"]), **options), tuple

    return make


def _silu(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    x = g.feed(x=a["x"])
    return g.node("Mul", [*x, *g.node("Sigmoid", x)]), tuple


def _add(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    y = g.node("Add", g.feed(a=a["a"], b=a["b"]))
    return (g.node("Relu", y) if o["relu"] else y), tuple


def _concatenate(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    return g.node("Concat", g.feed(**{f"x{key}": x for key, x in a.items()}), axis=1), tuple


def _embedding(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
    weight, indices = g.constant(w=a["weight"]), g.feed(indices=a["indices"])
    return g.node("Gather", [*weight, *indices]), tuple


def _recurrent(stem: str) -> Callable[[_Graph, Inputs, dict[str, Any]], Made]:
    order = _ONNX_GATES[stem]

    def make(g: _Graph, a: Inputs, o: dict[str, Any]) -> Made:
        hidden = a["h0"].shape[1]

        def sorted_gates(w: np.ndarray) -> np.ndarray:
            return np.concatenate([w[i * hidden : (i + 1) * hidden] for i in order])

        biases = [a["b_ih"], a.get("b_hh", np.zeros_like(a["b_ih"]))]
        both = np.concatenate([sorted_gates(b) for b in biases])
        weights = {"w": sorted_gates(a["w_ih"])[None], "r": sorted_gates(a["w_hh"])[None]}
        names = [*g.feed(x=a["x"]), *g.constant(**weights, b=both[None]), ""]
        names += g.feed(**{name: a[name][None] for name in ("h0", "c0")[: o["states"]]})
        options = {"linear_before_reset": 1} if stem == "gru" else {}
        y = g.node(stem.upper(), names, 1 + o["states"], hidden_size=hidden, **options)
        return y, lambda r: (r[0][:, 0], *(state[0] for state in r[1:]))

    return make


OPERATIONS: dict[str, Callable[[_Graph, Inputs, dict[str, Any]], Made]] = {
    "conv2d_forward": _conv2d,
    "max_pool2d_forward": _max_pool2d,
    "avg_pool2d_forward": _avg_pool2d,
    "global_avg_pool2d_forward": _global_avg_pool2d,
    **{
        f"batch_norm_{fused}inference": _batch_norm_inference
        for fused in ("", "relu_", "add_relu_")
    },
    "layer_norm_forward": _layer_norm,
    "local_response_norm_forward": _response_norm,
    "linear_forward": _linear,
    "matmul": _matmul,
    "relu_forward": _unary("Relu"),
    "sigmoid_forward": _unary("Sigmoid"),
    "tanh_forward": _unary("Tanh"),
    "leaky_relu_forward": _unary("LeakyRelu", alpha="negative_slope"),
    "elu_forward": _unary("Elu", alpha="alpha"),
    "gelu_forward": _unary("Gelu", approximate="approximate"),
    "silu_forward": _silu,
    "hardswish_forward": _unary("HardSwish"),
    "add_forward": _add,
    "concatenate_forward": _concatenate,
    "softmax_forward": _unary("Softmax", axis="axis"),
    "log_softmax_forward": _unary("LogSoftmax", axis="axis"),
    "embedding_forward": _embedding,
    **{f"{stem}_forward": _recurrent(stem) for stem in _ONNX_GATES},
}
