"""Data sets: loading by name, synthetic stand-ins, label granularity, split and statistics.

`catalogue` names the data sets and loads them; a new data set adds its line there. The *readers* (`cifar100`,
`fashion_mnist`) turn files into arrays, with the helpers of `files`; `synthetic` makes stand-ins of the same shapes.
`declaration` and `contract` check what a reader declares and delivers, before anything is trained.
`dataset` turns the arrays into the `Dataset` that all other modules use.
"""

from mlproject.datasets.catalogue import KINDS, LABELS, NAMES, check, load
from mlproject.datasets.dataset import Dataset, Spec

__all__ = ["KINDS", "LABELS", "NAMES", "Dataset", "Spec", "check", "load"]
