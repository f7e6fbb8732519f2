"""From experiments and what was asked for to Tasks: data, split, weights. What can be refused is refused here, untrained."""

from collections.abc import Sequence
from pathlib import Path

from mlproject import datasets, pretrained
from mlproject.experiment import Experiment
from mlproject.features import FeatureCache
from mlproject.search import Task

CACHE = Path(".cache")


def prepare(
    experiments: Sequence[Experiment],
    data: str = "real",
    data_dir: str | None = None,
    weights: str = "imagenet",
    seed: int = 0,
    cache: Path = CACHE,
) -> list[Task]:
    """A Task for each experiment; the parameters are the commands' options of the same names.

    Raises UserError for data or weights that are missing, damaged or unknown.
    """
    file = None
    if weights != "imagenet" or (data == "real" and any(one.pretrained for one in experiments)):
        file = pretrained.find(weights, data_dir)
    tasks = []
    for experiment in experiments:
        loaded = datasets.load(experiment.dataset, experiment.labels, data, data_dir)
        train, validation = loaded.split(seed)
        spec = loaded.spec(file if experiment.pretrained else None)
        features = FeatureCache(cache / "features", loaded)
        tasks.append(Task(experiment, loaded, spec, features, seed, train, validation))
    return tasks
