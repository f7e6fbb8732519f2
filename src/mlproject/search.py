"""The search: a Keras Tuner Oracle asks, a trial answers, a clock ends it. Every trial is an MLflow run of its own."""

import contextlib
import gc
import math
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

import keras
import keras_tuner
import numpy as np
import pandas as pd
import psutil
import tensorflow as tf
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

from mlproject import tracking
from mlproject.datasets import Dataset, Spec
from mlproject.errors import UserError
from mlproject.experiment import Experiment
from mlproject.features import FeatureCache
from mlproject.training import Fit, Length, Recipe, fit, lengths, measure, memory_needed, multiply_adds

OBJECTIVE = "val_accuracy"
SEARCH_SHARE = 0.4  # of an experiment's budget; the final fit gets what is left
# The search's time is cut into equal trials: as many as can pass over the training images once, but at least and at most
# so many. Shorter trials than a pass rank hyperparameters badly, fewer than three are no search.
FEWEST_TRIALS, MOST_TRIALS = 3, 8
TRAINING_SHARE = 0.8  # of a trial's seconds; the rest goes to building, tracing and validation
MIN_EPOCHS = 2  # so that a trial's curve is a curve
FAILURES_IN_A_ROW = 10  # that end a search: what fails at once would otherwise fill the budget with failed runs
HYPERBAND_EPOCHS, HYPERBAND_FACTOR = 9, 3  # a power of the factor, else Hyperband's brackets round badly


@dataclass(frozen=True)
class Task:
    """What stays the same in all fits of one experiment: the data, the rows of its split, the cache, the seed."""

    experiment: Experiment
    data: Dataset
    spec: Spec
    features: FeatureCache
    seed: int
    train: np.ndarray
    validation: np.ndarray

    def network(self, values: dict) -> tuple[keras.Model, Recipe]:
        """A freshly initialised network and its recipe for these hyperparameter values; the same values give the same weights."""
        keras.backend.clear_session()
        gc.collect()
        self._refuse_too_big(values)
        keras.utils.set_random_seed(self.seed)
        hp = hyperparameters(values)
        return self.experiment.build(hp, self.spec), self.experiment.recipe(hp)

    def _refuse_too_big(self, values: dict) -> None:
        """Raise TooBigError before a network's weights are made that the kernel would kill the process for."""
        if tf.config.list_physical_devices("GPU"):
            return  # its memory is another, and TensorFlow itself raises when that is full
        hp = hyperparameters(values)
        try:
            with keras.StatelessScope(initialize_variables=False):  # weights are declared, not made
                needed = memory_needed(self.experiment.build(hp, self.spec), self.experiment.recipe(hp))
        except Exception:  # either `build` fails, which it will again, or it needs the weights' values
            return
        finally:
            keras.backend.clear_session()  # or Keras would make them later
        free = psutil.virtual_memory().available
        if needed > free:
            raise TooBigError(
                f"training needs {needed / 1e9:.1f} GB of memory at the very least, {free / 1e9:.1f} GB are free"
            )


class TooBigError(MemoryError):
    """A network that cannot be trained in the memory there is."""


def hyperparameters(values: dict) -> keras_tuner.HyperParameters:
    """Keras Tuner's container holding these values; what `build` and `recipe` declare on it then takes them."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp


@dataclass(frozen=True)
class Found:
    """What a search came out with: the winner's hyperparameters, validation accuracy and speeds, and a row for each trial."""

    values: dict
    val_accuracy: float
    speeds: dict[str, float]
    trials: pd.DataFrame
    seconds: float


class SearchFailedError(UserError):
    """No trial was completed."""


def search(task: Task, tuner: str, deadline: float, max_trials: int | None) -> Found:
    """Run trials for SEARCH_SHARE of the time left until `deadline` (`time.monotonic()` seconds), or `max_trials` of them.

    `tuner` is a key of TUNERS; the first trial has the best-known hyperparameters. All trials of full length are planned to
    take the same time, from the speed measured on the best-known network and the multiply-adds of each. Raises
    SearchFailedError, with the commonest reason, when no trial is completed.
    """
    began = time.monotonic()
    # Frozen features are computed here too. They serve search and final fit alike, so only the time after is shared out.
    pace = _Pace.measured(task)
    seconds = SEARCH_SHARE * max(deadline - time.monotonic(), 1.0)
    with tempfile.TemporaryDirectory() as folder:
        running = _Tuner(task, tuner, pace, seconds, max_trials, folder)
        running.search()
        return running.found(time.monotonic() - began)


@dataclass(frozen=True)
class _Pace:
    """How fast the best-known network trains in each stage (images per second), and the multiply-adds behind that."""

    speeds: dict[str, float]
    work: dict[str, int]

    @classmethod
    def measured(cls, task: Task):
        try:
            model, recipe = task.network(task.experiment.best)
            work = multiply_adds(model, recipe)
            return cls(measure(model, recipe, task.data, task.train, task.features), work)
        except Exception as error:  # whatever an experiment's code raises; without a speed nothing can be planned
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise SearchFailedError(
                f"experiment={task.experiment.name!r}: its best-known hyperparameters fail: {reason}"
            ) from error

    def trials(self, seconds: float, images: int) -> int:
        """How many trials to cut the seconds into."""
        passes = seconds * min(self.speeds[stage] for stage in self.work) / images
        return min(max(int(passes), FEWEST_TRIALS), MOST_TRIALS)

    def of(self, model: keras.Model, recipe: Recipe) -> dict[str, float]:
        """The speed another network should have: the final fit has minutes, so a bigger one must do with fewer steps."""
        return {
            stage: self.speeds[stage] * self.work[stage] / max(work, 1)
            for stage, work in multiply_adds(model, recipe).items()
        }


class _BestKnownFirst:
    """Mixed into an Oracle: the first trial has the best-known values, and no point is tried twice."""

    best: dict

    def _random_values(self):
        if not self.trials:
            return dict(self.best)
        return super()._random_values()

    def populate_space(self, trial_id):
        answer = super().populate_space(trial_id)
        # The Bayesian oracle proposes a point again when its model is sure of it.
        if (
            answer["status"] == "RUNNING"
            and "tuner/epochs" not in answer["values"]
            and self._duplicate(answer["values"])
        ):
            values = self._random_values()
            return {"status": "RUNNING", "values": values} if values else {"status": "STOPPED"}
        return answer


class _RandomOracle(_BestKnownFirst, RandomSearchOracle):
    pass


class _BayesianOracle(_BestKnownFirst, BayesianOptimizationOracle):
    pass


class _HyperbandOracle(_BestKnownFirst, HyperbandOracle):
    pass


TUNERS = {
    "random": lambda **common: _RandomOracle(**common),
    # Four points before the model is asked: budgets of minutes allow a dozen trials, not Keras Tuner's 3 per dimension.
    "bayesian": lambda **common: _BayesianOracle(num_initial_points=4, **common),
    "hyperband": lambda max_trials, **common: _HyperbandOracle(
        max_epochs=HYPERBAND_EPOCHS, factor=HYPERBAND_FACTOR, hyperband_iterations=10_000, **common
    ),
}


def _oracle(tuner: str, best: dict, seed: int, max_trials: int | None):
    # The failure limit would end the search with the last trial left running; failures are counted at its end instead.
    oracle = TUNERS[tuner](
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        # The space is read off a network built with these values: the declared defaults may not even fit together.
        hyperparameters=hyperparameters(best),
        max_trials=max_trials,
        seed=seed + 1,  # Keras Tuner takes a seed of 0 for none
        max_consecutive_failed_trials=10**9,
    )
    oracle.best, oracle.verbose = dict(best), 0
    return oracle


class _OutOfBudgetError(Exception):
    """Raised between two trials, where Keras Tuner loses nothing by it."""


@dataclass
class _Record:
    """One trial, as the table of trials shows it."""

    trial: str
    values: dict
    status: str = "failed"
    val_accuracy: float = math.nan
    seconds: float = 0.0
    minutes: float = 0.0  # from the search's start to the trial's end
    reason: str = ""
    speeds: dict = field(default_factory=dict)


class _Tuner(keras_tuner.Tuner):
    """Keras Tuner with its `run_trial` replaced as a whole: a nested run, our fit, the budget."""

    def __init__(self, task: Task, tuner: str, pace: _Pace, seconds: float, max_trials: int | None, folder: str):
        self.task, self.pace, self.max_trials = task, pace, max_trials
        self.trial_seconds = seconds / (max_trials or pace.trials(seconds, len(task.train)))
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.records: list[_Record] = []
        super().__init__(
            oracle=_oracle(tuner, task.experiment.best, task.seed, max_trials),
            hypermodel=self._declare,
            directory=folder,
            project_name=task.experiment.name,
        )
        if not self.oracle.get_space().space:
            raise UserError(
                f"experiment={task.experiment.name!r} declares no hyperparameters; accepted: at least one hp.* in build or recipe"
            )

    def _declare(self, hp):
        self.task.experiment.recipe(hp)
        return self.task.experiment.build(hp, self.task.spec)

    def search(self):
        """Keras Tuner's loop, until the budget is used."""
        with contextlib.suppress(_OutOfBudgetError):
            super().search()

    def pre_create_trial(self):
        """End the search when the next trial would not be done by the deadline."""
        usual = statistics.median(record.seconds for record in self.records) if self.records else 0.0
        late = time.monotonic() + 0.8 * usual > self.deadline
        last = [record.status for record in self.records[-FAILURES_IN_A_ROW:]]
        hopeless = last == ["failed"] * FAILURES_IN_A_ROW
        if late or hopeless or (self.max_trials and len(self.records) >= self.max_trials):
            raise _OutOfBudgetError

    def run_trial(self, trial):
        """Train one set of hyperparameters; gives its objective, or NaN, by which the Oracle counts the trial as failed."""
        values = {name: value for name, value in trial.hyperparameters.values.items() if not name.startswith("tuner/")}
        rung = trial.hyperparameters.values.get("tuner/epochs", HYPERBAND_EPOCHS) / HYPERBAND_EPOCHS
        record = _Record(f"trial-{int(trial.trial_id) + 1:02d}", values)
        self.records.append(record)
        began = time.monotonic()
        try:
            with tracking.run(record.trial, {"role": "trial", "experiment": self.task.experiment.name}, nested=True):
                self._train(record, rung)
                tracking.set_tags({"status": record.status})
        except Exception as error:  # whatever a network raises: the run says so, and the search goes on
            record.reason = f"{type(error).__name__}: {error}".splitlines()[0]
        record.seconds = time.monotonic() - began
        record.minutes = (time.monotonic() - self.began) / 60
        self._say(record)
        return {OBJECTIVE: record.val_accuracy}

    def _train(self, record: _Record, rung: float):
        """The trial itself; fills the record. From scratch at every rung: the schedule then always runs down to its end."""
        task = self.task
        tracking.log_params(record.values | {"seed": task.seed, "rung": rung})
        model, recipe = task.network(record.values)
        seconds = TRAINING_SHARE * rung * self.trial_seconds
        plan = lengths(recipe, self.pace.of(model, recipe), seconds, len(task.train), MIN_EPOCHS)
        tracking.log_params(plan_params(plan))
        result = fit(
            model,
            recipe,
            plan,
            task.data,
            task.train,
            task.validation,
            features=task.features,
            seed=task.seed,
            on_epoch=log_epoch,
            deadline=self.deadline,
            on_hang=tracking.ender(),
        )
        record.val_accuracy = float(result.history["val_accuracy"].iloc[-1])
        record.speeds = result.speeds
        record.status = "truncated" if result.truncated else "completed"
        tracking.log_metrics(_trial_metrics(model, result))

    def _say(self, record: _Record):
        outcome = (
            f"validation accuracy {record.val_accuracy:.4f}"
            if record.status != "failed"
            else f"failed: {record.reason}"
        )
        print(f"  {record.trial}  {outcome}  ({record.seconds:.0f} s)", flush=True)

    def found(self, seconds: float) -> Found:
        """The winner among the completed trials."""
        done = [record for record in self.records if record.status != "failed"]
        if not done:
            reasons = Counter(record.reason for record in self.records).most_common(1)
            raise SearchFailedError(
                f"experiment={self.task.experiment.name!r}: none of {len(self.records)} trials was completed"
                + (f"; the commonest reason: {reasons[0][0]}" if reasons else "; the budget ended before the first one")
            )
        best = max(done, key=lambda record: record.val_accuracy)
        rows = [
            {
                "trial": r.trial,
                "status": r.status,
                OBJECTIVE: r.val_accuracy,
                "seconds": round(r.seconds, 1),
                "minutes": round(r.minutes, 2),
                "reason": r.reason,
            }
            | r.values
            for r in self.records
        ]
        return Found(best.values, best.val_accuracy, self.pace.speeds | best.speeds, pd.DataFrame(rows), seconds)


def log_epoch(epoch: int, row: dict) -> None:
    """Log one row of a fit's history as metrics of the active run, at the step `epoch`."""
    tracking.log_metrics({name: value for name, value in row.items() if name not in ("epoch", "stage")}, step=epoch)


def plan_params(plan: dict[str, Length]) -> dict[str, int]:
    """The planned length of each stage as parameters: the same numbers give the same fit again."""
    return {
        f"{stage}_{name}": value
        for stage, length in plan.items()
        for name, value in (("epochs", length.epochs), ("steps", length.steps))
    }


def _trial_metrics(model: keras.Model, result: Fit) -> dict[str, float]:
    history = result.history
    metrics = {
        "best_val_accuracy": history["val_accuracy"].max(),
        "train_seconds": history["seconds"].sum(),
        "parameters": model.count_params(),
    }
    for stage, rows in history.groupby("stage", sort=False):
        metrics[f"{stage}_val_accuracy"] = rows["val_accuracy"].iloc[-1]
        metrics[f"{stage}_images_per_second"] = result.speeds[stage]
    return metrics
