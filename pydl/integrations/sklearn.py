"""Estimators for scikit-learn: `PydlClassifier` and `PydlRegressor` in pipelines and searches.

They train a multilayer perceptron, or a module of the user's, with `pydl.train.fit` and Adam.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from pydl import functional as F
from pydl import kernels, nn, optim, random, train

__all__ = ["PydlClassifier", "PydlRegressor"]

_DTYPES = [np.float64, np.float32]


class _Estimator(BaseEstimator):
    """What both estimators share: the network, its training and its outputs."""

    def __init__(
        self,
        hidden_layer_sizes: int | tuple[int, ...] = (100,),
        *,
        module: nn.Module | Callable[[int, int], nn.Module] | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.module = module
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def _begin(self, inputs: int, outputs: int, dtype: Any) -> None:
        """Make the network and its optimizer."""
        if isinstance(self.module, nn.Module):
            model = copy.deepcopy(self.module)
        elif self.module is not None:
            model = self.module(inputs, outputs)
        else:
            model = _perceptron(inputs, self.hidden_layer_sizes, outputs, dtype)
        self.model_ = model
        self._optimizer = optim.Adam(
            model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0

    def _train(self, x: np.ndarray, y: np.ndarray, epochs: int, stop: bool) -> None:
        """Some epochs on inputs x and targets y; with `stop`, fewer if the loss stays."""
        data: Any = (self._cast(x), y)
        validation = stopping = None
        if stop and self.early_stopping:
            labels = y if y.dtype.kind == "i" else None
            kept, tested = train_test_split(
                np.arange(len(x)),
                test_size=self.validation_fraction,
                random_state=int(random.default_generator.integers(2**31)),
                stratify=labels,
            )
            data, validation = ([a[rows] for a in data] for rows in (kept, tested))
        if stop:
            monitor = "validation_loss" if validation is not None else "train_loss"
            stopping = train.EarlyStopping(
                self.n_iter_no_change, monitor, self.tol, restore_best=validation is not None
            )
        history = train.fit(
            self.model_,
            tuple(data),
            None if validation is None else tuple(validation),
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self._optimizer,
            loss=self._loss,
            early_stopping=stopping,
            progress=self.verbose,
        )
        self.loss_curve_ += history.train_loss
        self.loss_ = self.loss_curve_[-1]
        self.n_iter_ += len(history)

    _loss: Any = None

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Let `random_state` decide all that pydl draws inside, and nothing outside."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        before = random.get_state()
        random.manual_seed(seed)
        try:
            yield
        finally:
            random.set_state(before)

    def _check_options(self) -> None:
        for name in ("epochs", "batch_size", "n_iter_no_change"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")
        for name in ("learning_rate", "weight_decay", "tol"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0:
                raise ValueError(f"{name}: expected a number of at least 0, got {value!r}")
        fraction: Any = self.validation_fraction
        if not isinstance(fraction, Real) or not 0 < float(fraction) < 1:
            raise ValueError(
                f"validation_fraction: expected a number between 0 and 1, got {fraction!r}"
            )
        if self.module is not None and not callable(self.module):
            raise ValueError(f"module: expected a Module or a function, got {self.module!r}")

    def _cast(self, x: np.ndarray) -> np.ndarray:
        """Inputs in the dtype of the model's parameters."""
        first = next(iter(self.model_.parameters()), None)
        return x if first is None else x.astype(first.data.dtype, copy=False)

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=_DTYPES, reset=False)
        return train.predict(self.model_, self._cast(x))


class PydlClassifier(ClassifierMixin, _Estimator):
    """Classify with a neural network, by the softmax of its outputs.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int
        Widths of the hidden layers of the perceptron, with ReLU between them.
    module : Module, or function (n_features, n_outputs) -> Module
        A network of your own in place of the perceptron; its outputs are (N, n_outputs) logits. A
        Module is copied for each fit; its present weights are where training begins.
    epochs : int
        The most that `fit` trains.
    batch_size : int
    learning_rate, weight_decay : float
        Of Adam.
    early_stopping : bool
        Keep `validation_fraction` of the samples apart (of each class, for labels), stop by their
        loss, and restore the best epoch. Otherwise the training loss decides.
    validation_fraction : float between 0 and 1
    n_iter_no_change, tol : int, float
        Stop after so many epochs in which the loss has not fallen by more than tol.
    random_state : int, RandomState or None
        Decides the initial weights, the batches and dropout.
    verbose : bool
        Show the progress of training.

    Attributes
    ----------
    model_ : Module
    classes_ : (n_classes,) array
    n_iter_ : int, epochs done
    loss_curve_, loss_ : list of float, float; the training loss of each epoch, and of the last
    n_features_in_, feature_names_in_ : as everywhere in scikit-learn

    Raises
    ------
    ValueError for options and data out of range; the text names them.
    """

    def fit(self, X: Any, y: Any) -> PydlClassifier:
        """Train from the beginning. X (N, n_features), y (N,) labels."""
        self._check_options()
        x, labels = self._validated(X, y, reset=True)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        with self._seeded():
            self._begin(x.shape[1], len(self.classes_), x.dtype)
            self._train(x, numbers.astype(np.int64), self.epochs, stop=True)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> PydlClassifier:
        """Train one epoch more; the first call needs all `classes`, unless y has them."""
        self._check_options()
        first = not hasattr(self, "model_")
        x, labels = self._validated(X, y, reset=first)
        if first:
            self.classes_ = np.unique(labels if classes is None else classes)
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"classes: expected {self.classes_} as before, got {classes}")
        strange = np.setdiff1d(labels, self.classes_)
        if len(strange):
            raise ValueError(f"y: expected labels of {self.classes_}, got {strange}")
        numbers = np.searchsorted(self.classes_, labels)
        with self._seeded():
            if first:
                self._begin(x.shape[1], len(self.classes_), x.dtype)
            self._train(x, numbers.astype(np.int64), 1, stop=False)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """X (N, n_features) -> probabilities (N, n_classes), in the order of `classes_`."""
        return kernels.softmax_forward(self._outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """X (N, n_features) -> labels (N,)."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]

    _loss = staticmethod(F.cross_entropy)

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        x, labels = validate_data(self, X, y, dtype=_DTYPES, reset=reset)
        check_classification_targets(labels)
        return x, column_or_1d(labels, warn=True)


class PydlRegressor(RegressorMixin, _Estimator):
    """Regress with a neural network, by the squared error of its outputs.

    Parameters and attributes are those of `PydlClassifier`, without classes; y may have several
    columns. Scale X and y to about unit variance before (`TransformedTargetRegressor`).
    """

    def fit(self, X: Any, y: Any) -> PydlRegressor:
        """Train from the beginning. X (N, n_features), y (N,) or (N, n_outputs)."""
        self._check_options()
        x, targets = self._validated(X, y, reset=True)
        with self._seeded():
            self._begin(x.shape[1], targets.shape[1], x.dtype)
            self._train(x, self._cast(targets), self.epochs, stop=True)
        return self

    def partial_fit(self, X: Any, y: Any) -> PydlRegressor:
        """Train one epoch more."""
        self._check_options()
        first = not hasattr(self, "model_")
        x, targets = self._validated(X, y, reset=first)
        with self._seeded():
            if first:
                self._begin(x.shape[1], targets.shape[1], x.dtype)
            self._train(x, self._cast(targets), 1, stop=False)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """X (N, n_features) -> (N,) or (N, n_outputs), as y was in `fit`."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._flat else outputs

    _loss = staticmethod(F.mse_loss)

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        x, targets = validate_data(
            self, X, y, dtype=_DTYPES, multi_output=True, y_numeric=True, reset=reset
        )
        self._flat = targets.ndim == 1
        return x, targets.reshape(len(x), -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


def _perceptron(
    inputs: int, hidden: int | tuple[int, ...], outputs: int, dtype: Any
) -> nn.Module:
    widths: Any = hidden if hasattr(hidden, "__iter__") else [hidden]
    if not all(isinstance(width, Integral) and int(width) >= 1 for width in widths):
        raise ValueError(f"hidden_layer_sizes: expected integers of at least 1, got {hidden!r}")
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, int(width), dtype=dtype), nn.ReLU()]
        inputs = int(width)
    return nn.Sequential(*layers, nn.Linear(inputs, outputs, dtype=dtype))
