"""Character and series models: results, generation, checkpoints, training, exact resumption."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

import pydl
from pydl import data, io, models, nn, optim
from pydl import functional as F
from pydl.train_text import evaluate_text, fit_text

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 8
VOCAB = data.CharVocab(TEXT)
TOKENS = VOCAB.encode(TEXT)


def small(cell: str = "lstm", embedding: int | None = None, layers: int = 1, dropout: float = 0.0,
          seed: int = 0, hidden: int = 9) -> models.CharRNN:
    pydl.manual_seed(seed)
    return models.CharRNN(len(VOCAB), hidden, embedding, layers, cell, dropout, vocab=VOCAB)


@pytest.mark.parametrize("cell", models.CELLS)
@pytest.mark.parametrize("embedding", [None, 5])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_sequence_in_one_piece_or_in_two_is_the_same(cell, embedding, layers):
    model = small(cell, embedding, layers).double()
    x = TOKENS[:14].reshape(7, 2)
    whole, last = model(x)
    assert whole.shape == (7, 2, len(VOCAB)) and whole.dtype == np.float64
    first, state = model(x[:3])
    second, end = model(x[3:], models.detach_state(state))
    np.testing.assert_allclose(np.concatenate([first.data, second.data]), whole.data, rtol=1e-12)
    states = (last, end) if cell == "lstm" else ((last,), (end,))
    for a, b in zip(*states, strict=True):
        assert a.shape == (layers, 2, 9)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


@pytest.mark.parametrize("embedding", [None, 5])
def test_one_hot_and_embedding_are_what_they_say(embedding):
    model = small("gru", embedding)
    x = TOKENS[:12].reshape(6, 2)
    rows = (np.eye(len(VOCAB), dtype=np.float32)[x] if embedding is None
            else model.embedding.weight.data[x])
    y, _ = model.rnn(pydl.Tensor(rows))
    np.testing.assert_array_equal(model(x)[0].data, model.decoder(y).data)


def test_truncation_stops_the_gradient():
    model = small("rnn")
    x, y = TOKENS[:8].reshape(8, 1), TOKENS[1:9]

    def gradient(state):
        model.zero_grad()
        F.cross_entropy(model(x[4:], state)[0].reshape(4, -1), y[4:]).backward()
        return model.rnn.weight_hh_l0.grad

    _, state = model(x[:4])
    cut = gradient(models.detach_state(state))
    _, state = model(x[:4])
    assert not np.allclose(cut, gradient(state))
    np.testing.assert_array_equal(
        cut, gradient(pydl.Tensor(models.detach_state(state).numpy())))
    assert models.detach_state(None) is None


@pytest.mark.parametrize(("options", "message"), [
    ({"vocab_size": 0}, "vocab_size: expected at least 1, got 0"),
    ({"hidden_size": 0}, "hidden_size: expected at least 1"),
    ({"embedding_size": 0}, "embedding_size: expected at least 1"),
    ({"num_layers": 0}, "num_layers: expected at least 1"),
    ({"cell": "LSTM"}, "cell: expected one of lstm, gru, rnn, got 'LSTM'"),
    ({"nonlinearity": "relu"}, 'only cell="rnn" has a choice'),
    ({"cell": "rnn", "nonlinearity": "sin"}, "nonlinearity"),
    ({"dropout": 2.0, "num_layers": 2}, "dropout: expected 0 to 1"),
    ({"vocab": VOCAB}, r"vocab: expected 4 characters, got \d+"),
])
def test_char_rnn_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        models.CharRNN(**{"vocab_size": 4, "hidden_size": 3, **options})


@pytest.mark.parametrize(("tokens", "error", "message"), [
    (np.zeros(3, int), ValueError, r"tokens: expected shape \(T, B\), got \(3,\)"),
    (np.zeros((3, 1)), TypeError, "expected integers, got float64"),
    (np.full((3, 1), -1), ValueError, r"tokens: expected 0 to \d+, got -1 to -1"),
    (np.full((3, 1), len(VOCAB)), ValueError, r"tokens: expected 0 to \d+, got \d+ to"),
])
@pytest.mark.parametrize("embedding", [None, 5])
def test_forward_rejects(tokens, error, message, embedding):
    with pytest.raises(error, match=message):
        small(embedding=embedding)(tokens)


def test_dropout_of_one_layer_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small(dropout=0.5)
    x = TOKENS[:8].reshape(4, 2)
    assert not np.array_equal(model(x)[0].data, model(x)[0].data)
    model.eval()
    np.testing.assert_array_equal(model(x)[0].data, model(x)[0].data)


def test_sampling_follows_the_distribution():
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    rng = np.random.default_rng(0)
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, None), (1.0, 2), (0.7, 3), (1.0, 1)):
        p = np.exp(logits.astype(np.float64) / temperature)
        p[:4 - (top_k or 4)] = 0
        p /= p.sum()
        n = 20_000
        counts = np.bincount(
            [models.sample_token(logits, temperature, top_k, rng) for _ in range(n)], minlength=4)
        assert (np.abs(counts / n - p) <= 4 * np.sqrt(p * (1 - p) / n)).all()


def test_sampling_at_the_edges():
    rng = np.random.default_rng(0)
    logits = np.array([1, 3, 3, -np.inf], np.float32)
    assert models.sample_token(logits, 0, None, rng) == 1
    assert models.sample_token(logits, 0, 2, rng) == 1
    assert {models.sample_token(logits, 1e-300, None, rng) for _ in range(50)} == {1, 2}
    assert {models.sample_token(logits, 1.0, 2, rng) for _ in range(50)} == {1, 2}
    assert 3 not in {models.sample_token(logits, 50.0, None, rng) for _ in range(200)}
    with pytest.raises(ValueError, match="logits: expected numbers, got NaN"):
        models.sample_token(np.array([0, np.nan]), 1.0, None, rng)


def test_generate_costs_one_step_per_character(monkeypatch):
    model = small(dropout=0.5)
    shapes, recorded = [], []
    forward = models.CharRNN.forward

    def spy(self, tokens, state=None):
        shapes.append(tokens.shape)
        logits, state = forward(self, tokens, state)
        recorded.append(logits.requires_grad)
        return logits, state

    monkeypatch.setattr(models.CharRNN, "forward", spy)
    text = model.generate("the quick", 40, seed=1)
    assert text.startswith("the quick") and len(text) == 49
    assert shapes == [(9, 1)] + [(1, 1)] * 39 and not any(recorded)
    assert model.training and model.dropout.training
    assert model.generate("the quick", 40, seed=1) == text
    assert model.generate("the quick", 40, seed=2) != text
    pydl.manual_seed(3)
    drawn = model.generate("t", 30)
    pydl.manual_seed(3)
    assert model.generate("t", 30) == drawn
    assert model.generate("dog", 0) == "dog"


def test_generate_is_forward_step_by_step():
    model = small("gru", 4, 2).eval()
    text = model.generate("lazy", 25, temperature=0)
    logits, _ = model(VOCAB.encode(text)[:, None])
    assert VOCAB.decode(logits.data[3:-1, 0].argmax(1)) == text[4:]


@pytest.mark.parametrize(("options", "message"), [
    ({"prompt": ""}, "prompt: expected at least one character, got none"),
    ({"prompt": "the Fox!"}, r"prompt: expected the vocabulary's \d+ characters, got '!', 'F'"),
    ({"length": -1}, "length: expected at least 0, got -1"),
    ({"temperature": -0.5}, r"temperature: expected 0 or more, got -0\.5"),
    ({"temperature": math.nan}, "temperature: expected 0 or more, got nan"),
    ({"top_k": 0}, r"top_k: expected 1 to \d+, got 0"),
    ({"top_k": 1000}, r"top_k: expected 1 to \d+, got 1000"),
])
def test_generate_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        small().generate(**{"prompt": "the", **options})


def test_generate_needs_a_vocabulary():
    with pytest.raises(ValueError, match="expected a model with a vocabulary"):
        models.CharRNN(4, 3).generate("a")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_model_comes_back(tmp_path, suffix, dtype):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    model = small("gru", 4, 2, 0.25).to(dtype)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    state = pydl.random.get_state()
    other = models.CharRNN.load(path)
    assert pydl.random.get_state() == state
    assert other.config == model.config and other.vocab == VOCAB
    assert other.decoder.weight.dtype == dtype
    for name, a in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], a)
    assert other.generate("the", 30, seed=0) == model.generate("the", 30, seed=0)


def test_load_rejects(tmp_path):
    path = tmp_path / "x.npz"
    io.save_nested(path, {"kind": "other", "version": 1})
    with pytest.raises(ValueError, match=r"x\.npz: expected a pydl\.char_rnn of version 1"):
        models.CharRNN.load(path)
    good = small().checkpoint()
    for damaged in ({"config": {**good["config"], "hidden_size": 10}}, {"vocab": "ab"},
                    {"config": {"hidden_size": 10}}, {"model": {}}, {"vocab": 3}):
        io.save_nested(path, {**good, **damaged})
        with pytest.raises(ValueError, match=r"x\.npz: damaged"):
            models.CharRNN.load(path)
    with pytest.raises(FileNotFoundError):
        models.CharRNN.load(tmp_path / "missing.npz")


@pytest.mark.parametrize("seed", range(10))
def test_hello(seed):
    """All four predictions of the word, from any seed and any small first state."""
    vocab = data.CharVocab("hello")
    tokens = vocab.encode("hello")[:, None]
    rng = np.random.default_rng(seed)
    pydl.manual_seed(seed)
    model = models.CharRNN(4, 3, cell="rnn", vocab=vocab)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    for _ in range(150):
        h0 = pydl.Tensor(rng.normal(0, 0.1, (1, 1, 3)).astype(np.float32))
        optimizer.zero_grad()
        logits, _ = model(tokens[:-1], h0)
        F.cross_entropy(logits[:, 0], tokens[1:, 0]).backward()
        optimizer.step()
    np.testing.assert_array_equal(model(tokens[:-1])[0].data.argmax(2), tokens[1:])
    assert model.generate("h", 4, temperature=0) == "hello"


def test_evaluation_is_the_mean_over_every_target():
    model = small(dropout=0.5)
    state = pydl.random.get_state()
    one_row = evaluate_text(model, TOKENS, batch_size=1)
    logits, _ = model.eval()(TOKENS[:-1, None])
    expected = F.cross_entropy(logits[:, 0], TOKENS[1:]).item()
    assert one_row == pytest.approx(expected, rel=1e-5)
    assert pydl.random.get_state() == state
    # More rows begin more often from nothing, but see the same text.
    assert evaluate_text(model, TOKENS, seq_length=30) == pytest.approx(expected, rel=0.05)
    assert math.isfinite(evaluate_text(model, TOKENS[:2]))
    with pytest.raises(ValueError, match=r"tokens: expected shape \(N,\) of at least 2"):
        evaluate_text(model, TOKENS[:1])


def fit(model, steps=None, **options):
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    options = {"batch_size": 3, "seq_length": 17, "progress": False, **options}
    return fit_text(model, TOKENS, TOKENS[:100], optimizer=optimizer, steps=steps, **options)


@pytest.mark.parametrize("cell", models.CELLS)
def test_it_learns_a_text_by_heart(cell):
    model = small(cell, hidden=32)
    history = fit(model, 250, every=100)
    assert history.step == [100, 200, 250] and len(history) == 3
    assert history.heldout_loss[-1] < 0.5 < math.log(len(VOCAB)) / 2
    assert history.train_loss[-1] < history.train_loss[0]
    assert model.generate("the quick", 20, 0) == "the quick brown fox jumps over"[:29]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_resumed_training_ends_with_the_same_bits(tmp_path, cell):
    """Stopped within an epoch and continued: state, position, dropout, moments, rates, history."""
    def model():
        return small(cell, 5, 2, 0.3)

    whole = model()
    expected = fit(whole, 23, every=5)
    path = tmp_path / "text.npz"
    first = model()

    class Stop(Exception):
        pass

    def stop(history):
        if history.step[-1] == 10:
            raise Stop

    with pytest.raises(Stop):
        fit(first, 23, every=5, report=stop, checkpoint=path)
    assert len(data.ContiguousBatches(TOKENS, 3, 17)) not in (5, 10)
    pydl.manual_seed(99)
    second = small(cell, 5, 2, 0.3, seed=5)
    history = fit(second, 23, every=5, checkpoint=path, resume=True)
    assert history.step == expected.step == [5, 10, 15, 20, 23]
    assert history.train_loss == expected.train_loss
    assert history.heldout_loss == expected.heldout_loss
    for name, a in whole.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], a)
    assert models.CharRNN.load(path).generate("the", 9, seed=0) == whole.generate("the", 9, seed=0)
    # A finished run has nothing to do.
    assert fit(second, 23, every=5, checkpoint=path, resume=True).step == history.step


def test_resume_refuses_another_run(tmp_path):
    path = tmp_path / "text.npz"
    fit(small(), 2, checkpoint=path)
    with pytest.raises(FileExistsError, match="resume=True"):
        fit(small(), 2, checkpoint=path)
    for other, options, message in (
        (small(hidden=8), {}, "hidden_size: expected 8, got 9"),
        (small("gru"), {}, "cell: expected 'gru', got 'lstm'"),
        (small(), {"batch_size": 2}, "batch_size: expected 2, got 3"),
        (small(), {"seq_length": 5}, "seq_length: expected 5, got 17"),
        (small(), {"clip_grad_norm": None}, r"clip_grad_norm: expected None, got 1\.0"),
    ):
        before = other.state_dict()
        with pytest.raises(ValueError, match=f"another run: {message}"):
            fit(other, 4, checkpoint=path, resume=True, **options)
        for name, a in other.state_dict().items():
            np.testing.assert_array_equal(before[name], a)
    with pytest.raises(ValueError, match="another run: text"):
        optimizer = optim.Adam(small().parameters(), lr=0.01)
        fit_text(small(), TOKENS[::-1], optimizer=optimizer, steps=3, batch_size=3, seq_length=17,
                 checkpoint=path, resume=True, progress=False)
    small().save(path)
    with pytest.raises(ValueError, match="expected a checkpoint of fit_text"):
        fit(small(), 4, checkpoint=path, resume=True)


@pytest.mark.parametrize(("options", "message"), [
    ({}, "steps, epochs, minutes: expected one of them, got none"),
    ({"steps": 1, "epochs": 1}, "expected one of them, got"),
    ({"steps": 0}, "steps: expected more than 0, got 0"),
    ({"minutes": math.nan}, "minutes: expected more than 0"),
    ({"steps": 1, "every": 0}, "every: expected more than 0"),
    ({"steps": 1, "clip_grad_norm": 0}, "clip_grad_norm: expected more than 0"),
    ({"steps": 1, "batch_size": 50}, r"tokens: expected at least batch_size \* seq_length"),
    ({"steps": 1, "checkpoint": "x.bin"}, "ends in .safetensors or .npz"),
])
def test_fit_text_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        fit(small(), **options)


def test_a_diverging_run_says_so():
    model = small()
    model.decoder.weight.data[:] = np.nan
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        fit(model, 3)


def test_epochs_and_minutes():
    model = small()
    batches = len(data.ContiguousBatches(TOKENS, 3, 17))
    assert fit(model, epochs=2).step == [batches, 2 * batches]
    history = fit(small(), minutes=0.005, every=10**6)
    assert len(history) == 1 and 0.2 < history.seconds[0] < 30
    assert fit_text(small(), TOKENS, optimizer=optim.SGD(small().parameters(), lr=0.1), steps=1,
                    batch_size=3, seq_length=5, progress=False).heldout_loss[0] != 0


@pytest.mark.parametrize("cell", models.CELLS)
@pytest.mark.parametrize(("columns", "horizon", "layers"), [(1, 1, 1), (3, 2, 2)])
def test_series_rnn(cell, columns, horizon, layers):
    pydl.manual_seed(0)
    model = models.SeriesRNN(5, horizon, columns, layers, cell).double()
    x = np.random.default_rng(0).normal(size=(4, 7, columns))
    y = model(x)
    assert y.shape == (4, horizon) and y.dtype == np.float64
    # It works on differences: another level gives the same forecast there.
    np.testing.assert_allclose(model(x + 100).data, y.data + 100, rtol=1e-9)
    assert isinstance(model.rnn, nn.Module)
    if columns == 1:
        np.testing.assert_array_equal(model(x[..., 0]).data, y.data)
    with pytest.raises(ValueError, match=r"x: expected shape \(B, L, "):
        model(np.zeros((4, 7, columns + 1)))
    with pytest.raises(ValueError, match="x: expected shape"):
        model(np.zeros((4, 0, columns)))


def test_series_rnn_rejects():
    with pytest.raises(ValueError, match="horizon: expected at least 1, got 0"):
        models.SeriesRNN(5, 0)
    with pytest.raises(ValueError, match="cell: expected one of"):
        models.SeriesRNN(5, cell="cnn")


@pytest.mark.parametrize("horizon", [1, 3])
def test_series_rnn_feeds_its_forecasts_back(horizon):
    pydl.manual_seed(0)
    model = models.SeriesRNN(5, horizon, dropout=0.5).double()
    x = np.random.default_rng(0).normal(size=(4, 7))
    before = x.copy()
    found = model.forecast(x, 5)
    assert model.training and found.shape == (4, 5) and found.dtype == np.float64
    model.eval()
    grown = x
    while grown.shape[1] < 12:
        grown = np.concatenate([grown, model(grown[:, -7:]).data], 1)
    np.testing.assert_array_equal(found, grown[:, 7:12])
    np.testing.assert_array_equal(model.forecast(pydl.Tensor(x), 1), found[:, :1])
    np.testing.assert_array_equal(x, before)
    assert model.forecast(x[:0], 5).shape == (0, 5)


@pytest.mark.parametrize(("columns", "shape", "steps", "message"), [
    (2, (4, 7, 2), 5, "forecast: expected a network of one column, got 2"),
    (1, (4, 7, 1), 5, r"x: expected shape \(B, L\) with L at least 2, got \(4, 7, 1\)"),
    (1, (4, 1), 5, r"x: expected shape \(B, L\) with L at least 2, got \(4, 1\)"),
    (1, (4, 7), 0, "steps: expected at least 1, got 0"),
])
def test_series_rnn_refuses_to_feed_back(columns, shape, steps, message):
    with pytest.raises(ValueError, match=message):
        models.SeriesRNN(5, 2, columns).forecast(np.zeros(shape, np.float32), steps)


def test_series_rnn_learns_a_sine():
    pydl.manual_seed(0)
    series = np.sin(np.arange(300) * 0.3).astype(np.float32)
    x, y = data.windows(series, 12)
    model = models.SeriesRNN(8)
    pydl.train.fit(model, (x, y), epochs=15, batch_size=32, loss=F.mse_loss, rng=0, progress=False,
                   optimizer=optim.Adam(model.parameters(), lr=0.02))
    errors = data.forecast_errors(pydl.train.predict(model, x), y)
    assert errors.rmse < 0.3 * data.forecast_errors(data.naive_forecast(x), y).rmse


def test_models_are_loaded_when_used():
    code = "import sys, pydl; assert 'pydl.models' not in sys.modules; pydl.models.CharRNN"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
