"""The handwritten digits that scikit-learn carries: no download."""

from __future__ import annotations

import numpy as np

from pydl.data.datasets import ArrayDataset, Seed, Subset, stratified_split


def digits() -> ArrayDataset:
    """1797 real handwritten digits: images (1797,1,8,8) float32 in 0..1, labels (1797,) int64.

    Raises
    ------
    ImportError
        scikit-learn is not installed.

    Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits" (UCI), test part.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'the digits come with scikit-learn: pip install "pydl-kernels[data]"'
        ) from error
    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 1, 8, 8) / 16.0).astype(np.float32)
    return ArrayDataset(x, labels.astype(np.int64))


def digits_split(fraction: float = 0.2, rng: Seed = 0) -> tuple[Subset, Subset]:
    """The digits as (train, test), `fraction` of every class held out for the test.

    `rng` is a seed or a Generator; the same seed gives the same split.
    """
    return stratified_split(digits(), fraction, rng=rng)
