"""RBM and DBN against small machines whose every state is written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pydl
from pydl import functional as F
from pydl import io, models, nn, optim, train
from pydl.models import DBN, RBM

V, H = 5, 3


def states(n: int) -> np.ndarray:
    """All 2^n rows of 0 and 1."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=n)))


def small(seed: int = 0, dtype: type = np.float64) -> RBM:
    """A machine far from independence."""
    rng = np.random.default_rng(seed)
    rbm = RBM(V, H, dtype=dtype)
    for parameter in rbm.parameters():
        parameter.data[...] = rng.normal(0, 1, parameter.shape)
    return rbm


def joint(rbm: RBM) -> np.ndarray:
    """p(v, h) of all states (2^V, 2^H), from the energies' definition."""
    w, b, c = rbm.weight.data, rbm.visible_bias.data, rbm.hidden_bias.data
    v, h = states(rbm.num_visible), states(rbm.num_hidden)
    p = np.exp(v @ w.T @ h.T + (v @ b)[:, None] + (h @ c)[None])
    return p / p.sum()


def log_likelihood(rbm: RBM, data: np.ndarray) -> float:
    """Mean ln p(v), exactly: ln Z runs over all 2^V states."""
    with pydl.no_grad():
        free = rbm.free_energy(states(rbm.num_visible).astype(data.dtype)).data
        return float(-rbm.free_energy(data).data.mean() - np.logaddexp.reduce(-free))


def exact_gradient(rbm: RBM, data: np.ndarray) -> list[np.ndarray]:
    """Of mean -ln p(data): the model's expectations minus the data's, state by state."""
    v, h = states(V), states(H)
    p = joint(rbm)
    given = p / p.sum(1, keepdims=True)  # p(h | v)
    rows = given[(data @ 2.0 ** np.arange(V)[::-1]).astype(int)]
    return [np.einsum("vh,hj,vi->ji", p, h, v) - (rows @ h).T @ data / len(data),
            p.sum(1) @ v - data.mean(0),
            p.sum(0) @ h - (rows @ h).mean(0)]  # fmt: skip


def gradients(module: nn.Module) -> list[np.ndarray]:
    return [parameter.grad for parameter in module.parameters()]


# What the machine is


@pytest.mark.parametrize("factor", [1, 15])
def test_energy_and_free_energy_are_those_of_all_states(factor):
    rbm, v, h = small(), states(V), states(H)
    for parameter in rbm.parameters():
        parameter.data *= factor
    energy = np.array([rbm.energy(np.repeat(v[i:i + 1], len(h), 0), h).data
                       for i in range(len(v))])
    p = np.exp(-energy)
    np.testing.assert_allclose(p / p.sum(), joint(rbm), rtol=1e-11)
    np.testing.assert_allclose(
        rbm.free_energy(v).data, -np.logaddexp.reduce(-energy, axis=1), rtol=1e-13, atol=1e-13)


def test_conditionals_are_those_of_the_joint():
    rbm, v, h, p = small(), states(V), states(H), joint(small())
    np.testing.assert_allclose(rbm(v).data, p @ h / p.sum(1)[:, None], rtol=1e-12)
    np.testing.assert_allclose(rbm.visible(h).data, p.T @ v / p.sum(0)[:, None], rtol=1e-12)
    np.testing.assert_allclose(rbm.reconstruct(v), rbm.visible(rbm(v)).data)


def test_the_gradient_of_the_likelihood_by_free_energies_is_that_of_all_states():
    rbm = small()
    data = np.random.default_rng(1).integers(0, 2, (40, V)).astype(np.float64)
    everything = rbm.free_energy(states(V))
    (F.mean(rbm.free_energy(data)) + F.logsumexp(-everything, 0)).backward()
    for got, expected in zip(gradients(rbm), exact_gradient(rbm, data), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_follow_their_probabilities(dtype):
    rbm, n = small(dtype=dtype), 20000
    v = np.repeat(states(V)[[11]], n, 0).astype(dtype)
    for draw, given, size in ((rbm.sample_hidden, v, H),
                              (rbm.sample_visible, v[:, :H].copy(), V)):
        sample, p = draw(given, np.random.default_rng(3))
        assert sample.dtype == p.dtype == dtype and sample.shape == p.shape == (n, size)
        assert set(np.unique(sample)) == {0, 1}
        assert np.abs(sample.mean(0) - p[0]).max() < 5 * 0.5 / np.sqrt(n)


def test_a_long_chain_draws_from_the_model():
    rbm, n = small(), 20000
    v, p = rbm.gibbs(np.zeros((n, V)), 60, np.random.default_rng(4))
    found = np.bincount((v @ 2.0 ** np.arange(V)[::-1]).astype(int), minlength=2**V) / n
    expected = joint(rbm).sum(1)
    assert np.all(np.abs(found - expected) < 5 * np.sqrt(expected / n) + 5 / n)
    assert p.shape == v.shape


# Contrastive divergence


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_its_gradient_is_that_of_the_difference_of_free_energies(k, dtype):
    rbm = small(dtype=dtype)
    data = np.random.default_rng(1).random((17, V)).astype(dtype)
    error = rbm.contrastive_divergence(data, k, np.random.default_rng(2))
    found = gradients(rbm)
    end, p = rbm.gibbs(data, k, np.random.default_rng(2))
    rbm.zero_grad()
    (F.mean(rbm.free_energy(data)) - F.mean(rbm.free_energy(end))).backward()
    for got, expected in zip(found, gradients(rbm), strict=True):
        assert got.dtype == dtype and got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=20 * np.finfo(dtype).eps)
    assert error == pytest.approx(np.square(data - p).mean(), rel=1e-6)


def test_its_positive_phase_is_the_exact_one():
    rbm = small()
    data = states(V)[np.random.default_rng(1).integers(0, 2**V, 30)]
    rbm.contrastive_divergence(data, 1, np.random.default_rng(2))
    end, _ = rbm.gibbs(data, 1, np.random.default_rng(2))
    negative = exact_gradient(rbm, end)  # the same model's expectations minus those of `end`
    positive = exact_gradient(rbm, data)
    for got, minus_end, minus_data in zip(gradients(rbm), negative, positive, strict=True):
        np.testing.assert_allclose(got, minus_data - minus_end, atol=1e-13)


def test_with_many_steps_it_is_the_likelihoods_gradient_and_with_one_it_points_along_it():
    rbm, n = small(), 20000
    data = np.repeat(states(V)[[3, 6, 21, 24, 30]], n // 5, 0)
    expected = exact_gradient(rbm, data)
    rbm.contrastive_divergence(data, 60, np.random.default_rng(5))
    for got, exact in zip(gradients(rbm), expected, strict=True):
        assert np.abs(got - exact).max() < 5 * 0.5 / np.sqrt(n)
    rbm.zero_grad()
    rbm.contrastive_divergence(data, 1, np.random.default_rng(6))
    a, b = (np.concatenate([g.ravel() for g in gs]) for gs in (gradients(rbm), expected))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.8


def bars_and_stripes(n: int, dtype: type = np.float64) -> np.ndarray:
    """The 2^(n+1) - 2 images n x n of whole rows, or of whole columns."""
    rows = [np.repeat(row, n) for row in states(n)]
    columns = [np.tile(row, n) for row in states(n)]
    return np.unique(np.array(rows + columns), axis=0).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_raises_the_exact_likelihood(dtype):
    data = bars_and_stripes(3, dtype)
    assert data.shape == (14, 9)
    rbm = RBM(9, 12, dtype=dtype, rng=np.random.default_rng(0))
    before = log_likelihood(rbm, data)
    assert before == pytest.approx(-9 * np.log(2), abs=0.01)
    steps, rng, found = optim.SGD(rbm.parameters(), lr=0.3), np.random.default_rng(1), [before]
    batch = np.repeat(data, 8, 0)
    for _ in range(2):
        for _ in range(500):
            steps.zero_grad()
            rbm.contrastive_divergence(batch, 1, rng)
            steps.step()
        found.append(log_likelihood(rbm, data))
    assert before + 0.5 < found[1] < found[2]
    assert found[2] > -4  # a fair coin per pixel has -6.24, the data's own distribution -2.64


def test_gradients_add_up_and_frozen_parameters_have_none():
    rbm, data = small(), states(V)
    rbm.contrastive_divergence(data, 1, np.random.default_rng(0))
    once = [g.copy() for g in gradients(rbm)]
    rbm.contrastive_divergence(data, 1, np.random.default_rng(0))
    for twice, g in zip(gradients(rbm), once, strict=True):
        np.testing.assert_array_equal(twice, 2 * g)
    rbm.zero_grad()
    rbm.hidden_bias.requires_grad = False
    rbm.contrastive_divergence(data, 1, np.random.default_rng(0))
    assert rbm.hidden_bias.grad is None
    np.testing.assert_array_equal(rbm.weight.grad, once[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_reference_backend_gives_the_same(dtype):
    data = states(V).astype(dtype)
    results = []
    for backend in ("native", "reference"):
        rbm = small(dtype=dtype)
        with pydl.kernels.use(backend):
            error = rbm.contrastive_divergence(data, 2, np.random.default_rng(0))
        results.append([np.array(error), *gradients(rbm)])
    for native, reference in zip(*results, strict=True):
        np.testing.assert_allclose(native, reference, atol=20 * np.finfo(dtype).eps)


def test_threads_do_not_change_a_bit():
    data = np.random.default_rng(0).random((256, 784), np.float32)
    results = []
    for n in (1, 2):
        rbm = RBM(784, 200, rng=np.random.default_rng(1))
        with pydl.threads(n):
            error = rbm.contrastive_divergence(data, 2, np.random.default_rng(2))
        results.append([np.array(error), *gradients(rbm)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_seeds():
    data = states(V).astype(np.float32)

    def result(seed: int) -> list[np.ndarray]:
        pydl.manual_seed(seed)
        rbm = RBM(V, H)
        rbm.contrastive_divergence(data)
        return [rbm.weight.data, *gradients(rbm)]

    for a, b, other in zip(result(0), result(0), result(1), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, other)
    pydl.manual_seed(0)
    RBM(V, H, rng=np.random.default_rng(0)).contrastive_divergence(
        data, 1, np.random.default_rng(0))
    fresh = pydl.random.default_generator.random()
    pydl.manual_seed(0)
    assert fresh == pydl.random.default_generator.random()  # nothing was drawn from it


def test_inputs():
    rbm = small()
    bits = states(V)
    for given in (bits.astype(np.int8), bits.astype(bool), np.asfortranarray(bits)):
        np.testing.assert_array_equal(rbm(given).data, rbm(bits).data)
    frozen = bits.copy()
    frozen.flags.writeable = False
    rbm.contrastive_divergence(frozen, 2)
    np.testing.assert_array_equal(frozen, bits)
    assert rbm(np.zeros((0, V))).shape == (0, H)
    assert rbm.free_energy(np.zeros((0, V))).shape == (0,)


NAN = np.array([[0.0, np.nan, 0, 0, 0]])


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda m: RBM(0, 3), ValueError, "num_visible: expected at least 1, got 0"),
    (lambda m: RBM(3, 0), ValueError, "num_hidden: expected at least 1, got 0"),
    (lambda m: m(np.zeros(V)), ValueError, r"v: expected shape \(B, 5\), got \(5,\)"),
    (lambda m: m(np.zeros((2, 4))), ValueError, r"v: expected shape \(B, 5\), got \(2, 4\)"),
    (lambda m: m(np.full((1, V), 1.5)), ValueError, "v: expected values from 0 to 1, got 1.5"),
    (lambda m: m(NAN), ValueError, "v: expected values from 0 to 1, got nan"),
    (lambda m: m(np.zeros((1, V), np.float32)), TypeError,
     "v: expected float64 as the weights, got float32"),
    (lambda m: m.contrastive_divergence(np.zeros((1, V), np.float32)), TypeError,
     "v: expected float64 as the weights, got float32"),
    (lambda m: m.visible(np.zeros((2, V))), ValueError, r"h: expected shape \(B, 3\)"),
    (lambda m: m.visible(-np.ones((2, H))), ValueError, "h: expected values from 0 to 1, got -1"),
    (lambda m: m.energy(np.zeros((2, V)), np.zeros((3, H))), ValueError,
     "h: expected 2 rows as v has, got 3"),
    (lambda m: m.gibbs(np.zeros((2, V)), 0), ValueError, "steps: expected at least 1, got 0"),
    (lambda m: m.contrastive_divergence(np.zeros((0, V))), ValueError,
     "v: expected at least one row, got none"),
    (lambda m: m.contrastive_divergence(np.zeros((1, V)), 0), ValueError,
     "k: expected at least 1, got 0"),
    (lambda m: m.contrastive_divergence(np.zeros((1, V)), 1.5), TypeError,
     "k: expected an int, got float"),
    (lambda m: m.gibbs(np.zeros((2, V)), 1.5), TypeError, "steps: expected an int, got float"),
    (lambda m: DBN((4,)), ValueError, r"sizes: expected two or more of at least 1, got \(4,\)"),
    (lambda m: DBN((4, 0)), ValueError, r"sizes: expected two or more of at least 1, got \(4, 0\)"),
    (lambda m: DBN((4, 3)).sample(0), ValueError, "count: expected at least 1, got 0"),
    (lambda m: DBN((4, 3)).sample(1, 0), ValueError, "steps: expected at least 1, got 0"),
    (lambda m: DBN((4, 3)).to_classifier(0), ValueError, "num_classes: expected at least 1, got 0"),
    (lambda m: DBN((4, 3)).pretrain(np.ones((2, 3), np.float32), epochs=1, optimizer=optim.SGD),
     ValueError, r"x: expected shape \(B, 4\), got \(2, 3\)"),
    (lambda m: DBN((4, 3)).pretrain(np.ones((0, 4), np.float32), epochs=1, optimizer=optim.SGD),
     ValueError, "x: expected at least one row, got none"),
    (lambda m: DBN((4, 3)).pretrain(np.ones((2, 4), np.float32), epochs=-1, optimizer=optim.SGD),
     ValueError, "epochs: expected at least 0, got -1"),
])  # fmt: skip
def test_bad_input(call, error, message):
    rbm = small()
    with pytest.raises(error, match=message):
        call(rbm)
    assert all(g is None for g in gradients(rbm))


# The stack


def sgd(parameters):
    return optim.SGD(parameters, lr=0.2, momentum=0.5)


def test_a_state_survives_a_file(tmp_path):
    net = DBN((V, 4, H))
    data = states(V).astype(np.float32)
    net.pretrain(data, epochs=2, optimizer=sgd, batch_size=8, rng=np.random.default_rng(0))
    assert list(net.state_dict()) == [f"layers.{i}.{name}" for i in (0, 1)
                                      for name in ("weight", "visible_bias", "hidden_bias")]
    io.save(tmp_path / "dbn.npz", net.state_dict())
    other = DBN((V, 4, H))
    other.load_state_dict(io.load(tmp_path / "dbn.npz"))
    np.testing.assert_array_equal(other(data).data, net(data).data)
    np.testing.assert_array_equal(
        other.sample(3, 5, np.random.default_rng(1)), net.sample(3, 5, np.random.default_rng(1)))


def test_pretraining_is_greedy():
    """Each machine is what it becomes alone, on what the finished ones below it say."""
    data = bars_and_stripes(3, np.float32)
    net = DBN((9, 7, 4), rng=np.random.default_rng(0))
    first, second = RBM(9, 7), RBM(7, 4)
    for alone, layer in zip((first, second), net.layers, strict=True):
        alone.load_state_dict(layer.state_dict())
    errors = net.pretrain(
        data, epochs=3, optimizer=sgd, batch_size=5, rng=np.random.default_rng(1))
    rng, x = np.random.default_rng(1), data
    for alone, seen in zip((first, second), errors, strict=True):
        steps = sgd(alone.parameters())
        loader = pydl.data.DataLoader(pydl.data.ArrayDataset(x), 5, shuffle=True, rng=rng)
        for error in seen:
            total = 0.0
            for (batch,) in loader:
                steps.zero_grad()
                total += len(batch) * alone.contrastive_divergence(batch, 1, rng)
                steps.step()
            assert error == pytest.approx(total / len(data))
        x = alone(x).data
    for alone, layer in zip((first, second), net.layers, strict=True):
        np.testing.assert_array_equal(alone.weight.data, layer.weight.data)
    assert net.pretrain(data, epochs=0, optimizer=sgd) == [[], []]


def test_pretraining_lowers_the_reconstruction_error():
    data = bars_and_stripes(4, np.float32)
    net = DBN((16, 24, 12), rng=np.random.default_rng(0))
    before = np.square(net.reconstruct(data) - data).mean()
    errors = net.pretrain(np.repeat(data, 20, 0), epochs=20, optimizer=sgd,
                          rng=np.random.default_rng(1))
    assert [len(e) for e in errors] == [20, 20]
    assert errors[0][-1] < 0.5 * errors[0][0]
    assert np.square(net.reconstruct(data) - data).mean() < 0.5 * before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_classifier_goes_up_the_stack(dtype):
    net = DBN((V, 4, H), dtype=dtype)
    for parameter in net.parameters():
        parameter.data[...] = np.random.default_rng(0).normal(size=parameter.shape)
    model = net.to_classifier(2, rng=np.random.default_rng(1))
    data = states(V).astype(dtype)
    assert [type(m) for m in model] == [nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid, nn.Linear]
    np.testing.assert_allclose(model[:4](data).data, net(data).data, rtol=4 * np.finfo(dtype).eps)
    assert model(data).shape == (32, 2) and model(data).dtype == dtype
    expected = nn.Linear(H, 2, dtype=dtype, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(model[4].weight.data, expected.weight.data)
    model[0].weight.data[...] = 0  # a copy: the stack keeps its own
    assert np.abs(net.layers[0].weight.data).min() > 0


def test_the_classifier_is_fine_tuned_by_backpropagation():
    data = states(V).astype(np.float32)
    labels = (data[:, 0] != data[:, 1]).astype(np.int64)
    net = DBN((V, 16, 8), rng=np.random.default_rng(0))
    net.pretrain(data, epochs=20, optimizer=sgd, rng=np.random.default_rng(1))
    model = net.to_classifier(2, rng=np.random.default_rng(2))
    history = train.fit(model, (data, labels), epochs=200, progress=False, rng=0,
                        optimizer=optim.Adam(model.parameters(), lr=0.02))
    assert history.train_accuracy[-1] == 1


def test_a_stack_of_one_draws_from_its_machine():
    net, n = DBN((V, H), dtype=np.float64), 20000
    net.layers[0].load_state_dict(small().state_dict())
    p = net.sample(n, 60, np.random.default_rng(0))
    assert p.shape == (n, V) and 0 <= p.min() and p.max() <= 1
    expected = joint(small()).sum(1) @ states(V)
    assert np.abs(p.mean(0) - expected).max() < 5 * 0.5 / np.sqrt(n)


def test_deeper_stacks_go_down_from_the_top_machine():
    net = DBN((V, 4, H))
    for parameter in net.parameters():
        parameter.data[...] = np.random.default_rng(0).normal(size=parameter.shape)
    rng = np.random.default_rng(1)
    start = (rng.random((6, 4), np.float32) < 0.5).astype(np.float32)
    top, _ = net.layers[1].gibbs(start, 7, rng)
    np.testing.assert_array_equal(net.sample(6, 7, np.random.default_rng(1)),
                                  net.layers[0].visible(top).data)
    data = states(V).astype(np.float32)
    up = net.layers[1](net.layers[0](data).data).data
    np.testing.assert_array_equal(net.reconstruct(data), net.layers[0].visible(
        net.layers[1].visible(up).data).data)


def test_their_names_are_listed():
    assert {"RBM", "DBN"} <= set(models.__all__)
    assert "num_visible=5, num_hidden=3" in repr(RBM(5, 3))
    assert "sizes=(5, 4, 3)" in repr(DBN((5, 4, 3)))
