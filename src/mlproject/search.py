"""The search: a Keras Tuner Oracle asks, a trial answers, a clock ends it. Every trial is an MLflow run of its own."""

import ast
import contextlib
import hashlib
import inspect
import json
import math
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pandas as pd

from mlproject import (
    batches,
    convolutions,
    features,
    layers,
    optimizers,
    oracles,
    pretrained,
    process,
    tracking,
    training,
)
from mlproject.errors import UserError, first_line
from mlproject.journal import Journal, Trial
from mlproject.oracles import HYPERBAND_EPOCHS, OBJECTIVE, oracle
from mlproject.pace import Pace
from mlproject.recipe import Length, Recipe, lengths, shortened
from mlproject.tasks import Task
from mlproject.training import Fit, fit

SEARCH_SHARE = 0.4  # of an experiment's budget; the final fit gets what is left
TRAINING_SHARE = 0.8  # of a trial's seconds; the rest goes to building, tracing and validation
# Of a trial's seconds: the last one may end so much after the search, or its rate would not come down to 0.
OVERRUN = 0.2
MIN_EPOCHS = 2  # of all stages together, so that a trial's curve is a curve
FAILURES_IN_A_ROW = 10  # that end a search: what fails at once would otherwise fill the budget with failed runs
MOST_STARTS = 3  # of a trial that the process does not survive, as one that needs more memory than there is


def made_of(task: Task, settings: Mapping[str, object]) -> dict[str, dict]:
    """What makes two searches the same: settings, space, code, data and libraries, each with a digest where it is long."""
    modules = (layers, batches, convolutions, optimizers, training, features, oracles)
    declared = map(inspect.getsourcefile, (task.experiment.build, task.experiment.recipe, Recipe, Pace))
    files = [*declared, *(module.__file__ for module in modules), __file__]
    weights = task.spec.weights
    return {
        "settings": dict(settings) | {"store": _digest(tracking.address().encode())},
        "space": _space(task),
        # Of the syntax tree: comments, and with them the text of an experiment's file, may change. Of what an experiment's
        # file imports only these modules count.
        "code": {Path(file).name: _digest(ast.dump(ast.parse(Path(file).read_bytes())).encode()) for file in files},
        "data": {"images": task.data.digest, "weights": pretrained.digest(weights) if weights else None},
        "libraries": {name: installed(name) for name in ("keras", "keras-tuner", "tensorflow")},
    }


def _space(task: Task) -> dict[str, str]:
    """Each hyperparameter with its range; empty when the best-known network cannot be built, which the search will tell."""
    try:
        space = task.space()
    except Exception:
        return {}
    return {one.name: f"{type(one).__name__} {json.dumps(one.get_config(), default=str)}" for one in space}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


@dataclass(frozen=True)
class Found:
    """What a search came out with: the winner's hyperparameters, validation accuracy, speeds, and a row for each trial.

    `seconds` is what the search took, `cost` what of the budget it used: the same but in a deterministic search. `fit_seconds`
    are those of the final fit as they were planned, whatever the trials took.
    """

    values: dict
    val_accuracy: float
    speeds: dict[str, float]
    trials: pd.DataFrame
    seconds: float
    cost: float
    fit_seconds: float


def standard_error(accuracy: float, images: int) -> float:
    """That of an accuracy measured on so many images (binomial); NaN of NaN."""
    return math.sqrt(accuracy * (1 - accuracy) / images)


def winner(done: Sequence[Trial], known: Mapping[str, object], images: int) -> Trial:
    """The most accurate trial, unless one of the `known` values is behind it by no more than the luck of both: then that one.

    Known values have been through whole fits, and a lead must make up for that of the luckiest of several trials. Luck is two
    standard errors of the difference of two accuracies, each of `images` validation images. After the one-standard-error rule of
    Breiman et al., Classification and Regression Trees, 1984, which asks for a third of it. By it two trials of CIFAR-100's
    network, ahead by 1.5 and 2 of its standard errors, were fitted whole: 2.6 and 1.9 test points behind the known values.
    """
    best = max(done, key=lambda trial: trial.val_accuracy)
    luck = 2 * math.sqrt(2) * standard_error(best.val_accuracy, images)
    near = [trial for trial in done if trial.values == known and best.val_accuracy - trial.val_accuracy <= luck]
    return max(near, key=lambda trial: trial.val_accuracy, default=best)


def search(
    task: Task, journal: Journal, tuner: str, seconds: float, max_trials: int | None, deterministic: bool = False
) -> Found:
    """Run trials for SEARCH_SHARE of the experiment's `seconds`, or `max_trials` of them; those in the journal count as run.

    Fewer trials than the seconds would be cut into are not longer for it: what they leave is for the final fit, which also
    gives what the last one needs beyond the search's end.

    `tuner` is a key of `oracles.TUNERS`; the first trial has the best-known hyperparameters. Trials of full length are planned to
    take the same time, or less where `max_epochs` ends the final fit early, from the speed measured on the best-known network and
    the multiply-adds of each; a `deterministic` search plans by the speed of a nominal machine instead, and no clock ends
    anything. Time lost to an interruption is not counted. Raises UserError, with the commonest reason, when no trial is
    completed.
    """
    pace = Pace(**journal.pace) if journal.pace else Pace.found(task, task.experiment.best, deterministic, seconds)
    if journal.pace is None:
        journal.pace = vars(pace)
        journal.save()
        _warn_of_little_time(task, pace.seconds, seconds)
    # Frozen features are computed for the pace. They serve search and final fit alike, so only the time after is shared out.
    left = max(seconds - pace.seconds, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        running = _Tuner(task, journal, tuner, pace, left, max_trials, folder)
        running.search()
        return running.found()


def _warn_of_little_time(task: Task, taken: float, budget: float) -> None:
    if taken > budget / 2:
        warnings.warn(
            f"experiment={task.experiment.name!r}: measuring its speed, with the activations of frozen layers, took "
            f"{taken / 60:.1f} of budget_minutes={budget / 60:g}, so it is hardly trained; activations are kept: the same with "
            "-P fresh=true has more time, as has a larger budget",
            stacklevel=2,
        )


class _OutOfBudgetError(Exception):
    """Raised between two trials, where Keras Tuner loses nothing by it."""


class _Tuner(keras_tuner.Tuner):
    """Keras Tuner with its `run_trial` replaced as a whole: a nested run, our fit, the budget, the journal."""

    def __init__(
        self,
        task: Task,
        journal: Journal,
        tuner: str,
        pace: Pace,
        seconds: float,
        max_trials: int | None,
        folder: str,
    ):
        self.task, self.journal, self.pace, self.max_trials = task, journal, pace, max_trials
        self.seconds = SEARCH_SHARE * seconds
        usual = pace.trials(self.seconds, len(task.train))
        trials = max_trials or usual
        self.trial_seconds = self.seconds / max(trials, usual)
        self.fit_seconds = seconds - trials * self.trial_seconds
        super().__init__(
            oracle=oracle(tuner, task.experiment, task.seed, max_trials, journal),
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
        finished = self.journal.finished
        if self.journal.trials:
            ended = {trial.run_id: "FAILED" if trial.status == "failed" else "FINISHED" for trial in finished}
            tracking.settle_trials(self.journal.search, ended)
            print(f"  goes on after {len(finished)} trials", flush=True)
        with contextlib.suppress(_OutOfBudgetError):
            super().search()

    def cost(self, trial: Trial) -> float:
        """The seconds that a trial takes from the budget."""
        return trial.planned_seconds if self.pace.nominal else trial.seconds

    @property
    def left(self) -> float:
        """The seconds that are left of the search's."""
        return self.seconds - sum(map(self.cost, self.journal.finished))

    def pre_create_trial(self):
        """End the search when the next trial would not be done in time."""
        self.asked = time.monotonic()  # a trial's time begins with the question for its values
        trials = self.journal.trials
        if len(self.oracle.trials) < len(trials):
            return  # these were begun earlier
        usual = statistics.median(map(self.cost, trials)) if trials else 0.0
        last = [trial.status for trial in trials[-FAILURES_IN_A_ROW:]]
        hopeless = last == ["failed"] * FAILURES_IN_A_ROW
        if (1 - OVERRUN) * usual > self.left or hopeless or (self.max_trials and len(trials) >= self.max_trials):
            raise _OutOfBudgetError

    def run_trial(self, trial):
        """Train one set of hyperparameters; gives its objective, or NaN, by which the Oracle counts the trial as failed."""
        index = int(trial.trial_id)
        if index == len(self.journal.trials):
            proposed = trial.hyperparameters.values.items()
            values = {name: value for name, value in proposed if not name.startswith("tuner/")}
            self.journal.trials.append(Trial(f"trial-{index + 1:02d}", values))
        record = self.journal.trials[index]
        if not record.finished:
            rung = trial.hyperparameters.values.get("tuner/epochs", HYPERBAND_EPOCHS) / HYPERBAND_EPOCHS
            # The best-known values have a whole trial: Hyperband's short ones may not promote them, and then nothing tells
            # whether the search found better.
            self._run(record, rung if index else 1.0)
        return {OBJECTIVE: record.val_accuracy}

    def _run(self, record: Trial, rung: float):
        """Train and log one trial. What came out is in the journal before its run ends, and is never trained again."""
        record.starts += 1
        record.planned_seconds = rung * self.trial_seconds
        self.journal.save()
        tags = {"role": "trial", "experiment": self.task.experiment.name, "search": self.journal.search}
        try:
            with tracking.run(record.trial, tags, nested=True) as record.run_id:
                try:
                    self._train(record, rung)
                except Exception as error:
                    process.stop_if_told()  # an interruption inside a library can come out as an exception of the library's
                    record.status, record.reason = "failed", first_line(error)
                    raise
                finally:
                    self._keep(record)
                tracking.set_tags({"status": record.status})
        except Exception:  # whatever a network raises: the run says so, and the search goes on
            if not record.finished:
                raise
        self._say(record)

    def _train(self, record: Trial, rung: float):
        """The trial itself; fills the record. From scratch at every rung: the schedule then always runs down to its end."""
        task = self.task
        tracking.log_params(record.values | {"seed": task.seed, "rung": rung})
        if record.starts > MOST_STARTS:
            raise MemoryError(f"the process died in this trial {MOST_STARTS} times")
        model, recipe = task.network(record.values)
        speeds = self.pace.of(model, recipe)
        recipe, plan, rows = self._short(recipe, speeds, TRAINING_SHARE * record.planned_seconds)
        peaks = {f"{stage.name}_peak_rate": stage.learning_rate for stage in recipe.stages}
        tracking.log_params(plan_params(plan) | peaks | {"training_images": len(rows)})
        result = fit(
            model,
            recipe,
            plan,
            task.data,
            rows,
            task.validation,
            features=task.features,
            seed=task.seed,
            on_epoch=log_epoch,
            deadline=math.inf if self.pace.nominal else self.asked + self.left + OVERRUN * self.trial_seconds,
            on_hang=self._hung(record),
        )
        tracking.log_metrics(_trial_metrics(model, result))
        record.val_accuracy = float(result.history["val_accuracy"].iloc[-1])
        record.status = "truncated" if result.truncated else "completed"

    def _short(
        self, recipe: Recipe, speeds: Mapping[str, float], seconds: float
    ) -> tuple[Recipe, dict[str, Length], np.ndarray]:
        """Recipe, plan and training images of a trial, which passes a share of the images that the final fit passes.

        They are drawn from the square root of that share of all images: half-way between the fit in miniature, as many passes
        over few images (Klein et al., arXiv 1605.07079), and few passes over all. Rank correlation with fits twelve times as
        long, three series of perceptrons: .55, .77, .94; in miniature .42, .03, .66; of passes over all images .65, .81, .83.
        With fits of CIFAR-100's network fifteen times as long: .89, .89, .71 (`bench/README.md`). The share is the same for all
        networks, also for those that are done before the fit's seconds are over: more images would put these first.
        """
        plan = lengths(recipe, speeds, self.fit_seconds, len(self.task.train))
        share = seconds / self.fit_seconds
        recipe, plan = shortened(recipe, plan, share, MIN_EPOCHS)
        images = max(share**0.5, min(recipe.batch_size / len(self.task.train), 1.0))  # a batch of them at least
        return recipe, plan, self.task.data.sample(self.task.train, images, self.task.seed)

    def _hung(self, record: Trial):
        """What is left to do when a trial hangs so that only the end of the process helps: it is not to be tried again."""
        end = tracking.ender()

        def hung(reason: str):
            record.status, record.reason, record.seconds = "failed", reason, time.monotonic() - self.asked
            self.journal.save()
            end(reason)

        return hung

    def _keep(self, record: Trial):
        if record.finished:
            record.seconds = time.monotonic() - self.asked
            record.minutes = sum(trial.seconds for trial in self.journal.finished) / 60
        else:
            record.starts -= 1  # we were told to stop, and it is no fault of the trial
        self.journal.save()

    def _say(self, record: Trial):
        outcome = (
            f"validation accuracy {record.val_accuracy:.4f}"
            if record.status != "failed"
            else f"failed: {record.reason}"
        )
        print(f"  {record.trial}  {outcome}  ({record.seconds:.0f} s)", flush=True)

    def found(self) -> Found:
        """The winner among the completed trials."""
        trials = self.journal.finished
        done = [trial for trial in trials if trial.status != "failed"]
        if not done:
            reasons = Counter(trial.reason for trial in trials).most_common(1)
            self.journal.restart()  # there is nothing to go on from
            raise UserError(
                f"experiment={self.task.experiment.name!r}: none of {len(trials)} trials was completed"
                + (f"; the commonest reason: {reasons[0][0]}" if reasons else "; the budget ended before the first one")
            )
        kept = winner(done, trials[0].values, len(self.task.validation))
        led = any(trial.val_accuracy > kept.val_accuracy for trial in done)
        why = ", which no trial leads by more than luck" if led else ""
        print(f"  refitted is {kept.trial}{why}", flush=True)
        paces = [self.pace]
        if kept.values != trials[0].values:
            # Not the trial's own speed: its batches are smaller than the fit's.
            paces.append(Pace.found(self.task, kept.values, self.pace.nominal, self.fit_seconds))
        measuring = sum(pace.seconds for pace in paces)
        return Found(
            kept.values,
            kept.val_accuracy,
            paces[-1].speeds,
            self._table(kept),
            measuring + sum(trial.seconds for trial in trials),
            measuring + sum(map(self.cost, trials)),
            self.fit_seconds - sum(pace.seconds for pace in paces[1:]),
        )

    def _table(self, kept: Trial) -> pd.DataFrame:
        """A row for each finished trial, with its values; `kept` is the one to be refitted."""
        rows = [
            {
                "trial": trial.trial,
                "status": trial.status,
                OBJECTIVE: trial.val_accuracy,
                "standard_error": standard_error(trial.val_accuracy, len(self.task.validation)),
                "seconds": round(trial.seconds, 1),
                "minutes": round(trial.minutes, 2),
                "reason": trial.reason,
                "refitted": "yes" if trial is kept else "",
            }
            | trial.values
            for trial in self.journal.finished
        ]
        return pd.DataFrame(rows)


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
