"""Which hyperparameters mattered in a search, as far as its trials can show. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from mlproject.report.content import Column, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import two_decimals

TRIALS_FOR_IMPORTANCE = 10
TREES, REPEATS = 200, 20
COLUMNS = (
    text_column("hyperparameter"),
    Column("importance", "importance", two_decimals),
    Column("± over permutations", "spread", two_decimals),
)
NOTE = (
    "Importance: how much of its R² a random forest fitted to the trials loses on them when the values of this column "
    f"are shuffled (permutation importance, {REPEATS} repeats; Breiman 2001). It shows what the forest uses within "
    "the ranges tried, and is not an effect size."
)


def of_hyperparameters(context: ReportContext, trials: pd.DataFrame, names: Sequence[str]) -> tuple[str, Table | None]:
    """Permutation importance of a random forest that predicts the objective of the search (Breiman 2001).

    Args:
        context: the model whose search it is.
        trials: those that neither failed nor were pruned, with score and a column of text for each hyperparameter.
        names: the hyperparameters.

    Returns:
        A sentence and the table; only the sentence if there are too few trials, or if the forest predicts unseen trials
        no better than their mean.
    """
    if len(trials) < TRIALS_FOR_IMPORTANCE or not names:
        return (
            "The importance of the hyperparameters is not estimated: this takes at least "
            f"{TRIALS_FOR_IMPORTANCE} trials, and there are {len(trials)}.",
            None,
        )
    inputs = np.column_stack([_coded(trials[name]) for name in names])
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0).fit(inputs, trials["score"])
    explained = forest.oob_score_
    if explained <= 0:
        return (
            f"The importance of the hyperparameters cannot be estimated: a random forest fitted to the {len(trials)} "
            f"trials predicts unseen trials no better than their mean does (out-of-bag R² {two_decimals(explained)}).",
            None,
        )
    found = permutation_importance(forest, inputs, trials["score"], n_repeats=REPEATS, random_state=0)
    frame = pd.DataFrame(
        {"hyperparameter": names, "importance": found.importances_mean, "spread": found.importances_std}
    ).sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    table = Table(context.file_name("importance"), "Importance of the hyperparameters", frame, COLUMNS, NOTE)
    return (
        f"In {len(trials)} trials, {frame['hyperparameter'][0]} mattered most according to a random forest, which "
        f"explains {explained:.0%} of the variance of trials it has not seen. With so few trials this is only an "
        "indication.",
        table,
    )


def _coded(column: pd.Series) -> np.ndarray:
    """Numbers as they are, and words as their alphabetical rank, which a tree can split; -1 for a missing value."""
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers[column != ""].notna().all():
        return numbers.fillna(-1).to_numpy(dtype=np.float64)
    return pd.Categorical(column.where(column != "")).codes.astype(np.float64)
