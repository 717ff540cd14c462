"""Data sets, splits, batches, texts and series. NumPy arrays in, NumPy arrays out."""

from pydl.data.cifar10 import CIFAR10_CLASSES, cifar10, read_cifar10
from pydl.data.datasets import (
    ArrayDataset,
    Dataset,
    Subset,
    TensorDataset,
    collate,
    random_split,
    stratified_split,
)
from pydl.data.digits import digits, digits_split
from pydl.data.files import cache_folder, download
from pydl.data.image_folder import ImageFolder, image_to_array
from pydl.data.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augment,
    center_crop,
    load_image,
    normalize,
    preprocess,
    random_crop,
    random_flip,
    resize,
)
from pydl.data.loader import DataLoader
from pydl.data.mnist import mnist, read_idx
from pydl.data.series import (
    ForecastErrors,
    MinMaxScaler,
    StandardScaler,
    forecast_errors,
    google_prices,
    naive_forecast,
    read_csv_column,
    windows,
)
from pydl.data.text import CharVocab, ContiguousBatches, load_text, python_docs, tinyshakespeare

__all__ = [
    "CIFAR10_CLASSES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ArrayDataset",
    "Augment",
    "CharVocab",
    "ContiguousBatches",
    "DataLoader",
    "Dataset",
    "ForecastErrors",
    "ImageFolder",
    "MinMaxScaler",
    "StandardScaler",
    "Subset",
    "TensorDataset",
    "cache_folder",
    "center_crop",
    "cifar10",
    "collate",
    "digits",
    "digits_split",
    "download",
    "forecast_errors",
    "google_prices",
    "image_to_array",
    "load_image",
    "load_text",
    "mnist",
    "naive_forecast",
    "normalize",
    "preprocess",
    "python_docs",
    "random_crop",
    "random_flip",
    "random_split",
    "read_cifar10",
    "read_csv_column",
    "read_idx",
    "resize",
    "stratified_split",
    "tinyshakespeare",
    "windows",
]
