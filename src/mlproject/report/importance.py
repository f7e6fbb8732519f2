"""Which hyperparameters mattered in a search, as far as its trials can show. Pure."""

from collections.abc import Sequence
from math import factorial

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.objectives import Objective
from mlproject.report.content import Column, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, join_words, p_equals, p_value, two_decimals

SIGNIFICANCE = 0.05
SHUFFLES = 9999
COLUMNS = (
    text_column("hyperparameter"),
    Column("values tried", "values", count),
    Column("correlation with the score", "correlation", two_decimals),
    text_column("better", "better"),
    Column("p", "p", p_value),
    Column("p, Holm-adjusted", "p_adjusted", p_value),
)
NOTE = (
    "Numbers: Spearman's rank correlation with the score. Words: the correlation ratio of the ranks, 0 to 1. p: permutation test "
    f"({SHUFFLES:,} shuffles). The search chose later values by earlier scores, so p is an indication only."
)


def assess_hyperparameters(
    context: ReportContext, trials: pd.DataFrame, names: Sequence[str], objective: Objective
) -> tuple[str, Table | None]:
    """Test for each hyperparameter whether the scores depend on it.

    Args:
        context: the model whose search it is.
        trials: those that neither failed nor were pruned, with score and a column of text for each hyperparameter.
        names: the hyperparameters. One that depends on another has no value ("") in some trials; the others count.
        objective: what the scores are.

    Returns:
        A sentence and the table; only the sentence if there are so few trials that no test could be significant.
    """
    values = {name: trials[name][trials[name] != ""] for name in names}
    varied = [name for name in names if values[name].nunique() > 1]
    if not varied or len(varied) * 2 / factorial(len(trials)) > SIGNIFICANCE:
        return f"Which hyperparameters mattered cannot be said from so few trials ({len(trials)}).", None
    goodness = trials["score"] * (1 if objective.higher_is_better else -1)
    frame = pd.DataFrame([{"hyperparameter": name, **_permutation_test(values[name], goodness)} for name in varied])
    frame = frame.assign(p_adjusted=evaluation.holm(frame["p"])).sort_values("p", kind="stable", ignore_index=True)
    significant = frame[frame["p_adjusted"] < SIGNIFICANCE]
    descriptions = [
        f"{row['hyperparameter']} ({row['better']} is better, p {p_equals(row['p_adjusted'])})"
        for _, row in significant.iterrows()
    ]
    sentence = f"{join_words(descriptions)} mattered" if descriptions else "No hyperparameter mattered beyond chance"
    table = Table(context.file_name("importance"), "Which hyperparameters mattered", frame, COLUMNS, NOTE)
    return f"{sentence} in these {len(trials)} trials.", table


def _permutation_test(column: pd.Series, goodness: pd.Series) -> dict[str, object]:
    """How a hyperparameter goes with the ranks of its trials (the best has the highest), and how often shuffled ranks do so."""
    ranks = goodness.loc[column.index].rank()
    centred = ranks.to_numpy(dtype=np.float64) - ranks.mean()
    rng = np.random.default_rng(0)
    shuffled = np.stack([centred, *(rng.permutation(centred) for _ in range(SHUFFLES))])
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().all():
        centred_values = numbers.rank().to_numpy() - numbers.rank().mean()
        statistics = (
            shuffled @ centred_values / np.sqrt((centred_values @ centred_values) * max(centred @ centred, 1e-12))
        )
        better = "higher" if statistics[0] > 0 else "lower"
    else:
        indicators = pd.get_dummies(column).to_numpy(dtype=np.float64)
        means = shuffled @ indicators / indicators.sum(axis=0)
        statistics = np.sqrt((means**2 @ indicators.sum(axis=0)) / max(centred @ centred, 1e-12))
        better = str(ranks.groupby(column).mean().idxmax())
    p = float(np.mean(np.abs(statistics) >= abs(statistics[0]) - 1e-9))
    return {"values": column.nunique(), "correlation": float(statistics[0]), "better": better, "p": p}
