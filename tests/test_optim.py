"""Optimizers against hand-written steps; schedules against closed forms and recorded values."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from pydl import Tensor, kernels, nn, no_grad, optim, schedules, train
from pydl import functional as F
from pydl.autograd import Product, kept_gradient
from pydl.kernels import reference

STEPS = 5


def sgd(options):
    lr, mu = options.get("lr", 1e-3), options.get("momentum", 0)
    damp, decay = options.get("dampening", 0), options.get("weight_decay", 0)

    def step(p, g, s):
        g = g + decay * p
        if mu:
            s["v"] = g if "v" not in s else mu * s["v"] + (1 - damp) * g
            g = g + mu * s["v"] if options.get("nesterov") else s["v"]
        return p - lr * g

    return step


def adam(options, decoupled=False):
    lr, (b1, b2) = options.get("lr", 1e-3), options.get("betas", (0.9, 0.999))
    eps, decay = options.get("eps", 1e-8), options.get("weight_decay", 0.01 * decoupled)

    def step(p, g, s):
        t = s["t"] = s.get("t", 0) + 1
        if decoupled:
            p = p - lr * decay * p
        else:
            g = g + decay * p
        m = s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        v = s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
        return p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)

    return step


def rmsprop(options):
    lr, alpha = options.get("lr", 1e-2), options.get("alpha", 0.99)
    eps, decay = options.get("eps", 1e-8), options.get("weight_decay", 0)

    def step(p, g, s):
        g = g + decay * p
        square = s["s"] = alpha * s.get("s", 0) + (1 - alpha) * g * g
        if options.get("centered"):
            s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
            square = square - s["a"] ** 2
        d = g / (np.sqrt(square) + eps)
        if options.get("momentum"):
            d = s["b"] = options["momentum"] * s.get("b", 0) + d
        return p - lr * d

    return step


def adagrad(options):
    lr, late = options.get("lr", 1e-2), options.get("lr_decay", 0)
    eps, decay = options.get("eps", 1e-10), options.get("weight_decay", 0)

    def step(p, g, s):
        g = g + decay * p
        t = s["t"] = s.get("t", 0) + 1
        s["s"] = s.get("s", options.get("initial_accumulator_value", 0)) + g * g
        return p - lr / (1 + (t - 1) * late) * g / (np.sqrt(s["s"]) + eps)

    return step


CASES = [
    (optim.SGD, sgd, {}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.2, "maximize": True}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    (optim.Adam, adam, {"lr": 0.1, "maximize": True, "weight_decay": 0.1}),
    (optim.AdamW, lambda o: adam(o, True), {}),
    (optim.AdamW, lambda o: adam(o, True), {"lr": 0.1, "weight_decay": 0.3}),
    (optim.RMSprop, rmsprop, {}),
    (optim.RMSprop, rmsprop, {"alpha": 0.5, "eps": 1e-2, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"momentum": 0.9, "centered": True}),
    (optim.Adagrad, adagrad, {}),
    (
        optim.Adagrad,
        adagrad,
        {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.3},
    ),
]
IDS = [f"{cls.__name__} {options}" for cls, _, options in CASES]


def parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [nn.Parameter(rng.normal(size=s).astype(dtype)) for s in ((3, 4), (5,), ())]


@pytest.mark.parametrize(("cls", "rule", "options"), CASES, ids=IDS)
def test_steps(cls, rule, options):
    """Several steps, a checkpoint in the middle, a gradient missing once."""
    rng, params = np.random.default_rng(1), parameters()
    expected = [p.data.copy() for p in params]
    arrays = [p.data for p in params]
    states = [{} for _ in params]
    optimizer = cls(params, **options)
    for i in range(STEPS):
        for k, p in enumerate(params):
            p.grad = None if i == 1 and k == 1 else rng.normal(size=p.shape)
            if p.grad is not None:
                g = -p.grad if options.get("maximize") else p.grad
                expected[k] = rule(options)(expected[k], g, states[k])
        optimizer.step()
        if i == 2:
            saved = optimizer.state_dict()
            optimizer = cls(params, **options)
            optimizer.load_state_dict(saved)
        for p, array, e in zip(params, arrays, expected, strict=True):
            assert p.data is array
            np.testing.assert_allclose(p.data, e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("cls", "rule", "options"), CASES, ids=IDS)
def test_state_dict_resumes_bit_for_bit(cls, rule, options):
    def train(params, optimizer, seed):
        rng = np.random.default_rng(seed)
        for _ in range(3):
            for p in params:
                p.grad = rng.normal(size=p.shape).astype(np.float32)
            optimizer.step()

    params = parameters(np.float32)
    optimizer = cls(params, **options)
    train(params, optimizer, 1)
    twins = copy.deepcopy(params)
    saved = copy.deepcopy(optimizer.state_dict())
    train(params, optimizer, 2)
    other = cls(twins)
    other.load_state_dict(saved)
    train(twins, other, 2)
    for p, q in zip(params, twins, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_groups():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    c = nn.Parameter([1.0])
    optimizer.add_param_group({"params": [c], "lr": 0.25, "weight_decay": 1.0})
    for p in (a, b, c):
        p.grad = np.ones(1, np.float32)
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.9, 0.5, 0.5])
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5, 0.25]
    assert [g["params"] for g in optimizer.state_dict()["param_groups"]] == [[0], [1], [2]]
    assert "lr: 0.25" in repr(optimizer)


def test_zero_grad_and_closure():
    x = nn.Parameter([3.0])
    optimizer = optim.SGD([x], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9 and x.tolist() == [0]
    optimizer.zero_grad(set_to_none=False)
    assert x.grad.tolist() == [0]
    optimizer.zero_grad()
    assert x.grad is None
    optimizer.step()
    assert x.tolist() == [0]


def test_state_dict_holds_copies_and_is_checked():
    params = parameters()
    optimizer = optim.Adam(params)
    for p in params:
        p.grad = np.ones(p.shape)
    optimizer.step()
    saved = optimizer.state_dict()
    assert sorted(saved["state"][0]) == ["exp_avg", "exp_avg_sq", "step"]
    assert not np.shares_memory(saved["state"][0]["exp_avg"], optimizer.state[params[0]]["exp_avg"])
    before = optimizer.state[params[0]]["exp_avg"]
    with pytest.raises(ValueError, match=r"state_dict: expected 'param_groups', got \['state'\]"):
        optimizer.load_state_dict({"state": {}})
    with pytest.raises(ValueError, match=r"groups of \[3\] parameters, got \[2\]"):
        optimizer.load_state_dict({**saved, "param_groups": [{"params": [0, 1]}]})
    saved["state"][1]["exp_avg"] = np.zeros(7)
    with pytest.raises(ValueError, match=r"parameter 1: expected shape \(5,\), got \(7,\)"):
        optimizer.load_state_dict(saved)
    assert optimizer.state[params[0]]["exp_avg"] is before


def test_pytorch_s_place_of_the_schedules():
    assert optim.lr_scheduler is schedules
    with pytest.raises(AttributeError, match=r"'pydl.optim' has no attribute 'lr'"):
        optim.lr  # noqa: B018


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: optim.SGD([]), ValueError, "params: expected at least one parameter"),
        (lambda p: optim.SGD(p), TypeError, "params: expected an iterable, got Parameter"),
        (lambda p: optim.SGD(nn.Linear(1, 1)), TypeError, "params: expected an iterable, got Lin"),
        (lambda p: optim.SGD([{"params": 1}]), TypeError, "params: expected an iterable, got int"),
        (lambda p: optim.SGD([1.0]), TypeError, "params: expected Tensors, got float"),
        (lambda p: optim.clip_grad_norm_(nn.ReLU(), 1), TypeError, "parameters: expected an iter"),
        (lambda p: optim.SGD([p * 2]), ValueError, "params: expected leaves"),
        (lambda p: optim.SGD([p, p]), ValueError, "params: a parameter appears twice"),
        (lambda p: optim.SGD([{"params": p, "rate": 1}]), ValueError, r"got \['rate'\]"),
        (lambda p: optim.SGD([p], lr=-1), ValueError, "lr: expected at least 0, got -1"),
        (lambda p: optim.SGD([p], lr=math.nan), ValueError, "lr: expected at least 0, got nan"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "nesterov: needs a momentum"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, "betas: expected two numbers"),
        (lambda p: optim.Adam([p], amsgrad=True), ValueError, "amsgrad: expected False"),
        (lambda p: optim.RMSprop([p], momentum=-1), ValueError, "momentum: expected at least 0"),
        (lambda p: optim.Adagrad([p], lr_decay=-1), ValueError, "lr_decay: expected at least 0"),
    ],
)
def test_bad_optimizers(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.Parameter([1.0]))


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, math.inf])
def test_clip_grad_norm(norm):
    a, b, c = nn.Parameter(np.zeros((2, 2))), nn.Parameter(np.zeros(3)), nn.Parameter([0.0])
    a.grad, b.grad = np.array([[3.0, -4.0], [1.0, 0.0]]), np.array([0.0, 5.0, -2.0])
    kept = [a.grad, b.grad]
    every = np.concatenate([a.grad.ravel(), b.grad])
    total = np.linalg.norm(every, norm)
    assert nn.utils.clip_grad_norm_([a, b, c], 100.0, norm) == pytest.approx(total)
    np.testing.assert_array_equal(np.concatenate([a.grad.ravel(), b.grad]), every)
    assert optim.clip_grad_norm_(iter([a, b, c]), 1.5, norm) == pytest.approx(total)
    np.testing.assert_allclose(
        np.concatenate([a.grad.ravel(), b.grad]), every * (1.5 / (total + 1e-6))
    )
    assert a.grad is kept[0] and b.grad is kept[1]


def test_clip_others():
    a = nn.Parameter(np.zeros(3))
    a.grad = np.array([-3.0, 0.5, 2.0])
    optim.clip_grad_value_([a], 1.0)
    assert a.grad.tolist() == [-1, 0.5, 1]
    a.grad[0] = math.inf
    with pytest.raises(RuntimeError, match="expected a finite gradient norm, got inf"):
        optim.clip_grad_norm_(a, 1.0, error_if_nonfinite=True)
    assert optim.clip_grad_norm_([Tensor([1.0])], 1.0) == 0


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_clip_grad_norm_sees_nan_everywhere(norm, place):
    params = [nn.Parameter([1.0, 2.0]) for _ in range(3)]
    for param in params:
        param.grad = np.array([3, 1], np.float32)
    params[place].grad[0] = math.nan
    with pytest.raises(RuntimeError, match="expected a finite gradient norm, got nan"):
        optim.clip_grad_norm_(params, 1.0, norm, error_if_nonfinite=True)
    assert params[place].grad[1] == 1
    assert math.isnan(optim.clip_grad_norm_(params, 1.0, norm))
    assert all(np.isnan(param.grad).all() for param in params)


@pytest.mark.parametrize("bad", [-1, float("nan")])
def test_clipping_refuses_a_limit_that_would_spoil_the_gradients(bad):
    a = Tensor([1.0, -2.0], requires_grad=True)
    a.grad = Tensor([3.0, -4.0])
    with pytest.raises(ValueError, match="max_norm"):
        optim.clip_grad_norm_(a, bad)
    with pytest.raises(ValueError, match="norm_type"):
        optim.clip_grad_norm_(a, 1.0, bad)
    with pytest.raises(ValueError, match="norm_type"):
        optim.clip_grad_norm_(a, 1.0, 0)
    with pytest.raises(ValueError, match="clip_value"):
        optim.clip_grad_value_(a, bad)
    with pytest.raises(TypeError, match="max_norm: expected a number, got str"):
        optim.clip_grad_norm_(a, "1")
    assert a.grad.tolist() == [3, -4]


def test_options_of_wrong_types():
    a = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="betas: expected a tuple, got float"):
        optim.Adam([a], betas=0.9)
    with pytest.raises(TypeError, match="lr: expected a number, got str"):
        optim.SGD([a], lr="fast")
    with pytest.raises(ValueError, match="param_group: expected 'params'"):
        optim.SGD([{"lr": 0.1}], lr=1)


def rates(make, count, optimizer=None, read=lambda group: group["lr"]):
    optimizer = optimizer or optim.SGD([nn.Parameter([1.0])], lr=0.5, momentum=0.9)
    schedule = make(optimizer)
    out = []
    for _ in range(count):
        out.append(read(optimizer.param_groups[0]))
        schedule.step()
    return out


@pytest.mark.parametrize(
    ("make", "closed"),
    [
        (lambda o: schedules.StepLR(o, 3, 0.2), lambda t: 0.5 * 0.2 ** (t // 3)),
        (
            lambda o: schedules.MultiStepLR(o, [2, 5, 5], 0.3),
            lambda t: 0.5 * 0.3 ** ((t >= 2) + 2 * (t >= 5)),
        ),
        (lambda o: schedules.ExponentialLR(o, 0.9), lambda t: 0.5 * 0.9**t),
        (
            lambda o: schedules.CosineAnnealingLR(o, 4, 0.1),
            lambda t: 0.1 + 0.2 * (1 + math.cos(math.pi * t / 4)),
        ),
        (lambda o: schedules.LinearLR(o), lambda t: 0.5 * (1 / 3 + 2 / 3 * min(t, 5) / 5)),
        (
            lambda o: schedules.LinearLR(o, 0.2, 0.6, 4),
            lambda t: 0.5 * (0.2 + 0.4 * min(t, 4) / 4),
        ),
        (lambda o: schedules.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 0.5 / (1 + t)),
        (
            lambda o: schedules.CosineAnnealingWarmRestarts(o, 3),
            lambda t: 0.25 * (1 + math.cos(math.pi * (t % 3) / 3)),
        ),
    ],
)
def test_closed_forms(make, closed):
    np.testing.assert_allclose(rates(make, 12), [closed(t) for t in range(12)], atol=1e-15)


# Values recorded from torch 2.13.
ONE_CYCLE = [0.04, 0.52, 1.0, 0.950484632, 0.8117456539, 0.6112620219, 0.3887419781]
ONE_CYCLE += [0.1882583461, 0.04951936799, 4e-06]
ONE_CYCLE_MOMENTUM = [0.95, 0.9, 0.85, 0.8549515566, 0.8688255099, 0.8888739533, 0.9111260467]
ONE_CYCLE_MOMENTUM += [0.9311744901, 0.9450484434, 0.95]
THREE_PHASES = [0.2, 0.4666666667, 0.7333333333, 1.0, 0.7333333333, 0.4666666667, 0.2]
THREE_PHASES += [0.13334, 0.06668, 2e-05]
THREE_PHASES_BETA = [0.95, 0.9166666667, 0.8833333333, 0.85, 0.8833333333, 0.9166666667]
THREE_PHASES_BETA += [0.95] * 4
SEQUENCE = [0.05, 0.2, 0.35, 0.5, 0.4267766953, 0.25, 0.0732233047, 0, 0.5, 0.5, 0.05, 0.05, 0.005]
RESTARTS = [0.5, 0.3, 0.5, 0.4414213562, 0.3, 0.1585786438, 0.5, 0.4847759065, 0.4414213562]
TWO_AT_ONCE = [0.5, 0.3840990258, 0.2025, 0.05337978913, 0.0, 0.0732233047, 0.225]


def one_cycle(optimizer):
    return schedules.OneCycleLR(optimizer, 1.0, total_steps=10)


def three_phases(optimizer):
    return schedules.OneCycleLR(
        optimizer,
        1.0,
        epochs=2,
        steps_per_epoch=5,
        pct_start=0.4,
        anneal_strategy="linear",
        div_factor=5,
        three_phase=True,
    )


def sequence(optimizer):
    parts = [
        schedules.LinearLR(optimizer, 0.1, total_iters=3),
        schedules.CosineAnnealingLR(optimizer, 4),
        schedules.StepLR(optimizer, 2),
    ]
    return schedules.SequentialLR(optimizer, parts, [3, 8])


def test_one_cycle():
    np.testing.assert_allclose(rates(one_cycle, 10), ONE_CYCLE, rtol=1e-9)
    momenta = rates(one_cycle, 10, read=lambda group: group["momentum"])
    np.testing.assert_allclose(momenta, ONE_CYCLE_MOMENTUM, rtol=1e-9)
    adam = optim.Adam([nn.Parameter([1.0])])
    np.testing.assert_allclose(rates(three_phases, 10, adam), THREE_PHASES, rtol=1e-9)
    adam = optim.Adam([nn.Parameter([1.0])])
    betas = rates(three_phases, 10, adam, lambda group: group["betas"][0])
    np.testing.assert_allclose(betas, THREE_PHASES_BETA, rtol=1e-9)
    with pytest.raises(ValueError, match="step: expected at most 10 steps, got one more"):
        rates(one_cycle, 11)


def test_sequence_restarts_and_two_at_once():
    np.testing.assert_allclose(rates(sequence, 13), SEQUENCE, rtol=1e-9, atol=1e-15)
    warm = rates(lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 2, 0.1), 9)
    np.testing.assert_allclose(warm, RESTARTS, rtol=1e-9)
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    first = schedules.ExponentialLR(optimizer, 0.9)
    second = schedules.CosineAnnealingLR(optimizer, 4)
    seen = []
    for _ in range(7):
        seen.append(optimizer.param_groups[0]["lr"])
        first.step()
        second.step()
    np.testing.assert_allclose(seen, TWO_AT_ONCE, rtol=1e-9, atol=1e-15)


def test_warm_restarts_take_fractions_of_an_epoch():
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5)
    schedule = schedules.CosineAnnealingWarmRestarts(optimizer, 2, 3)
    schedule.step(3.5)
    assert (schedule.T_cur, schedule.T_i, schedule.last_epoch) == (1.5, 6, 3)
    np.testing.assert_allclose(
        schedule.get_last_lr(), [0.25 * (1 + math.cos(math.pi * 1.5 / 6))], rtol=1e-12
    )


def test_reduce_on_plateau():
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    schedule = schedules.ReduceLROnPlateau(optimizer, patience=1, cooldown=1, min_lr=0.02)
    seen = []
    for loss in (5, 4, 4, 3.9999, 4, 4, 4, 4, 4, 4, 4):
        schedule.step(loss)
        seen.append(schedule.get_last_lr()[0])
    # 3.9999 improves on 4 by less than the threshold; after a reduction one epoch is not counted
    np.testing.assert_allclose(seen, [1, 1, 1, 0.1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.02, 0.02])
    up = schedules.ReduceLROnPlateau(optimizer, "max", 0.5, 0, 0.1, "abs")
    for score, best in ((1.0, 1.0), (1.05, 1.0), (1.2, 1.2)):
        up.step(Tensor(np.array(score)))
        assert up.best == best
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    with pytest.raises(TypeError, match="metrics: expected the epoch's metric"):
        up.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedules.StepLR(o, 2),
        lambda o: schedules.MultiStepLR(o, [2, 5]),
        lambda o: schedules.CosineAnnealingLR(o, 5),
        lambda o: schedules.LinearLR(o),
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 2),
        one_cycle,
        sequence,
        lambda o: schedules.LambdaLR(o, lambda t: 1 / (1 + t)),
    ],
)
def test_state_dict_of_a_schedule(make):
    expected = rates(make, 9)
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5, momentum=0.9)
    schedule = make(optimizer)
    for _ in range(4):
        schedule.step()
    saved, options = copy.deepcopy(schedule.state_dict()), optimizer.state_dict()
    optimizer = optim.SGD([nn.Parameter([1.0])], lr=0.5, momentum=0.9)
    schedule = make(optimizer)
    optimizer.load_state_dict(options)
    schedule.load_state_dict(saved)
    seen = []
    for _ in range(4, 9):
        seen.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    assert seen == expected[4:]


def test_every_group_is_scheduled():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.2}], lr=1.0)
    schedule = schedules.LambdaLR(optimizer, [lambda t: 0.5**t, lambda t: 1.0])
    schedule.step()
    assert schedule.get_last_lr() == [0.5, 0.2]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [1.0, 0.2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: schedules.StepLR(o, 0), "step_size: expected at least 1"),
        (lambda o: schedules.LinearLR(o, 0), "start_factor: expected above 0"),
        (lambda o: schedules.LinearLR(o, 0.5, 2), "end_factor: expected 0 to 1"),
        (lambda o: schedules.CosineAnnealingLR(o, 0), "T_max: expected at least 1"),
        (lambda o: schedules.CosineAnnealingWarmRestarts(o, 0), "T_0: expected an int"),
        (lambda o: schedules.LambdaLR(o, []), "lr_lambda: expected 1 functions, got 0"),
        (lambda o: schedules.OneCycleLR(o, 1.0), "total_steps: expected it, or epochs"),
        (lambda o: schedules.OneCycleLR(o, 1.0, 9, pct_start=2), "pct_start: expected 0 to 1"),
        (lambda o: schedules.OneCycleLR(o, [1.0, 2.0], 9), "max_lr: expected a number or 1"),
        (lambda o: schedules.SequentialLR(o, [], []), "schedulers: expected at least one"),
        (
            lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [1]),
            "milestones: expected 0 for 1 schedulers, got 1",
        ),
        (lambda o: schedules.ReduceLROnPlateau(o, "low"), "mode: expected"),
        (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), "factor: expected below 1"),
        (lambda o: schedules.StepLR(o, 1, last_epoch=3), "last_epoch: expected -1"),
        (lambda o: schedules.StepLR(o, 1, float("nan")), "gamma: expected a finite number"),
        (lambda o: schedules.ExponentialLR(o, float("inf")), "gamma: expected a finite number"),
        (lambda o: schedules.StepLR(o, 1).load_state_dict({}), r"state_dict: expected \['_last_lr"),
        (
            lambda o: sequence(o).load_state_dict(schedules.StepLR(o, 1).state_dict()),
            "state_dict: expected . schedules, got 0",
        ),
    ],
)
def test_bad_schedules(call, message):
    with pytest.raises(ValueError, match=message):
        call(optim.SGD([nn.Parameter([1.0])], lr=0.5))


def test_a_schedule_needs_an_optimizer():
    with pytest.raises(TypeError, match="optimizer: expected an Optimizer, got list"):
        schedules.StepLR([], 1)


def test_bases_cannot_be_made():
    parameter = Tensor(np.zeros(2, np.float32), requires_grad=True)
    with pytest.raises(TypeError, match="abstract.*_update"):
        optim.Optimizer([parameter], {})
    with pytest.raises(TypeError, match="abstract.*get_lr"):
        schedules.LRScheduler(optim.SGD([parameter], lr=0.1))


def net(rng_seed=0, tied=False):
    """Layers whose weights are larger than their inputs and outputs, and one that is not."""
    rng = np.random.default_rng(rng_seed)
    first, last = nn.Linear(24, 40, rng=rng), nn.Linear(40, 3, rng=rng)
    middle = nn.Linear(40, 40, rng=rng)
    if tied:
        return nn.Sequential(first, nn.ReLU(), middle, nn.Tanh(), middle, nn.Tanh(), last)
    return nn.Sequential(first, nn.ReLU(), middle, nn.Tanh(), last)


def batches(count, n=5, dtype=np.float32):
    rng = np.random.default_rng(3)
    for _ in range(count):
        yield rng.standard_normal((n, 24)).astype(dtype), rng.integers(0, 3, n)


def is_product(param):
    return isinstance(kept_gradient(param), Product)


def same_bits(model, other, optimizer, other_optimizer):
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert p.data.tobytes() == q.data.tobytes()
        for name, value in optimizer.state[p].items():
            assert np.array_equal(value, other_optimizer.state[q][name]), name


FUSED = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.AdamW, {"lr": 0.01}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cls", "options"), FUSED, ids=lambda v: getattr(v, "__name__", str(v)))
def test_fuse_linear_gives_the_same_bits(cls, options, dtype):
    """With a schedule, a checkpoint in the middle, and a gradient read before a step."""
    models = [net().to(dtype), net().to(dtype)]
    optimizers = [
        cls(m.parameters(), **options, fuse_linear=f)
        for m, f in zip(models, (False, True), strict=True)
    ]
    plans = [schedules.StepLR(o, 2, 0.5) for o in optimizers]
    for i, (x, labels) in enumerate(batches(6, dtype=dtype)):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels).backward()
            fused = optimizer.fuse_linear
            for p in model.parameters():
                assert is_product(p) == (fused and p.ndim == 2 and len(p.data) == 40)
        if i == 4:
            looked = models[1][2].weight
            assert np.array_equal(looked.grad, models[0][2].weight.grad)
            assert not is_product(looked) and looked.grad is looked.grad
        for optimizer, plan in zip(optimizers, plans, strict=True):
            optimizer.step()
            plan.step()
        same_bits(*models, *optimizers)
        if i == 2:
            saved = [o.state_dict() for o in optimizers]
            assert saved[0]["param_groups"] == saved[1]["param_groups"]
            optimizers = [
                cls(m.parameters(), **options, fuse_linear=f)
                for m, f in zip(models, (False, True), strict=True)
            ]
            plans = [schedules.StepLR(o, 2, 0.5) for o in optimizers]
            for optimizer, state in zip(optimizers, saved[::-1], strict=True):
                optimizer.load_state_dict(state)
    for p, q in zip(*(m.parameters() for m in models), strict=True):
        assert p.grad.tobytes() == q.grad.tobytes()  # there after the step, too


@pytest.mark.parametrize("what", ["tied", "two backwards", "clipped", "clipped by value", "frozen"])
def test_fuse_linear_falls_back_to_the_array(what):
    models = [net(tied=what == "tied"), net(tied=what == "tied")]
    optimizers = [
        optim.SGD(m.parameters(), lr=0.1, momentum=0.9, fuse_linear=fused)
        for m, fused in zip(models, (False, True), strict=True)
    ]
    for step, (x, labels) in enumerate(batches(4)):
        norms = []
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            middle = model[2].weight
            middle.requires_grad = what != "frozen" or step != 1
            for _ in range(1 + (what == "two backwards")):
                F.cross_entropy(model(x), labels).backward()
            if what == "clipped":
                norms.append(optim.clip_grad_norm_(model.parameters(), 0.1))
            elif what == "clipped by value":
                optim.clip_grad_value_(model.parameters(), 0.01)
            elif what == "tied":
                assert not is_product(middle)
                assert is_product(model[0].weight) == optimizer.fuse_linear
            elif what == "frozen":
                assert is_product(middle) == (optimizer.fuse_linear and step in (0, 3))
            if what in ("two backwards", "clipped", "clipped by value"):
                assert not any(map(is_product, model.parameters()))
            optimizer.step()
        assert len(set(norms)) <= 1
        same_bits(*models, *optimizers)


def test_a_kept_product_is_a_gradient_in_every_respect():
    def after_backward():
        model = net()
        optimizer = optim.SGD(model.parameters(), lr=0.1, fuse_linear=True)
        x, labels = next(batches(1))
        out = model(x)
        F.cross_entropy(out, labels).backward()
        weight = model[2].weight
        assert is_product(weight)
        x[:] = math.nan  # a batch that is overwritten before the step
        return model, optimizer, weight

    plain = net()
    x, labels = next(batches(1))
    F.cross_entropy(plain(x), labels).backward()
    expected = plain[2].weight.grad
    model, optimizer, weight = after_backward()
    assert copy.deepcopy(weight).grad.tobytes() == expected.tobytes()
    model, optimizer, weight = after_backward()
    optimizer.zero_grad(set_to_none=False)
    assert not weight.grad.any() and weight.grad.shape == weight.shape
    model, optimizer, weight = after_backward()
    model.zero_grad()
    assert weight.grad is None
    before = weight.data.copy()
    optimizer.step()
    assert np.array_equal(weight.data, before)
    model, optimizer, weight = after_backward()
    weight.grad = np.ones_like(weight.data)
    optimizer.step()
    assert np.array_equal(weight.data, before - np.float32(0.1))
    model, optimizer, weight = after_backward()
    with no_grad():
        model(np.zeros((5, 24), np.float32))
    optim.SGD([weight], lr=0.5).step()  # another optimizer, that knows nothing of it
    assert np.array_equal(weight.data, before - np.float32(0.5) * expected)
    model, optimizer, weight = after_backward()
    kept = kept_gradient(model[0].weight)
    assert kept.x.size + kept.dy.size < model[0].weight.size and np.isfinite(kept.x).all()
    assert model[4].weight.grad.shape == (3, 40)


def test_fuse_linear_leaves_products_that_are_no_smaller_to_backward():
    model = net()
    optim.Adam(model.parameters(), fuse_linear=True)
    x, labels = next(batches(1, n=64))
    F.cross_entropy(model(x), labels).backward()
    assert not any(map(is_product, model.parameters()))


@pytest.mark.parametrize("replaced", ["sgd_step", "linear_backward_weight", "linear_sgd_step"])
def test_fuse_linear_calls_the_kernels_that_are_swapped_in(replaced):
    model, called = net(), []
    optimizer = optim.SGD(model.parameters(), lr=0.1, fuse_linear=True)
    x, labels = next(batches(1))

    def mine(*args, **options):
        called.append(args[0].shape)
        return getattr(reference, replaced)(*args, **options)

    with kernels.swap(**{replaced: mine}):
        F.cross_entropy(model(x), labels).backward()
        called.clear()
        optimizer.step()
    wanted = {"sgd_step": 6, "linear_backward_weight": 2, "linear_sgd_step": 2}
    assert len(called) == wanted[replaced]


def test_only_some_optimizers_have_fuse_linear():
    for cls in (optim.RMSprop, optim.Adagrad):
        with pytest.raises(TypeError, match="fuse_linear"):
            cls([nn.Parameter([1.0])], fuse_linear=True)


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam])
def test_a_group_is_stepped_in_one_call_for_each_dtype_and_age(cls):
    params = parameters() + [nn.Parameter(np.ones(2, np.float32))]
    options = {"lr": 0.1, **({"momentum": 0.9} if cls is optim.SGD else {})}
    optimizer, name = cls(params, **options), f"{cls.__name__.lower()}_steps"
    called = []

    def listed(*arrays, **options):
        called.append([a.shape for a in arrays[:: 3 if cls is optim.SGD else 4]])
        return getattr(reference, name)(*arrays, **options)

    with kernels.swap(**{name: listed}):
        for step in range(2):
            for p in params:
                p.grad = None if step == 0 and p.shape == (5,) else np.ones_like(p.data)
            optimizer.step()
    assert called == [[(3, 4), ()], [(2,)], [(3, 4), ()], [(5,)], [(2,)]]


@pytest.mark.parametrize("cls", [optim.SGD, optim.Adam])
def test_the_update_of_a_subclass_is_called_for_each_parameter(cls):
    class Mine(cls):
        def _update(self, param, grad, state, group):
            seen.append(param.shape)
            super()._update(param, 2 * grad, state, group)

    seen, params, twins = [], parameters(), parameters()
    optimizer, twin = Mine(params, lr=0.1), cls(twins, lr=0.1)
    for p, q in zip(params, twins, strict=True):
        p.grad, q.grad = np.ones_like(p.data), np.full_like(q.data, 2)
    optimizer.step()
    twin.step()
    assert seen == [(3, 4), (5,), ()]
    for p, q in zip(params, twins, strict=True):
        assert p.data.tobytes() == q.data.tobytes()


def test_parameters_that_share_a_gradient_or_lie_in_one_array():
    flat, grad = np.zeros(12, np.float32), np.ones(4, np.float32)
    params = [nn.Parameter(flat[i : i + 4]) for i in (8, 0, 4)]
    for p in params:
        p.grad = grad
    optim.SGD(params, lr=1.0).step()
    assert flat.tolist() == [-1] * 12


def test_fuse_linear_resumes_a_run_of_train_fit_without_it(tmp_path):
    """Two epochs without, two more from their checkpoint with it: as four in one go."""
    rng = np.random.default_rng(5)
    samples = rng.standard_normal((40, 24)).astype(np.float32), rng.integers(0, 3, 40)

    def fit(name, epochs, fused, **options):
        model = net(rng_seed=epochs)
        optimizer = optim.Adam(model.parameters(), lr=0.01, fuse_linear=fused)
        if "resume" not in options:
            model.load_state_dict(net().state_dict())
        train.fit(
            model, samples, epochs=epochs, optimizer=optimizer, batch_size=6, rng=0,
            checkpoint=tmp_path / name, progress=False, **options,
        )  # fmt: skip
        return model, optimizer

    plain = fit("whole.npz", 4, False)
    fit("halves.npz", 2, False)
    resumed = fit("halves.npz", 4, True, resume=True)
    same_bits(plain[0], resumed[0], plain[1], resumed[1])
    assert any(map(is_product, resumed[0].parameters()))
