"""Learning-rate schedules with PyTorch's names, defaults and values.

A schedule sets the rate of its optimizer when it is made, and again at every `step`, which is
called after the optimizer's. Schedules that multiply act on the rate that they find, so several
can share an optimizer.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydl.optim import Optimizer

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class LRScheduler(ABC):
    """Base: `last_epoch` counts steps from 0, `base_lrs` are the rates at the start.

    A subclass defines `get_lr`, the rates of the groups at `last_epoch`.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError("last_epoch: expected -1 for an optimizer without initial_lr")
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    @abstractmethod
    def get_lr(self) -> list[float]:
        """Return the rates of the groups at `last_epoch`."""

    def get_last_lr(self) -> list[float]:
        """Return the rates that were set last."""
        return self._last_lr

    def step(self) -> None:
        """Go to the next epoch and set the rates."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = list(rates)

    def _undo(self) -> None:
        self.last_epoch -= 1

    def _restart(self) -> None:
        """Set the rates of epoch 0."""
        self.last_epoch = 0
        self._set(self.get_lr())

    def state_dict(self) -> dict[str, Any]:
        """Return all attributes but the optimizer and functions."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("optimizer", "lr_lambdas")
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the attributes from `state_dict`; ValueError if it is another schedule's."""
        own = self.state_dict()
        if set(state_dict) != set(own):
            raise ValueError(f"state_dict: expected {sorted(own)}, got {sorted(state_dict)}")
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """rate = base * lr_lambda(epoch), with one function, or one per group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ):
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"lr_lambda: expected {groups} functions, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates of the groups at `last_epoch`."""
        return [
            base * factor(self.last_epoch)
            for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


def _finite(name: str, value: float) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    return float(value)


class _Multiplied(LRScheduler):
    """rate = low + (base - low) * factor(epoch), by the ratio of two successive factors."""

    eta_min = 0.0

    @abstractmethod
    def _factor(self, epoch: int) -> float:
        """The factor of an epoch."""

    def get_lr(self) -> list[float]:
        """Return the rates of the groups at `last_epoch`."""
        low, now = self.eta_min, self._factor(self.last_epoch)
        before = self._factor(self.last_epoch - 1) if self.last_epoch > 0 else 1.0
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if now == before:
            return rates
        if before == 0:
            pairs = zip(rates, self.base_lrs, strict=True)
            return [rate + (base - low) * now for rate, base in pairs]
        return [low + (rate - low) * (now / before) for rate in rates]

    def _restart(self) -> None:
        self.last_epoch, low, factor = 0, self.eta_min, self._factor(0)
        self._set([low + (base - low) * factor for base in self.base_lrs])


class StepLR(_Multiplied):
    """Multiply by `gamma` every `step_size` epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ):
        if step_size < 1:
            raise ValueError(f"step_size: expected at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, _finite("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(_Multiplied):
    """Multiply by `gamma` at every one of the epochs `milestones`."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ):
        self.milestones, self.gamma = sorted(milestones), _finite("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        return self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(_Multiplied):
    """Multiply by `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = _finite("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        return self.gamma**epoch


class LinearLR(_Multiplied):
    """Multiply by a factor that goes from `start_factor` to `end_factor` in `total_iters`."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor: expected above 0 to 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"end_factor: expected 0 to 1, got {end_factor}")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        share = min(epoch, self.total_iters) / self.total_iters if self.total_iters else 1.0
        return self.start_factor + (self.end_factor - self.start_factor) * share


class CosineAnnealingLR(_Multiplied):
    """Half a cosine from the base rate to `eta_min` in `T_max` epochs, and back.

    Source: Loshchilov and Hutter 2016, SGDR.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ):
        if T_max < 1:
            raise ValueError(f"T_max: expected at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        if epoch % (2 * self.T_max) == self.T_max:
            return 0.0
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the base rate to `eta_min` in T_0, T_0 T_mult, ... epochs, repeated.

    Source: Loshchilov and Hutter 2016, SGDR.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ):
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected an int of at least 1, got {value}")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.T_i, self.T_cur = T_0, float(last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rates of the groups `T_cur` epochs into a period of `T_i`."""
        factor = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go to the next epoch, or to `epoch`, which may have a fraction, and set the rates."""
        epoch = self.last_epoch + 1 if epoch is None else epoch
        if epoch < 0:
            raise ValueError(f"epoch: expected at least 0, got {epoch}")
        self.T_cur, self.T_i = epoch, self.T_0
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            while self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _restart(self) -> None:
        self.step(0)


class OneCycleLR(LRScheduler):
    """Rise from max_lr / div_factor to `max_lr`, then fall to that / final_div_factor.

    The momentum (SGD, RMSprop) or first beta (Adam) goes the other way. `total_steps` is
    epochs * steps_per_epoch if it is None; `three_phase` falls as it rose before the last phase.

    Source: Smith and Topin 2017, Super-convergence.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("total_steps: expected it, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1:
            raise ValueError(f"total_steps: expected at least 1, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start: expected 0 to 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'anneal_strategy: expected "cos" or "linear", got {anneal_strategy}')
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        self.cycle_momentum = cycle_momentum
        groups = optimizer.param_groups
        self.max_lrs = _per_group("max_lr", max_lr, len(groups))
        self.base_momenta = _per_group("base_momentum", base_momentum, len(groups))
        self.max_momenta = _per_group("max_momentum", max_momentum, len(groups))
        if cycle_momentum and not {"momentum", "betas"} & set(groups[0]):
            raise ValueError(
                "cycle_momentum: expected False for an optimizer without momentum or betas"
            )
        if last_epoch == -1:
            for group, top in zip(groups, self.max_lrs, strict=True):
                group["initial_lr"] = top / div_factor
        self.final_div_factor = final_div_factor
        rise = pct_start * total_steps - 1
        self._phases = [(rise, "low", "high"), (total_steps - 1, "high", "end")]
        if three_phase:
            self._phases[1:] = [
                (2 * rise, "high", "low"),
                (total_steps - 1, "low", "end"),
            ]
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    def get_lr(self) -> list[float]:
        """Return the rates at `last_epoch`; the momenta are set, too."""
        if self.last_epoch > self.total_steps:
            raise ValueError(f"step: expected at most {self.total_steps} steps, got one more")
        ends = [phase[0] for phase in self._phases]
        phase = min(bisect_left(ends, self.last_epoch), len(ends) - 1)
        end, source, target = self._phases[phase]
        start = ends[phase - 1] if phase else 0.0
        share = (self.last_epoch - start) / (end - start) if end != start else 1.0
        rates = []
        for i, group in enumerate(self.optimizer.param_groups):
            low, high = self.base_lrs[i], self.max_lrs[i]
            rate = {"low": low, "high": high, "end": low / self.final_div_factor}
            rates.append(self._between(rate[source], rate[target], share))
            if self.cycle_momentum:
                high, low = self.max_momenta[i], self.base_momenta[i]
                momentum = {"low": high, "high": low, "end": high}
                value = self._between(momentum[source], momentum[target], share)
                if "betas" in group:
                    group["betas"] = (value, *group["betas"][1:])
                else:
                    group["momentum"] = value
        return rates


def _per_group(name: str, value: float | Sequence[float], groups: int) -> list[float]:
    values = [value] * groups if isinstance(value, (int, float)) else list(value)
    if len(values) != groups:
        raise ValueError(f"{name}: expected a number or {groups} of them, got {value}")
    return values


class SequentialLR(LRScheduler):
    """Run `schedulers` one after another; each of the epochs `milestones` starts the next."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ):
        if not schedulers:
            raise ValueError("schedulers: expected at least one, got none")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"milestones: expected {len(schedulers) - 1} for {len(schedulers)} schedulers, "
                f"got {len(milestones)}"
            )
        if any(scheduler.optimizer is not optimizer for scheduler in schedulers):
            raise ValueError("schedulers: expected the optimizer of the sequence")
        self.optimizer = optimizer
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self._schedulers:
            scheduler._undo()
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first.step()
        self._last_lr = first.get_last_lr()

    def _undo(self) -> None:
        self.last_epoch -= 1
        for scheduler in self._schedulers:
            scheduler._undo()

    def get_lr(self) -> list[float]:
        """Return the rates of the groups at `last_epoch`, those of the epoch's schedule."""
        return self._schedulers[bisect_right(self._milestones, self.last_epoch)].get_last_lr()

    def step(self) -> None:
        """Go to the next epoch; step the schedule of that epoch, or start it."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        if i and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i]._restart()
        else:
            self._schedulers[i].step()
        self._last_lr = self.get_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return all attributes but the optimizer, with the state of every schedule."""
        state = super().state_dict()
        return {**state, "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the attributes from `state_dict`; ValueError if it is another schedule's."""
        schedulers, states = self._schedulers, state_dict.get("_schedulers", ())
        if len(states) != len(schedulers):
            raise ValueError(
                f"state_dict: expected {len(schedulers)} schedules, got {len(states)}"
            )
        super().load_state_dict({**state_dict, "_schedulers": schedulers})
        for scheduler, state in zip(schedulers, states, strict=True):
            scheduler.load_state_dict(state)


class ReduceLROnPlateau(LRScheduler):
    """Multiply by `factor` when the metric has not improved for more than `patience` epochs.

    Better means below best * (1 - threshold) ("rel") or best - threshold ("abs"), for mode "min";
    above, for "max". After a reduction, `cooldown` epochs are not counted. A rate stays at least
    `min_lr`, and changes by less than `eps` are left out.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ):
        if mode not in ("min", "max"):
            raise ValueError(f'mode: expected "min" or "max", got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'threshold_mode: expected "rel" or "abs", got {threshold_mode!r}')
        if factor >= 1:
            raise ValueError(f"factor: expected below 1, got {factor}")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = _per_group("min_lr", min_lr, len(optimizer.param_groups))
        self.last_epoch = 0
        self._last_lr = self.get_lr()
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def is_better(self, a: float, best: float) -> bool:
        """Return whether `a` improves on `best` by the threshold."""
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "abs":
            return sign * a > sign * best + self.threshold
        return sign * a > sign * best * (1 + sign * self.threshold)

    def get_lr(self) -> list[float]:
        """Return the rates of the groups, as they are."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, metrics: Any = None) -> None:  # type: ignore[override]
        """Record the metric of an epoch, and reduce the rates if it is time.

        Raises
        ------
        TypeError
            If `metrics` is missing.
        """
        if metrics is None:
            raise TypeError("metrics: expected the epoch's metric, got None")
        current = float(metrics)
        self.last_epoch += 1
        if self.is_better(current, self.best):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                rate = max(group["lr"] * self.factor, least)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self.get_lr()
