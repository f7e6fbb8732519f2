"""How the hyperparameters of a model were found: its trials, the winner, and the time spent. Pure."""

import pandas as pd

from mlproject.limits import MILLISECONDS, OVER_LIMIT, PARAMETERS
from mlproject.objectives import OBJECTIVES, Objective
from mlproject.report import importance, search_figure
from mlproject.report.content import Chart, Section, Table, text_table, ui_link
from mlproject.report.context import ReportContext
from mlproject.report.formats import decimals, join_words, percent
from mlproject.report.models import ReportedModel, SearchRecord

OTHER_COLUMNS = (
    *("trial", "status", *OBJECTIVES, "standard_error", "seconds", "minutes"),
    *(PARAMETERS, MILLISECONDS, "given", "reason", "refitted", "curve"),
)
COLUMN_MEANINGS = {  # the columns of tables whose names do not say it
    "standard_error": "of the score that the search optimised",
    "minutes": "from the start of the search to the end of the trial",
    "given": "the values are the best-known ones or a user's, not the tuner's",
    "refitted": "the final fits have the values of this trial",
    "first trial": "the values that were the best known before the search",
    "searched": "a range and its step, or the values to choose from",
    "sampling": "the scale of a range, choice for values, or fixed for a value that was not searched",
}


def section(model: ReportedModel) -> Section | None:
    """The search of one model.

    Args:
        model: the model.

    Returns:
        The section; None when its run has no table of trials.
    """
    search, context = model.search, model.context
    if search is None:
        return None
    trials = _scored_trials(search)
    completed = trials[~trials["pruned"]]
    names = [name for name in search.trials.columns if name not in OTHER_COLUMNS]
    charts = [_chart(model, search, trials, names)] if len(completed) and len(trials) > 1 and names else []
    tables = [_winner_table(context, search)] if len(search.ranked_trials) else []
    importance_finding, importance_table = importance.assess_hyperparameters(
        context, completed, names, OBJECTIVES[search.objective]
    )
    if importance_table:
        tables.append(importance_table)
    shown = search.trials.drop(columns="curve", errors="ignore")
    tables.append(text_table(context.file_name("trials"), "All trials of the search", shown, _column_notes(shown)))
    findings = [_outcome_in_words(search), _winner_in_words(search), importance_finding, _time_in_words(model, search)]
    link = ui_link("Compare this search's trials", model.registered.trials_url)
    return Section("The search", [text for text in findings if text], charts, tables, link=link)


def _scored_trials(search: SearchRecord) -> pd.DataFrame:
    """The trials that did not fail, in their order, with the objective as `score`, minutes and standard_error as numbers.

    The column `pruned` says which of them were ended early. Older searches recorded no standard_error and no minutes. The
    minutes are then summed from the seconds.
    """
    recorded = pd.to_numeric(search.trials.get("minutes", pd.Series(dtype=object)), errors="coerce")
    summed = pd.to_numeric(search.trials["seconds"], errors="coerce").cumsum() / 60
    trials = search.trials.assign(minutes=recorded.reindex(summed.index).fillna(summed))
    pruned = search.pruned_trials.index
    scored = trials.loc[search.ranked_trials.index.union(pruned)]
    scored = scored.assign(
        score=pd.to_numeric(scored[search.objective], errors="coerce"), pruned=scored.index.isin(pruned)
    )
    if "standard_error" in scored:
        scored = scored.assign(standard_error=pd.to_numeric(scored["standard_error"], errors="coerce"))
    return scored.dropna(subset=["score", "minutes"]).reset_index(drop=True)


def _chart(model: ReportedModel, search: SearchRecord, trials: pd.DataFrame, names: list[str]) -> Chart:
    context, objective = model.context, OBJECTIVES[search.objective]
    completed = trials[~trials["pruned"]]
    best_index = int(completed["score"].argmax() if objective.higher_is_better else completed["score"].argmin())
    best = f"{completed['trial'].iloc[best_index]} with {_format_score(objective, completed['score'].iloc[best_index])}"
    caption = (
        f"Right: each line is a trial, the darker the better by the {objective.words}; the axes span what was searched."
    )
    searched = {name: _searched_values(search, name) for name in names}
    if () in searched.values():
        caption += " Where that was not recorded, they span the values that were tried."
    if "standard_error" in trials and trials["standard_error"].notna().any():
        source = (
            "of the validation images"
            if model.params.get("folds", "0") == "0"
            else "over the folds (Nadeau and Bengio, 2003)"
        )
        caption += f" Error bars: one standard error {source}."
    if len(completed) < len(trials):
        caption += " Hollow circles and dashed lines: pruned trials, with the score at which they ended."
    drawn = trials.assign(refitted=trials["trial"] == search.refitted_trial["trial"])
    figure = search_figure.draw(drawn, searched, objective, context.title)
    alt = f"Search of {context.name}: best {objective.words} by minutes, and all trials. The best was {best}"
    return Chart(context.file_name("search"), figure, alt, caption)


def _searched_values(search: SearchRecord, name: str) -> search_figure.SearchedValues:
    """The words or the range that were searched for this hyperparameter; () if they were not recorded."""
    values = search.values
    if values is None or not {"searched", "sampling"} <= set(values):
        return ()
    for row in values[values["hyperparameter"] == name].to_dict("records"):
        if row["sampling"] in ("choice", "fixed"):
            return str(row["searched"]).split("|")
        if row["sampling"] in ("linear", "log"):
            least, most = row["searched"].partition(" by ")[0].split("..")
            return float(least), float(most), row["sampling"]
    return ()


def _outcome_in_words(search: SearchRecord) -> str:
    """How many trials were completed, and why others ended early or failed."""
    ranked, status = search.ranked_trials, search.trials["status"].str.lower()
    failed = search.trials[status == "failed"]
    failures = f"; {len(failed)} failed" if len(failed) else ""
    cut_short = search.trials[status == "truncated"]
    sentences = [f"The search completed {len(ranked) - len(cut_short)} of {len(search.trials)} trials{failures}."]
    pruned = len(search.pruned_trials)
    if pruned:
        verb = "was" if pruned == 1 else "were"
        sentences.append(f"{pruned} {verb} pruned: ended early, because most others had a better score by then.")
    if len(cut_short) == 1:
        name = cut_short["trial"].iloc[0]
        sentences.append(f"The time ran out during {name}, which counts with the score that it had then.")
    elif len(cut_short):
        names = join_words(cut_short["trial"].tolist())
        sentences.append(f"The time ran out during {names}, which count with the scores that they had then.")
    over_limit = search.trials[status == OVER_LIMIT]
    if len(over_limit):
        verb = "was" if len(over_limit) == 1 else "were"
        sentences.append(f"{len(over_limit)} {verb} not trained, because the network is beyond the limit.")
    reasons = failed["reason"][failed["reason"] != ""] if "reason" in failed else pd.Series(dtype=object)
    if len(reasons):
        sentences.append(f"The most frequent reason for failing: {reasons.mode().iloc[0]}.")
    return " ".join(sentences)


def _winner_in_words(search: SearchRecord) -> str:
    """Which trial's values were refitted, and why: the rule of `search.selection`."""
    ranked = search.ranked_trials
    if not len(ranked):
        return ""
    objective = OBJECTIVES[search.objective]
    best, winner = ranked.iloc[0], search.refitted_trial
    has_first_values = winner["trial"] == search.trials["trial"].iloc[0]
    score = f"{objective.words} {_format_score(objective, float(winner[search.objective]))}"
    if len(search.trials) == 1:
        return f"{winner['trial']} was the only trial, so its values, the best-known ones, were refitted ({score})."
    if winner["trial"] == best["trial"]:
        origin = "; it had the best-known values" if has_first_values else ""
        return f"{winner['trial']} won with the best score ({score}){origin}."
    lead = f"{best['trial']} ({_format_score(objective, float(best[search.objective]))}) scored best"
    if has_first_values:
        return (
            f"{winner['trial']}, with the best-known values, won ({score}). {lead}, but no trial was significantly better on the "
            "same validation images (paired tests, Holm-adjusted, 5%), and the best of several trials is partly the luckiest."
        )
    return f"{winner['trial']} won ({score}), although {lead}."


def _format_score(objective: Objective, score: float) -> str:
    return percent(score) if objective.is_share else decimals(score)


def _time_in_words(model: ReportedModel, search: SearchRecord) -> str:
    """The minutes of search and final fits, compared with the budget; "" when they were not recorded."""
    metrics, params = model.metrics, model.params
    if not {"search_seconds", "train_seconds"} <= metrics.keys():
        return ""
    searching, training = metrics["search_seconds"] / 60, metrics["train_seconds"] / 60
    fits, together = "the final fit", f" together {decimals(searching + training, 1)}"
    if len(model.fit_seeds) > 1:  # only the seconds of the registered fit are known here
        fits, together = f"each of {len(model.fit_seeds)} final fits about", ""
    text = f"The search cost {decimals(searching, 1)} minutes and the training of {fits} {decimals(training, 1)}"
    budget = pd.to_numeric(params.get("budget_minutes", ""), errors="coerce")
    if pd.notna(budget):
        text += f",{together} of a budget of {budget:g} minutes"
    tuner = params.get("tuner", "")
    text += f"{f' (tuner: {tuner})' if tuner else ''}."
    outside = searching - pd.to_numeric(search.trials["seconds"], errors="coerce").sum() / 60
    if outside > searching / 5:
        text += f" {decimals(outside, 1)} minutes went into measuring speeds and, where layers are frozen, computing activations."
    return text


def _winner_table(context: ReportContext, search: SearchRecord) -> Table:
    """The values of the winner, beside those of the first trial if the run recorded them."""
    name = context.file_name("winner")
    if search.values is not None:
        frame = search.values.rename(columns={"best_known": "first trial"})
        return text_table(name, "Hyperparameters of the winner and of the first trial", frame, _column_notes(frame))
    winner = search.refitted_trial.drop(list(OTHER_COLUMNS), errors="ignore")
    frame = pd.DataFrame({"hyperparameter": winner.index, "value": winner.to_numpy()})[(winner != "").to_numpy()]
    return text_table(name, "Hyperparameters of the winner", frame)


def _column_notes(frame: pd.DataFrame) -> str:
    """What the columns of a table mean."""
    notes = "; ".join(f"{name}: {words}" for name, words in COLUMN_MEANINGS.items() if name in frame)
    return f"{notes}." if notes else ""
