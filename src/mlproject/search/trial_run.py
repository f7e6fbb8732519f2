"""The MLflow run of a trial: its name and its tags."""

from mlproject.experiment import Value
from mlproject.search.journal import Trial

SHOWN_VALUES = 4  # in the name of a run


def run_name(record: Trial, first_trial: Trial, model_name: str) -> str:
    """The name of a trial's run, which stands alone: what differs from the first trial, in short.

    Args:
        record: the trial.
        first_trial: the trial of the best-known values.
        model_name: the registered name of the search's model.

    Returns:
        Such as "fashion-mnist-cnn trial 03: width 48, silu".
    """
    number = record.name.removeprefix("trial-")
    changed_values = {name: value for name, value in record.values.items() if value != first_trial.values.get(name)}
    parts = [_abbreviate(name, value) for name, value in changed_values.items()]
    description = "best-known values" if record is first_trial else ", ".join(parts[:SHOWN_VALUES]) or "the same values"
    ellipsis = ", ..." if len(parts) > SHOWN_VALUES else ""
    return f"{model_name} trial {number}: {description}{ellipsis}"


def run_tags(record: Trial, experiment: str, search: str) -> dict[str, str]:
    """The tags of a trial's run from its beginning, by which it is found.

    Args:
        record: the trial.
        experiment: the name of its experiment.
        search: the id of its search.

    Returns:
        Texts by name.
    """
    return {"role": "trial", "trial": record.name, "experiment": experiment, "search": search}


def end_tags(record: Trial) -> dict[str, str]:
    """The tags that a trial's run gets at its end: the status and, where there is one, the reason."""
    return {"status": record.status} | ({"reason": record.reason} if record.reason else {})


def _abbreviate(name: str, value: Value) -> str:
    """A hyperparameter in the name of a run: words speak for themselves."""
    if isinstance(value, str):
        return value
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
