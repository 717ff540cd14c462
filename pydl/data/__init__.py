"""Data sets, splits and batches. NumPy arrays in, NumPy arrays out."""

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
from pydl.data.loader import DataLoader
from pydl.data.mnist import mnist, read_idx

__all__ = [
    "CIFAR10_CLASSES",
    "ArrayDataset",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "Subset",
    "TensorDataset",
    "cache_folder",
    "cifar10",
    "collate",
    "digits",
    "digits_split",
    "download",
    "image_to_array",
    "mnist",
    "random_split",
    "read_cifar10",
    "read_idx",
    "stratified_split",
]
