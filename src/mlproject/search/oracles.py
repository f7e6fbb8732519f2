"""What is tried next: Keras Tuner's Oracles, made to begin with the values that are given and to repeat a journal."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras_tuner
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from sklearn.exceptions import ConvergenceWarning

from mlproject.experiment import Experiment, Value
from mlproject.limits import OVER_LIMIT
from mlproject.objectives import OBJECTIVES
from mlproject.search.journal import Journal
from mlproject.search.space import fixed_space

SEED_DISTANCE = 1_000_003  # more values than a search draws
HYPERBAND_EPOCHS, HYPERBAND_FACTOR = 9, 3  # with a power of the factor, Hyperband's brackets come out even


class _GivenFirst(keras_tuner.Oracle if TYPE_CHECKING else object):  # type: ignore[misc]
    """Mixed into an Oracle: the first trials have the given values, no point is tried twice, and old trials are repeated.

    Every Oracle asks `_random_values` for its first trial, which has the best-known values. Hyperband may try a point again,
    for longer, but not one of the other given values: their trials are whole from the start, so they are in none of its
    brackets.

    After an interruption an Oracle is asked again for all trials of the journal and told their results, which brings it into
    the state it was in. So its own files are not needed. Trials keep the values of the journal even where the last digit of a
    number would now come out differently.
    """

    given: Sequence[Mapping[str, Value]]
    journal: Journal

    def _random_values(self) -> dict[str, Value] | None:
        if not self.trials:
            return dict(self.given[0])
        values: dict[str, Value] | None = super()._random_values()
        return values

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Keras Tuner asks here for the values of a trial; returns its `status` and `values`."""
        proposal: dict[str, Any]
        index = int(trial_id)
        is_given = 0 < index < len(self.given)
        proposal = {"status": "RUNNING", "values": dict(self.given[index])} if is_given else self._propose(trial_id)
        if index < len(self.journal.trials):
            hyperband_values = {
                name: value for name, value in (proposal.get("values") or {}).items() if name.startswith("tuner/")
            }
            return {"status": "RUNNING", "values": hyperband_values | self.journal.trials[index].values}
        return proposal

    def _propose(self, trial_id: str) -> dict[str, Any]:
        """What Keras Tuner's Oracle proposes; a random point in place of one that was tried already."""
        proposal: dict[str, Any] = super().populate_space(trial_id)
        # The Bayesian oracle proposes a point again when its model is sure of it.
        if (
            proposal["status"] == "RUNNING"
            and "tuner/epochs" not in proposal["values"]
            and self._duplicate(proposal["values"])
        ):
            return self._propose_at_random()
        return proposal

    def _propose_at_random(self) -> dict[str, Any]:
        values = self._random_values()
        return {"status": "RUNNING", "values": values} if values else {"status": "STOPPED"}

    def _is_over_limit(self, index: int) -> bool:
        return 0 <= index < len(self.journal.trials) and self.journal.trials[index].status == OVER_LIMIT


class _Random(_GivenFirst, RandomSearchOracle):
    pass


class _Bayesian(_GivenFirst, BayesianOptimizationOracle):
    def _propose(self, trial_id: str) -> dict[str, Any]:
        if self._is_over_limit(int(trial_id) - 1):
            # The Gaussian process learns nothing from such a trial, so it would go on proposing the same corner of the space.
            return self._propose_at_random()
        with warnings.catch_warnings():
            # The Gaussian process warns that a handful of points do not determine its length scales.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super()._propose(trial_id)


class _Hyperband(_GivenFirst, HyperbandOracle):
    def _propose(self, trial_id: str) -> dict[str, Any]:
        for bracket in self._brackets:
            # Other trials take the places of those that were not trained, or too few would be left to promote some.
            bracket["rounds"][0] = [
                entry for entry in bracket["rounds"][0] if not self._is_over_limit(int(entry["id"]))
            ]
        return super()._propose(trial_id)


TUNERS: dict[str, Callable[..., keras_tuner.Oracle]] = {
    "random": lambda **common: _Random(max_trials=None, **common),
    # Keras Tuner's default of three random points for each dimension is more than the trials of a budget of minutes.
    "bayesian": lambda **common: _Bayesian(max_trials=None, num_initial_points=4, **common),
    "hyperband": lambda **common: _Hyperband(
        max_epochs=HYPERBAND_EPOCHS, factor=HYPERBAND_FACTOR, hyperband_iterations=10_000, **common
    ),
}


def make_oracle(
    tuner: str,
    objective: str,
    experiment: Experiment,
    seed: int,
    given_trials: Sequence[Mapping[str, Value]],
    journal: Journal,
) -> keras_tuner.Oracle:
    """Make the Oracle of a search that begins with the experiment's best-known values. The search ends it.

    Args:
        tuner: a key of TUNERS.
        objective: a key of `objectives.OBJECTIVES`.
        experiment: gives the best-known values and what is fixed.
        seed: of the points tried.
        given_trials: the values of the trials after the first one, before the Oracle proposes any.
        journal: the trials that were begun already.

    Returns:
        The Oracle.
    """
    # The search counts trials and failures itself: Keras Tuner would count trials that are over a limit, and its own limit of
    # failures would leave the last trial running.
    oracle = TUNERS[tuner](
        objective=keras_tuner.Objective(objective, "max" if OBJECTIVES[objective].higher_is_better else "min"),
        hyperparameters=fixed_space(experiment.best, experiment.fixed),
        # Keras Tuner adds 1 to its seed for each value that it draws, so searches with seeds near each other would try the same
        # points. It takes a seed of 0 for no seed.
        seed=1 + seed * SEED_DISTANCE % (2**31 - 1),
        max_consecutive_failed_trials=10**9,
    )
    oracle.given, oracle.journal, oracle.verbose = [experiment.best, *given_trials], journal, 0
    return oracle
