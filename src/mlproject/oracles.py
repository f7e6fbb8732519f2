"""Keras Tuner's Oracles, which say what to try next, made to begin with the best-known values and to repeat a journal."""

import warnings

import keras_tuner
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from mlproject.experiment import Experiment
from mlproject.journal import Journal
from mlproject.tasks import hyperparameters

OBJECTIVE = "val_accuracy"
HYPERBAND_EPOCHS, HYPERBAND_FACTOR = 9, 3  # a power of the factor, else Hyperband's brackets round badly


class _BestKnownFirst:
    """Mixed into an Oracle: the first trial has the best-known values, no point is tried twice, and old trials are repeated.

    An Oracle is asked and told anew after an interruption, which brings it into the state it was in: its own files are
    not needed. The trials of the journal keep their values even where a last digit would now come out otherwise.
    """

    best: dict
    journal: Journal

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
            answer = {"status": "RUNNING", "values": values} if values else {"status": "STOPPED"}
        if int(trial_id) < len(self.journal.trials):
            rung = {name: value for name, value in (answer.get("values") or {}).items() if name.startswith("tuner/")}
            return {"status": "RUNNING", "values": rung | self.journal.trials[int(trial_id)].values}
        return answer


class _Random(_BestKnownFirst, RandomSearchOracle):
    pass


class _Bayesian(_BestKnownFirst, BayesianOptimizationOracle):
    def populate_space(self, trial_id):
        with warnings.catch_warnings():
            # Its Gaussian process has a handful of points, and says that they do not settle its length scales.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)


class _Hyperband(_BestKnownFirst, HyperbandOracle):
    pass


TUNERS = {
    "random": lambda **common: _Random(**common),
    # Four points before the model is asked: budgets of minutes allow eight trials at most, not Keras Tuner's 3 per dimension.
    "bayesian": lambda **common: _Bayesian(num_initial_points=4, **common),
    "hyperband": lambda max_trials, **common: _Hyperband(
        max_epochs=HYPERBAND_EPOCHS, factor=HYPERBAND_FACTOR, hyperband_iterations=10_000, **common
    ),
}


def oracle(
    tuner: str, experiment: Experiment, seed: int, max_trials: int | None, journal: Journal
) -> keras_tuner.Oracle:
    """The Oracle named `tuner`, a key of TUNERS, for a search that starts with the experiment's best-known values."""
    # The space is read off a network built with these values: the declared defaults may not even fit together.
    space = hyperparameters(experiment.best)
    for name in experiment.fixed:
        space.Fixed(name, experiment.best[name])  # Keras Tuner's way to take one out of the search
    # The failure limit would end the search with the last trial left running; failures are counted at its end instead.
    made = TUNERS[tuner](
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        hyperparameters=space,
        max_trials=max_trials,
        seed=seed + 1,  # Keras Tuner takes a seed of 0 for none
        max_consecutive_failed_trials=10**9,
    )
    made.best, made.journal, made.verbose = dict(experiment.best), journal, 0
    return made
