"""How a member's hyperparameters were found: its trials, what they say of each hyperparameter, what was spent. Pure."""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from mlproject.report import figures
from mlproject.report.content import Chart, Column, Section, Table, count, decimals, percent, text_table
from mlproject.report.members import Member

NO_HYPERPARAMETERS = (
    "trial", "status", "val_accuracy", "standard_error", "seconds", "minutes", "reason", "refitted",
)  # fmt: skip
FEWEST_TRIALS = 10  # below, nothing is said of importance
TREES, REPEATS = 200, 20


def section(member: Member) -> Section | None:
    """The search of one member; None when its run has no table of trials."""
    if member.trials is None:
        return None
    findings, charts, tables = [_outcome(member), _spent(member)], [], []
    ranked, trials = member.ranked_trials, _numbers(member)
    names = [name for name in member.trials.columns if name not in NO_HYPERPARAMETERS]
    if len(trials) > 1 and names:
        best = f"{ranked['trial'].iloc[0]} with {percent(trials['accuracy'].max())}"
        caption = (
            f"The best of {len(trials)} trials was {best} after {decimals(_best_minutes(trials), 1)} of "
            f"{decimals(trials['minutes'].max(), 1)} minutes{member.mark}. Right: a line for each trial, the darker the more "
            "accurate, across what was searched (of older searches: what was tried)."
        )
        if "standard_error" in trials:
            caption += (
                " Bars: one standard error up and down, the luck of the validation images; between their ends runs the axis "
                "of the accuracy."
            )
        drawn = trials.assign(refitted=trials["trial"] == member.refitted_trial["trial"])
        figure = figures.search(
            drawn, {name: _searched(member, name) for name in names}, f"{member.title}{member.mark}"
        )
        alt = f"Search of {member.title}{member.mark}: best validation accuracy by minutes, and the trials: {best}"
        charts.append(Chart(f"{member.key}.search", figure, alt, caption))
    if len(ranked):
        tables.append(_winner(member))
    said, table = _importance(member, trials, names)
    findings.append(said)
    tables += [table] if table else []
    title = f"All trials of the search{member.mark}"
    tables.append(text_table(f"{member.key}.trials", title, member.trials))
    return Section(f"The search of {member.title}{member.mark}", [said for said in findings if said], charts, tables)


def _numbers(member: Member) -> pd.DataFrame:
    """The trials that did not fail, in their order, with `accuracy` and `minutes` (summed up where not recorded) as numbers.

    So is `standard_error`, which older searches did not record.
    """
    minutes = pd.to_numeric(member.trials.get("minutes", pd.Series(dtype=object)), errors="coerce")
    elapsed = pd.to_numeric(member.trials["seconds"], errors="coerce").cumsum() / 60
    trials = member.trials.assign(minutes=minutes.reindex(elapsed.index).fillna(elapsed))
    done = trials.loc[member.ranked_trials.index.sort_values()]
    done = done.assign(accuracy=pd.to_numeric(done["val_accuracy"], errors="coerce"))
    if "standard_error" in done:
        done = done.assign(standard_error=pd.to_numeric(done["standard_error"], errors="coerce"))
    return done.dropna(subset=["accuracy", "minutes"]).reset_index(drop=True)


def _searched(member: Member, name: str) -> list[str] | tuple:
    """What was searched of this hyperparameter, as `figures.search` takes it."""
    values = member.values
    if values is None or not {"searched", "sampling"} <= set(values):
        return ()
    for row in values[values["hyperparameter"] == name].itertuples():
        if row.sampling == "choice":
            return row.searched.split("|")
        if row.sampling in ("linear", "log"):
            least, most = row.searched.partition(" by ")[0].split("..")
            return float(least), float(most), row.sampling
    return ()


def _best_minutes(trials: pd.DataFrame) -> float:
    return trials.loc[trials["accuracy"].idxmax(), "minutes"]


def _outcome(member: Member) -> str:
    ranked, tried = member.ranked_trials, len(member.trials)
    status = member.trials["status"].str.lower()
    failed = member.trials[status == "failed"]
    says = f"The search completed {len(ranked)} of {tried} trials; {len(failed)} failed."
    cut = (status == "truncated").sum()
    if cut:
        says += f" The minutes were over before {cut} of them had come to {'its' if cut == 1 else 'their'} end."
    reasons = failed["reason"][failed["reason"] != ""] if "reason" in failed else pd.Series(dtype=object)
    if len(reasons):
        says += f" The commonest reason: {reasons.mode().iloc[0]}."
    if len(ranked):
        value = pd.to_numeric(ranked["val_accuracy"]).iloc[0]
        best = f"The best, {ranked['trial'].iloc[0]}, reached {percent(value)} on validation images"
        says += f" {best}, in a fraction of the final fit's training."
        refitted = member.refitted_trial
        if refitted["trial"] != ranked["trial"].iloc[0]:
            value = percent(pd.to_numeric(refitted["val_accuracy"]))
            says += f" Refitted was {refitted['trial']} ({value}), with the first values: the lead is within luck."
    return says


def _spent(member: Member) -> str:
    metrics, params = member.model.metrics, member.model.params
    if not {"search_seconds", "train_seconds"} <= metrics.keys():
        return ""
    search, training = metrics["search_seconds"] / 60, metrics["train_seconds"] / 60
    says = f"The search took {decimals(search, 1)} minutes, the final fit {decimals(training, 1)} minutes of training"
    budget = pd.to_numeric(params.get("budget_minutes"), errors="coerce")
    if pd.notna(budget):
        says += f": {decimals(search + training, 1)} of a budget of {budget:g} minutes"
    how = params.get("tuner", "")
    says += f"{f' (tuner: {how})' if how else ''}."
    before = search - pd.to_numeric(member.trials["seconds"], errors="coerce").sum() / 60
    if before > search / 5:
        says += (
            f" Of the search {decimals(before, 1)} minutes were no trial's: they went into measuring speeds and, where layers "
            "are frozen, into their activations."
        )
    return says


def _winner(member: Member) -> Table:
    """The winner's values, beside the first trial's where the run recorded these."""
    name, title = f"{member.key}.winner", "The winner's hyperparameters"
    if member.values is not None:
        frame = member.values.rename(columns={"best_known": "first trial"})
        return text_table(name, f"{title} and the first trial's{member.mark}", frame)
    best = member.refitted_trial.drop(list(NO_HYPERPARAMETERS), errors="ignore")
    frame = pd.DataFrame({"hyperparameter": best.index, "value": best.to_numpy()})[(best != "").to_numpy()]
    return text_table(name, f"{title}{member.mark}", frame)


def _importance(member: Member, trials: pd.DataFrame, names: list[str]) -> tuple[str, Table | None]:
    """Permutation importance of a random forest that predicts the validation accuracy; nothing where that cannot carry it."""
    if len(trials) < FEWEST_TRIALS or not names:
        return (
            f"Which hyperparameter mattered is not said: that takes {FEWEST_TRIALS} trials, and there are {len(trials)}.",
            None,
        )
    inputs = np.column_stack([_coded(trials[name]) for name in names])
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0).fit(inputs, trials["accuracy"])
    explained = forest.oob_score_
    if explained <= 0:
        return (
            f"Which hyperparameter mattered cannot be said: a random forest fitted to the {len(trials)} trials predicts trials "
            f"it has not seen no better than their mean does (out-of-bag R² {decimals(explained, 2)}).",
            None,
        )
    found = permutation_importance(forest, inputs, trials["accuracy"], n_repeats=REPEATS, random_state=0)
    frame = pd.DataFrame(
        {"hyperparameter": names, "importance": found.importances_mean, "spread": found.importances_std}
    ).sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    columns = (
        Column("hyperparameter", lambda r: r["hyperparameter"], number=False),
        Column("importance", lambda r: decimals(r["importance"], 2)),
        Column("± over permutations", lambda r: decimals(r["spread"], 2)),
    )
    note = (
        "Importance: how much of R² a random forest, fitted to the trials, loses on them when this column is shuffled "
        f"(permutation importance, {count(REPEATS)} repeats; Breiman 2001). It tells what the forest uses, within the ranges "
        "tried, and is no effect size."
    )
    table = Table(f"{member.key}.importance", f"Importance of the hyperparameters{member.mark}", frame, columns, note)
    return (
        f"In {len(trials)} trials {frame['hyperparameter'][0]} mattered most, as far as a random forest can tell, which "
        f"explains {explained:.0%} of the variance of trials it has not seen; with so few trials that is a hint at best.",
        table,
    )


def _coded(column: pd.Series) -> np.ndarray:
    """Numbers as they are, words numbered in alphabetical order, which a tree can split; -1 where a trial had no value."""
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers[column != ""].notna().all():
        return numbers.fillna(-1).to_numpy(dtype=np.float64)
    return pd.Categorical(column.where(column != "")).codes.astype(np.float64)
