"""Tables for readers: the facts about a data set, and the layers of a network."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mlproject.datasets import Dataset, Spec, mapped
from mlproject.errors import UserError, first_line
from mlproject.experiment import Experiment, hyperparameters
from mlproject.networks import explain


def facts(data: Dataset) -> pd.DataFrame:
    """Describe a data set before any training.

    Args:
        data: the data set.

    Returns:
        The columns `what` and `value`, both text.
    """
    images, per_class = data.train_images, np.bincount(data.train_labels)
    mean, deviation = data.spec().mean, data.spec().std
    most_frequent = np.bincount(data.test_labels).max() / len(data.test_labels)
    darkest, brightest = mapped.extremes(images)
    rows = {
        "read from": Path(data.source).name,
        "training images": f"{len(images):,}",
        "test images": f"{len(data.test_images):,}",
        "shape of an image": " × ".join(map(str, images.shape[1:])),
        "numbers in an image": f"{images[0].size:,}",
        "a pixel": f"{images.dtype}, {darkest} to {brightest}",
        "mean of the training pixels, by colour": ", ".join(f"{value:.1f}" for value in mean),
        "their standard deviation": ", ".join(f"{value:.1f}" for value in deviation),
        "classes": f"{len(data.class_names)}",
        "training images of each class": " to ".join(
            f"{count:,}" for count in sorted({per_class.min(), per_class.max()})
        ),
        "share of the largest class in the test images": f"{most_frequent:.1%}",
    }
    return pd.DataFrame({"what": list(rows), "value": list(rows.values())})


def all_facts(data: Dataset) -> pd.DataFrame:
    """Describe a data set, with what its loader found out about the files.

    Args:
        data: the data set.

    Returns:
        The columns `what` and `value`, both text: those of `facts`, then the loader's, then the files or classes that it names.
    """
    description = data.description
    if description is None:
        return facts(data)
    lists = pd.DataFrame(
        [(f"{fact}: which", "; ".join(names)) for fact, names in description.lists.items()], columns=["what", "value"]
    )
    return pd.concat([facts(data), description.table, lists], ignore_index=True)


def layers(experiment: Experiment, spec: Spec) -> pd.DataFrame:
    """List the layers of the network with the best-known values.

    Args:
        experiment: builds the network.
        spec: what the network knows about the data. It gets the experiment's pretrained base.

    Returns:
        The table of `explain.layer_table`, with a column `input_shape` (a shape for each preceding layer) before
        `output_shape`, and "yes" in place of True.

    Raises:
        UserError: when the network cannot be built for grey and coloured images and for any number of classes.
    """
    spec = replace(spec, pretrained=experiment.pretrained)
    try:
        table = explain.layer_table(partial(experiment.network, hyperparameters(experiment.best)), spec)
    except Exception as error:  # whatever `build` raises
        raise UserError(
            f"experiment={experiment.name!r}: its layers are not explained: {first_line(error)}; accepted: a `build` that works "
            "for grey and coloured images and for any number of classes"
        ) from error
    shape_of = dict(zip(table["layer"], table["output_shape"], strict=True))
    # A model within the model is not a layer of the table, so it has no shape here.
    input_shapes = [
        ", ".join(shape_of[name] for name in names.split() if name in shape_of) for names in table["inputs"]
    ]
    table.insert(list(table.columns).index("output_shape"), "input_shape", input_shapes)
    for column in table.select_dtypes(bool):
        table[column] = table[column].map({True: "yes", False: ""})
    return table
