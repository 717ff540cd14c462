"""`pydl.integrations.sklearn`: scikit-learn's own checks, and what they do not see."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.datasets import load_digits, make_regression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from pydl import nn, random
from pydl.integrations.sklearn import PydlClassifier, PydlRegressor


@pytest.mark.parametrize("make", [PydlClassifier, PydlRegressor])
def test_scikit_learns_checks(make):
    results = check_estimator(make(), on_skip=None)
    assert len(results) > 40
    failed = [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")]
    assert not failed


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x[:600] / 16).astype(np.float32), np.array(list("abcdefghij"))[y[:600]]


@pytest.mark.filterwarnings("ignore:.*reached and the optimization")
def test_digits_are_read_as_well_as_by_scikit_learns_perceptron(digits):
    x, y = digits
    ours = PydlClassifier(64, epochs=60, tol=0, random_state=0)
    theirs = MLPClassifier(64, max_iter=60, batch_size=32, tol=0, alpha=0, random_state=0)
    score, expected = (
        cross_val_score(make_pipeline(StandardScaler(), model), x, y, cv=5).mean()
        for model in (ours, theirs)
    )
    assert score > expected - 0.03
    search = GridSearchCV(
        PydlClassifier(epochs=3, random_state=0), {"hidden_layer_sizes": [(8,), (32, 16)]}, cv=2
    )
    assert search.fit(x, y).best_estimator_.predict(x[:2]).shape == (2,)


def test_probabilities_and_dtypes(digits):
    x, y = digits
    model = PydlClassifier(16, epochs=5, random_state=1).fit(x, y)
    p = model.predict_proba(x)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(x), model.classes_[p.argmax(1)])
    assert model.n_iter_ == len(model.loss_curve_) == 5
    assert PydlClassifier(4, epochs=1).fit(x.astype(float), y).predict_proba(x).dtype == float


def test_random_state_decides_and_touches_nothing(digits):
    x, y = digits
    before = random.get_state()
    first, again, other = (
        PydlClassifier(8, epochs=2, random_state=seed).fit(x, y) for seed in (3, 3, 4)
    )
    assert random.get_state() == before
    np.testing.assert_array_equal(first.predict_proba(x), again.predict_proba(x))
    assert not np.array_equal(first.predict_proba(x), other.predict_proba(x))


def convolutional(inputs, outputs):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(72, outputs),
    )


def test_a_module_of_the_users(digits):
    x, y = digits
    model = PydlClassifier(module=convolutional, epochs=20, learning_rate=3e-3, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.95
    again = clone(model).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    kept = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(kept.predict_proba(x), model.predict_proba(x))


def test_a_module_instance_is_copied(digits):
    x, y = digits
    module = nn.Linear(64, 10)
    before = module.weight.data.copy()
    model = PydlClassifier(module=module, epochs=2).fit(x.astype(np.float64), y)
    np.testing.assert_array_equal(module.weight.data, before)
    assert not np.array_equal(model.model_.weight.data, before)


def test_partial_fit(digits):
    x, y = digits
    model = PydlClassifier(32, random_state=0, learning_rate=1e-2)
    model.partial_fit(x[:5], y[:5], classes=np.unique(y))
    for _ in range(15):
        model.partial_fit(x, y)
    assert model.score(x, y) > 0.9 and model.n_iter_ == 16
    with pytest.raises(ValueError, match=r"y: expected labels of .* got \['z'\]"):
        model.partial_fit(x[:1], ["z"])
    with pytest.raises(ValueError, match="classes: expected .* as before"):
        model.partial_fit(x, y, classes=["a", "b"])


def test_early_stopping_restores_the_best_epoch(digits):
    x, y = digits
    model = PydlClassifier(
        64, epochs=60, learning_rate=0.05, early_stopping=True, n_iter_no_change=2, random_state=0
    ).fit(x, y)
    assert model.n_iter_ < 60
    assert model.score(x, y) > 0.9


def test_training_stops_when_the_loss_stays(digits):
    x, y = digits
    model = PydlClassifier(4, epochs=50, tol=10.0, n_iter_no_change=3).fit(x, y)
    assert model.n_iter_ == 4


def test_regression_with_one_and_two_outputs():
    x, y = make_regression(200, 5, n_informative=3, n_targets=2, random_state=0)
    y /= y.std(0)
    model = PydlRegressor((32, 32), epochs=60, learning_rate=3e-3, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.95
    assert model.predict(x).shape == (200, 2)
    assert model.fit(x, y[:, 0]).predict(x).shape == (200,)
    assert model.partial_fit(x, y[:, 0]).n_iter_ == model.n_iter_


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 0}, "epochs: expected an integer of at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size: expected an integer of at least 1, got 1.5"),
        ({"hidden_layer_sizes": (4, 0)}, r"hidden_layer_sizes: expected integers of at least 1, "
                                         r"got \(4, 0\)"),
        ({"hidden_layer_sizes": 2.5}, "hidden_layer_sizes: expected integers .* got 2.5"),
        ({"validation_fraction": 1.0}, "validation_fraction: expected a number between 0 and 1"),
        ({"validation_fraction": None}, "validation_fraction: expected a number .* got None"),
        ({"learning_rate": -1.0}, "learning_rate: expected a number of at least 0, got -1.0"),
        ({"weight_decay": "l2"}, "weight_decay: expected a number of at least 0, got 'l2'"),
        ({"tol": float("nan")}, "tol: expected a number of at least 0, got nan"),
        ({"module": 3}, "module: expected a Module or a function, got 3"),
    ],
)
def test_options_out_of_range(options, text):
    with pytest.raises(ValueError, match=text):
        PydlRegressor(**options).fit(np.ones((4, 2)), np.ones(4))
