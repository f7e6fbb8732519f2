"""The table of data sets, and the function that loads a data set by its name."""

from pathlib import Path
from types import ModuleType

from mlproject.datasets import cifar100, contract, fashion_mnist, synthetic
from mlproject.datasets.dataset import Dataset, from_arrays
from mlproject.datasets.declaration import declaration
from mlproject.errors import UserError

# To add a data set, write a reader (a module beside this one), import it above and add its line here: the name of the
# data set, its reader, and the label granularities that it offers: ("coarse", "fine") if its classes form
# superclasses, else ("flat",). A reader defines
#   CLASSES                       the names of the finest classes
#   SHAPE                         (height, width, channels) of an image, or (height, width) if it is grey
#   read(data_dir) -> Arrays      the images, and labels as indices into CLASSES; `contract` says what else is accepted
#   SUPERCLASSES, SUPERCLASS_OF   only with superclasses: their names, and the index of each class's superclass
DATA_SETS: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "cifar100": (cifar100, ("coarse", "fine")),
    "fashion-mnist": (fashion_mnist, ("flat",)),
}
NAMES: tuple[str, ...] = tuple(DATA_SETS)
LABELS: dict[str, tuple[str, ...]] = {name: labels for name, (_, labels) in DATA_SETS.items()}
KINDS = ("real", "synthetic")


def check(name: str, labels: str, kind: str = "real") -> None:
    """Check that a data set exists and has this label granularity, without loading it.

    Args:
        name: one of `NAMES`.
        labels: one of `LABELS[name]`.
        kind: one of `KINDS`.

    Raises:
        UserError: one of the three is unknown; the message lists what is accepted.
    """
    if name not in DATA_SETS:
        raise UserError(f"unknown data set {name!r}; accepted: {', '.join(NAMES)}")
    if labels not in LABELS[name]:
        raise UserError(f"unknown labels {labels!r} of data set {name}; accepted: {', '.join(LABELS[name])}")
    if kind not in KINDS:
        raise UserError(f"unknown kind of data {kind!r}; accepted: {', '.join(KINDS)}")


def load(name: str, labels: str, kind: str = "real", data_dir: Path | str | None = None) -> Dataset:
    """Load a data set at one label granularity.

    Args:
        name: one of `NAMES`.
        labels: one of `LABELS[name]`.
        kind: "real" for the published files, which are searched for in the order that `mlproject.datasets.files`
            describes and downloaded if no copy is found; or "synthetic" for a small set with the same image shape and
            class names, made from seed 0 (see `mlproject.datasets.synthetic`).
        data_dir: the folder that holds the real files. If given, the files must be there.

    Returns:
        The data set, all of it in memory.

    Raises:
        UserError: unknown name, labels or kind; files that are missing, damaged or not as published; a failed download;
            a reader that breaks the contract (see `mlproject.datasets.contract`).
    """
    check(name, labels, kind)
    reader, offered = DATA_SETS[name]
    declared = declaration(name, reader, offered)
    arrays = synthetic.make(declared) if kind == "synthetic" else contract.read(declared, reader, data_dir)
    return from_arrays(declared, labels, contract.check(declared, arrays), synthetic=kind == "synthetic")
