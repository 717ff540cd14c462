"""Optimizers with PyTorch's names, defaults and updates. Each step is a kernel, in place.

`optim.lr_scheduler` is `pydl.schedules`.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Product, Tensor, enable_grad, keep_products, kept_gradient, note_change

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
]


def __getattr__(name: str) -> Any:
    if name == "lr_scheduler":
        from pydl import schedules

        return schedules
    raise AttributeError(f"module 'pydl.optim' has no attribute {name!r}")


def _at_least_zero(**options: float) -> None:
    for name, value in options.items():
        if not isinstance(value, numbers.Real):
            raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
        if not value >= 0:
            raise ValueError(f"{name}: expected at least 0, got {value}")


_Update = tuple[np.ndarray, Any, dict[str, Any]]  # a parameter, its gradient, its state


def _listed(params: Any, name: str = "params") -> list[Any]:
    if isinstance(params, (Tensor, np.ndarray)) or not isinstance(params, Iterable):
        raise TypeError(f"{name}: expected an iterable, got {type(params).__name__}")
    return list(params)


class Optimizer(ABC):
    """Parameters in groups that share options, and the state of each parameter.

    Parameters
    ----------
    params : iterable of Tensor, or of dicts
        A dict has "params" and the options in which its group differs from `defaults`.
    defaults : dict
        The options of every group.
    fuse_linear : bool
        Make the gradients of fully connected layers' weights in `step`, a block at a time, and use
        each block while it is in the cache, rather than in backward as whole arrays. The results
        are the same bits; steps of large layers on small batches take less time, and their
        gradients no memory. Until the step such a weight keeps what its gradient is the product
        of. The product is made at once where somebody looks at `.grad`, as `clip_grad_norm_` does,
        and where gradients add up, from two backwards or from a weight that is used twice; the step
        is then an ordinary one. `state_dict` is the same with and without.

    Attributes
    ----------
    param_groups : list of dict
    state : dict from a parameter to its state, arrays and numbers by name
    """

    def __init__(self, params: Any, defaults: dict[str, Any], *, fuse_linear: bool = False):
        self.defaults = defaults
        self.fuse_linear = fuse_linear
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        groups = _listed(params)
        if not groups:
            raise ValueError("params: expected at least one parameter, got none")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters: ``{"params": ..., option: value, ...}``."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group: expected a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ValueError(f"param_group: expected 'params', got {sorted(param_group)}")
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else _listed(params)
        unknown = set(param_group) - set(self.defaults) - {"params", "initial_lr"}
        if unknown:
            raise ValueError(
                f"param_group: expected {sorted(self.defaults)}, got {sorted(unknown)}"
            )
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(f"params: expected Tensors, got {type(param).__name__}")
            if not param.is_leaf:
                raise ValueError("params: expected leaves, got the result of an op")
            if id(param) in seen:
                raise ValueError("params: a parameter appears twice")
            seen.add(id(param))
        if self.fuse_linear:
            for param in params:
                keep_products(param)
        self.param_groups.append({**self.defaults, **param_group, "params": params})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every gradient, or fill it with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none or param.grad is None:
                    param.grad = None
                else:
                    param.grad.fill(0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; return what `closure` returns.

        `closure` is called first; it computes the loss and its gradients.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            updates = []
            for param in group["params"]:
                grad = kept_gradient(param) if self.fuse_linear else param.grad
                if grad is not None:
                    grad = -grad if group["maximize"] else grad
                    updates.append((param.data, grad, self.state.setdefault(param, {})))
                if self.fuse_linear:
                    keep_products(param)  # again, in case it was frozen in between
            self._update_all(updates, group)
            note_change(*[param for param, _, _ in updates])
        return loss

    def _update_all(self, updates: list[_Update], group: dict[str, Any]) -> None:
        """Change the parameters of a group, each as `_update` does."""
        for param, grad, state in updates:
            self._update(param, grad, state, group)

    @abstractmethod
    def _update(
        self, param: np.ndarray, grad: Any, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """Change one parameter and its state in place, by its gradient and its group's options.

        The gradient is an array; if `fuse_linear`, it may be a `pydl.autograd.Product`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the state, by the parameter's number, and the groups' options."""
        places: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                places[id(param)] = len(places)
            groups.append({**group, "params": [places[id(p)] for p in group["params"]]})
        state = {
            places[id(param)]: {
                name: value.copy() if isinstance(value, np.ndarray) else value
                for name, value in values.items()
            }
            for param, values in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take copies of a state from `state_dict`; nothing changes on an error.

        Raises
        ------
        ValueError
            If it is no state, the groups have other sizes, or an array another shape than its
            parameter.
        """
        for name in ("state", "param_groups"):
            if name not in state_dict:
                raise ValueError(f"state_dict: expected {name!r}, got {sorted(state_dict)}")
        sizes = [len(group["params"]) for group in self.param_groups]
        given = [len(group["params"]) for group in state_dict["param_groups"]]
        if sizes != given:
            raise ValueError(f"state_dict: expected groups of {sizes} parameters, got {given}")
        params = [p for group in self.param_groups for p in group["params"]]
        numbers = [n for group in state_dict["param_groups"] for n in group["params"]]
        state: dict[Tensor, dict[str, Any]] = {}
        for param, number in zip(params, numbers, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                if isinstance(value, np.ndarray) and value.ndim:
                    if value.shape != param.shape:
                        raise ValueError(
                            f"state_dict: {name} of parameter {number}: expected shape "
                            f"{param.shape}, got {value.shape}"
                        )
                    value = np.array(value, dtype=param.dtype, order="C")
                elif isinstance(value, np.ndarray) and not param.ndim and name != "step":
                    value = np.array(value, dtype=param.dtype)
                elif name == "step":
                    value = int(value)
                state.setdefault(param, {})[name] = value
        self.state = state
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: value for name, value in loaded.items() if name != "params"})

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


class SGD(Optimizer):
    """Stochastic gradient descent, by default without momentum: `kernels.sgd_steps`.

    g = p.grad + weight_decay p;  v = momentum v + (1 - dampening) g, at first v = g;  p -= lr v, or
    with `nesterov` lr (g + momentum v). `maximize` goes up the gradient instead of down.

    `fuse_linear`, which PyTorch does not have, is described at `Optimizer`: it makes the steps of
    large fully connected layers shorter, with the same results (`kernels.linear_sgd_step`).

    Source: Sutskever et al. 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        fuse_linear: bool = False,
    ):
        _at_least_zero(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("nesterov: needs a momentum above 0 and a dampening of 0")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
            fuse_linear=fuse_linear,
        )

    def _update(
        self, param: np.ndarray, grad: Any, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        first = self._begin(param, state, group)
        velocity, options = state.get("momentum_buffer"), self._options(group, first)
        if isinstance(grad, Product):
            kernels.linear_sgd_step(param, grad.dy, grad.x, velocity, **options)
        else:
            kernels.sgd_step(param, grad, velocity, **options)

    def _update_all(self, updates: list[_Update], group: dict[str, Any]) -> None:
        """Change the parameters of a group: those of one dtype and of one age in one call."""
        if type(self)._update is not SGD._update:
            return super()._update_all(updates, group)
        lists: dict[Any, list[np.ndarray]] = {}
        for param, grad, state in updates:
            if isinstance(grad, Product):
                self._update(param, grad, state, group)
                continue
            first = self._begin(param, state, group)
            velocity = (state["momentum_buffer"],) if group["momentum"] != 0 else ()
            lists.setdefault((param.dtype, first), []).extend((param, grad, *velocity))
        for (_, first), arrays in lists.items():
            kernels.sgd_steps(*arrays, **self._options(group, first))

    @staticmethod
    def _begin(param: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> bool:
        """Make the velocity if there is none yet; return whether it was made."""
        first = group["momentum"] != 0 and "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = np.zeros_like(param)
        return first

    @staticmethod
    def _options(group: dict[str, Any], first: bool) -> dict[str, Any]:
        names = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
        return {**{name: group[name] for name in names}, "initialize": first}


class Adam(Optimizer):
    """Adam: `kernels.adam_steps`.

    With (b1, b2) = `betas`: g = p.grad + weight_decay p;  m = b1 m + (1 - b1) g;
    v = b2 v + (1 - b2) g²;  in step t, from 1: p -= lr m' / (sqrt(v') + eps), m' = m / (1 - b1^t),
    v' = v / (1 - b2^t). `maximize` goes up the gradient; of `amsgrad`, only False is there.

    `fuse_linear`, which PyTorch does not have, is described at `Optimizer`: it makes the steps of
    large fully connected layers shorter, with the same results (`kernels.linear_adam_step`).

    Source: Kingma and Ba 2014.
    """

    _decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        fuse_linear: bool = False,
    ):
        _at_least_zero(lr=lr, eps=eps, weight_decay=weight_decay)
        if not isinstance(betas, (tuple, list)):
            raise TypeError(f"betas: expected a tuple, got {type(betas).__name__}")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), got {betas}")
        if amsgrad:
            raise ValueError("amsgrad: expected False, got True")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
            fuse_linear=fuse_linear,
        )

    def _update(
        self, param: np.ndarray, grad: Any, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        step = self._begin(param, state)
        moments, options = (state["exp_avg"], state["exp_avg_sq"]), self._options(group, step)
        if isinstance(grad, Product):
            kernels.linear_adam_step(param, grad.dy, grad.x, *moments, **options)
        else:
            kernels.adam_step(param, grad, *moments, **options)

    def _update_all(self, updates: list[_Update], group: dict[str, Any]) -> None:
        """Change the parameters of a group: those of one dtype and of one age in one call."""
        if type(self)._update is not Adam._update:
            return super()._update_all(updates, group)
        lists: dict[Any, list[np.ndarray]] = {}
        for param, grad, state in updates:
            if isinstance(grad, Product):
                self._update(param, grad, state, group)
                continue
            key = param.dtype, self._begin(param, state)
            lists.setdefault(key, []).extend((param, grad, state["exp_avg"], state["exp_avg_sq"]))
        for (_, step), arrays in lists.items():
            kernels.adam_steps(*arrays, **self._options(group, step))

    @staticmethod
    def _begin(param: np.ndarray, state: dict[str, Any]) -> int:
        """Make the moments if there are none yet; return the number of this step."""
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(param), exp_avg_sq=np.zeros_like(param))
        state["step"] += 1
        return int(state["step"])

    def _options(self, group: dict[str, Any], step: int) -> dict[str, Any]:
        return {
            "step": step,
            "lr": group["lr"],
            "beta1": group["betas"][0],
            "beta2": group["betas"][1],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "decoupled": self._decoupled,
        }


class AdamW(Adam):
    """Adam whose weight decay is no part of g, but p *= 1 - lr weight_decay before each step.

    The other options are those of `Adam`.

    Source: Loshchilov and Hutter 2017.
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        fuse_linear: bool = False,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            fuse_linear=fuse_linear,
        )


class RMSprop(Optimizer):
    """RMSprop: `kernels.rmsprop_step`.

    g = p.grad + weight_decay p;  s = alpha s + (1 - alpha) g²;  d = g / (sqrt(s) + eps), or with
    `centered` s less the square of the running mean of g;  v = momentum v + d;  p -= lr v.
    `maximize` goes up the gradient.

    Source: Tieleman and Hinton 2012.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ):
        _at_least_zero(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _update(
        self, param: np.ndarray, grad: Any, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        names = ["square_avg"]
        names += ["momentum_buffer"] if group["momentum"] > 0 else []
        names += ["grad_avg"] if group["centered"] else []
        state.setdefault("step", 0)
        for name in names:
            if name not in state:
                state[name] = np.zeros_like(param)
        state["step"] += 1
        kernels.rmsprop_step(
            param,
            grad,
            state["square_avg"],
            state["momentum_buffer"] if group["momentum"] > 0 else None,
            state["grad_avg"] if group["centered"] else None,
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
        )


class Adagrad(Optimizer):
    """Adagrad: `kernels.adagrad_step` with the rate lr / (1 + (step - 1) lr_decay).

    g = p.grad + weight_decay p;  s = s + g², from `initial_accumulator_value`;
    p -= rate g / (sqrt(s) + eps). `maximize` goes up the gradient.

    Source: Duchi, Hazan and Singer 2011.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ):
        _at_least_zero(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def _update(
        self, param: np.ndarray, grad: Any, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        if not state:
            state.update(step=0, sum=np.full_like(param, group["initial_accumulator_value"]))
        state["step"] += 1
        kernels.adagrad_step(
            param,
            grad,
            state["sum"],
            lr=group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"]),
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[np.ndarray]:
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    grads = [tensor.grad for tensor in _listed(parameters, "parameters")]
    return [grad for grad in grads if grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients by one factor, so that their norm taken together is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are left out.
    max_norm, norm_type : float
        `norm_type` may be infinity.
    error_if_nonfinite : bool

    Returns
    -------
    float, the norm before

    Raises
    ------
    RuntimeError
        If the norm is not finite and `error_if_nonfinite` is set.
    TypeError, ValueError
        `max_norm` that is no number of at least 0, `norm_type` that is none above 0.

    Source: Pascanu, Mikolov and Bengio 2013.
    """
    _at_least_zero(max_norm=max_norm, norm_type=norm_type)
    if norm_type == 0:
        raise ValueError("norm_type: expected more than 0, got 0")
    grads = _gradients(parameters)
    if norm_type == math.inf:
        total = float(np.max([np.abs(g).max(initial=0) for g in grads], initial=0))
    elif norm_type == 2:
        total = math.sqrt(sum(float(np.vdot(g, g)) for g in grads))
    else:
        total = sum(float((np.abs(g) ** norm_type).sum()) for g in grads) ** (1 / norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(f"parameters: expected a finite gradient norm, got {total}")
    factor = min(max_norm / (total + 1e-6), 1.0) if not math.isnan(total) else math.nan
    if factor != 1:
        for g in grads:
            g *= g.dtype.type(factor)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of the gradients to -clip_value .. clip_value.

    Raises TypeError or ValueError for a `clip_value` that is no number of at least 0.
    """
    _at_least_zero(clip_value=clip_value)
    for g in _gradients(parameters):
        np.clip(g, -clip_value, clip_value, out=g)
