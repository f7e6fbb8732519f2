"""Data sets: loaders, synthetic stand-ins, label granularity, split and statistics.

A `Loader` (in `loader`) says what a data set's classes are and reads its images. There is one for each data set: in `cifar100`,
in `fashion_mnist`, and, for a user's own images, in the package `images`. `files` finds and reads files. `synthetic` makes
random images of the same shapes. `declaration` and `contract` check what a loader declares and delivers, before anything is
trained. `dataset` turns the arrays into the `Dataset` that all other modules use. `splitting` draws its validation images, and
`folds` those of a cross-validation. `mapped` reads arrays that are larger than the memory.
"""

from mlproject.datasets.cifar100 import CIFAR100
from mlproject.datasets.dataset import Dataset, Spec
from mlproject.datasets.fashion_mnist import FashionMNIST
from mlproject.datasets.files import Arrays
from mlproject.datasets.images.folder import ImageFolder
from mlproject.datasets.loader import KINDS, Loader

__all__ = ["CIFAR100", "KINDS", "Arrays", "Dataset", "FashionMNIST", "ImageFolder", "Loader", "Spec"]
