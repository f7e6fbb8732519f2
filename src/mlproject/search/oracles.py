"""What is tried next: Keras Tuner's Oracles, made to begin with the best-known values and to repeat a journal."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras_tuner
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from mlproject.experiment import Experiment, Value
from mlproject.objectives import OBJECTIVES
from mlproject.search.journal import Journal
from mlproject.search.space import fixed_space

HYPERBAND_EPOCHS, HYPERBAND_FACTOR = 9, 3  # with a power of the factor, Hyperband's brackets come out even


class _BestKnownFirst(keras_tuner.Oracle if TYPE_CHECKING else object):  # type: ignore[misc]
    """Mixed into an Oracle: the first trial has the best-known values, no point is tried twice, and old trials are repeated.

    Every Oracle asks `_random_values` for its first trial. Hyperband may try a point again, for longer.

    After an interruption an Oracle is asked again for all trials of the journal and told their results, which brings it into
    the state it was in. So its own files are not needed. Trials keep the values of the journal even where the last digit of a
    number would now come out differently.
    """

    best: dict[str, Value]
    journal: Journal

    def _random_values(self) -> dict[str, Value] | None:
        if not self.trials:
            return dict(self.best)
        values: dict[str, Value] | None = super()._random_values()
        return values

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Keras Tuner asks here for the values of a trial; returns its `status` and `values`."""
        answer: dict[str, Any] = super().populate_space(trial_id)
        # The Bayesian oracle proposes a point again when its model is sure of it.
        if (
            answer["status"] == "RUNNING"
            and "tuner/epochs" not in answer["values"]
            and self._duplicate(answer["values"])
        ):
            values = self._random_values()
            answer = {"status": "RUNNING", "values": values} if values else {"status": "STOPPED"}
        if int(trial_id) < len(self.journal.trials):
            hyperband = {
                name: value for name, value in (answer.get("values") or {}).items() if name.startswith("tuner/")
            }
            return {"status": "RUNNING", "values": hyperband | self.journal.trials[int(trial_id)].values}
        return answer


class _Random(_BestKnownFirst, RandomSearchOracle):
    pass


class _Bayesian(_BestKnownFirst, BayesianOptimizationOracle):
    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            # The Gaussian process warns that a handful of points do not determine its length scales.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)


class _Hyperband(_BestKnownFirst, HyperbandOracle):
    pass


TUNERS: dict[str, Callable[..., keras_tuner.Oracle]] = {
    "random": lambda **common: _Random(**common),
    # Keras Tuner's default of three random points for each dimension is more than the trials of a budget of minutes.
    "bayesian": lambda **common: _Bayesian(num_initial_points=4, **common),
    "hyperband": lambda max_trials, **common: _Hyperband(
        max_epochs=HYPERBAND_EPOCHS, factor=HYPERBAND_FACTOR, hyperband_iterations=10_000, **common
    ),
}


def make_oracle(
    tuner: str, objective: str, experiment: Experiment, seed: int, max_trials: int | None, journal: Journal
) -> keras_tuner.Oracle:
    """Make the Oracle of a search that begins with the experiment's best-known values.

    Args:
        tuner: a key of TUNERS.
        objective: a key of `objectives.OBJECTIVES`.
        experiment: gives the best-known values and what is fixed.
        seed: of the points tried.
        max_trials: the number of trials, None for no limit.
        journal: the trials that were begun already.

    Returns:
        The Oracle.
    """
    # Keras Tuner's own limit of failures would leave the last trial running, so the search counts failures itself.
    oracle = TUNERS[tuner](
        objective=keras_tuner.Objective(objective, "max" if OBJECTIVES[objective].higher_is_better else "min"),
        hyperparameters=fixed_space(experiment.best, experiment.fixed),
        max_trials=max_trials,
        seed=seed + 1,  # Keras Tuner takes a seed of 0 for no seed
        max_consecutive_failed_trials=10**9,
    )
    oracle.best, oracle.journal, oracle.verbose = dict(experiment.best), journal, 0
    return oracle
