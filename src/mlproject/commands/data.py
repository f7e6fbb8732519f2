"""`mlproject data fetch`, `check` and `show`: the data sets of the experiments, and images of a user's own."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlproject import console, disk, settings
from mlproject.commands.shared import OrderedGroup, check_files, examples, verbose
from mlproject.errors import UserError, did_you_mean, truncate
from mlproject.names import check_spelling

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlproject.datasets import Loader

FOLDER = Path("reports", "data")


@click.group(
    cls=OrderedGroup,
    epilog=examples("mlproject data fetch", "mlproject data check photos"),
)
def data() -> None:
    """Fetch and show data sets, check your images."""


@data.command(
    epilog=examples("mlproject data fetch", "mlproject data fetch cifar100 --data-dir ~/downloads"),
)
@click.argument("names", nargs=-1, metavar="[DATASET]...")
@settings.options(*settings.DATA_OPTIONS)
@verbose
def fetch(names: tuple[str, ...], data: str, data_dir: str | None) -> None:
    """Find or download the experiments' data sets."""
    check_files(data, data_dir)
    for loader in _datasets(names).values():
        dataset = loader.load(loader.labels[0], data, data_dir)
        print(
            f"{dataset.name}: {len(dataset.train_images)} training and {len(dataset.test_images)} test images, "
            f"digest {dataset.digest}, from {dataset.source}"
        )


@data.command(
    epilog=examples("mlproject data show fashion-mnist", "mlproject data show cifar100 --data synthetic"),
)
@click.argument("names", nargs=-1, metavar="[DATASET]...")
@settings.options(*settings.DATA_OPTIONS)
@verbose
def show(names: tuple[str, ...], data: str, data_dir: str | None) -> None:
    """Describe data sets and draw examples."""
    check_files(data, data_dir)
    datasets = _datasets(names)
    from mlproject.datasets.images.sheet import data_sheet
    from mlproject.experiment import SYNTHETIC
    from mlproject.facts import facts

    for loader in datasets.values():
        dataset = loader.load(loader.labels[-1], data, data_dir)
        print(f"{dataset.name}\n{facts(dataset).to_string(index=False, header=False)}")
        name = f"{dataset.name}{SYNTHETIC if data == 'synthetic' else ''}"
        print(f"examples: {_write_figure(data_sheet(dataset, name), name)}\n", flush=True)


@data.command(
    epilog=examples("mlproject data check photos", "mlproject data check labels.csv"),
)
@click.argument("images", metavar="PATH")
@verbose
def check(images: str) -> int:
    """Check images of your own.

    The command prints counts, sizes, damaged files and copies, and draws some images of each class. PATH is a folder of
    folders, a manifest, Parquet files or an .npz file.
    """
    from mlproject.datasets import ImageFolder
    from mlproject.datasets.images import check
    from mlproject.datasets.images.sheet import contact_sheet

    image_folder = ImageFolder(images)
    description = check.describe(image_folder.entries, image_folder.scan, image_folder.readable_images)
    width = description.table["what"].str.len().max()
    print("\n".join(f"{fact:{width}}  {value}" for fact, value in description.table.itertuples(index=False)))
    for fact, names in description.lists.items():
        print(f"\n{fact}:\n" + "\n".join(f"  {name}" for name in names))
    try:
        check.require_trainable(image_folder.entries, image_folder.scan, image_folder.readable_images)
        figure = contact_sheet(image_folder.entries, image_folder.scan, image_folder.name)
    except UserError as error:
        print(f"\nerror: nothing can be trained with these images: {error}", file=sys.stderr)
        return 1
    print(f"\nexamples: {_write_figure(figure, image_folder.name)}")
    print(f"train with them: mlproject tune --images {shlex.quote(images)}")
    return 0


def _datasets(names: tuple[str, ...]) -> Mapping[str, "Loader"]:
    """The data sets of the experiments by name, or those named."""
    check_spelling("*")  # refuses a folder without experiments before Keras is imported
    with console.without_remarks():
        from mlproject.discovery import find

    known = {experiment.dataset.name: experiment.dataset for experiment in find("*") if experiment.dataset}
    for name in names:
        if name not in known:
            suggestion = did_you_mean([name], known)
            raise UserError(f"data set '{truncate(name)}' is not known; {suggestion}accepted: {', '.join(known)}")
    return {name: known[name] for name in names or known}


def _write_figure(figure: "Figure", name: str) -> Path:
    """Write the figure of a data set; gives its path."""
    disk.require_writable("folder", FOLDER)
    path = FOLDER / f"{name}.png"
    with disk.atomic_write(path) as part:
        figure.savefig(part, format="png")
    return path
