"""The report's files: the numbers in its tables, the sentences on its pages, and what a browser would load."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from registered import (
    FINE,
    FLAT,
    FLAT_LABELS,
    LABELS,
    SUPERCLASS_OF,
    SUPERCLASSES,
    coarse_and_fine,
    guesses,
    register,
    search_table,
    three_flat,
    with_seeds,
)
from scipy import stats

from mlproject import evaluation
from mlproject.errors import UserError
from mlproject.report import build, calibration, figures, pairs, provenance, searches, settling
from mlproject.report.artifacts import read_models
from mlproject.report.comparisons import compare
from mlproject.report.cost import MACHINES_NOTE
from mlproject.report.model_sections import build_sections
from mlproject.topic import Topic, from_tag


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two comparisons on real data, and the first of them also on synthetic data."""
    root = tmp_path_factory.mktemp("runs")
    return [
        *coarse_and_fine(root),
        *coarse_and_fine(root, suffix="-synthetic", data="synthetic"),
        *three_flat(root),
    ]


@pytest.fixture(scope="module")
def report(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    assert build(models, folder) == folder / "index.html"
    return folder


def copied(model, folder):
    """The model with artifacts of its own in this folder, which a test may change."""
    return replace(model, root=Path(shutil.copytree(model.root, folder)))


def with_trials(model, folder, trials):
    """The model with this table of its search's trials, and artifacts of its own in this folder."""
    one = copied(model, folder)
    trials.to_csv(one.root / "search/trials.csv", index=False)
    return one


def search_of(model):
    """The section about a model's search, without the rest of the page."""
    return searches.section(*read_models([model]))


def importance_in(section):
    """The table that says which hyperparameters mattered, by their names; None if there is none."""
    found = [table.frame for table in section.tables if table.title == "Which hyperparameters mattered"]
    return found[0].set_index("hyperparameter") if found else None


def stored(models, name):
    """The labels and probabilities of a model as they are stored in its run."""
    with np.load(next(m for m in models if m.name == name).root / "evaluation/predictions.npz") as arrays:
        return arrays["labels"], arrays["probabilities"].astype(float)


def wilson(share, images, z=1.959963984540054):
    """The score interval, written out (Wilson, 1927)."""
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    return centre - half, centre + half


def table(report, name):
    return pd.read_csv(report / "tables" / f"{name}.csv")


class Page(HTMLParser):
    """A parsed page: links, ids, images, text, and a check that all elements are closed in order."""

    EMPTY = {"meta", "link", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.images, self.text = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "poster")]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.images += [attributes] if tag == "img" else []
        assert not [name for name in attributes if name.startswith("on")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_accuracies_and_intervals_are_those_of_the_stored_predictions(models, report):
    rows = table(report, "coarse-vs-fine.accuracy").set_index("model")
    assert set(rows.index) == {"coarse", "fine"}
    for name, chance in (("coarse", 1 / 4), ("fine", 1 / 12)):
        labels, probabilities = stored(models, name)
        share = np.mean([row.argmax() == label for row, label in zip(probabilities, labels, strict=True)])
        assert rows.loc[name, "accuracy"] == pytest.approx(share)
        assert tuple(rows.loc[name, ["low", "high"]]) == pytest.approx(wilson(share, 1200))
        assert rows.loc[name, "chance"] == pytest.approx(chance)
    labels, probabilities = stored(models, "fine")
    top5 = np.mean([label in np.argsort(row)[-5:] for row, label in zip(probabilities, labels, strict=True)])
    assert rows.loc["fine", "top5_accuracy"] == pytest.approx(top5)
    assert np.isnan(rows.loc["coarse", "top5_accuracy"])
    assert table(report, "coarse-vs-fine.cost")["trials"].tolist() == [3, 3]


def test_accuracy_is_weighed_against_cost(report, tmp_path):
    models = three_flat(tmp_path / "runs")
    for model, milliseconds, parameters in zip(models, (1.0, 2.0, 3.0), (10, 30, 20), strict=True):
        trials = pd.read_csv(model.root / "search/trials.csv").assign(parameters=parameters, ms_per_image=milliseconds)
        trials.loc[1, "status"] = "over limit"
        trials.to_csv(model.root / "search/trials.csv", index=False)
        model.metrics.update(ms_per_image=milliseconds, parameters=parameters)
        model.params["limit"] = "ms_per_image<3"  # the last model was faster in its trial
    build(models[:1], tmp_path / "alone")
    assert (tmp_path / "alone/figures/small-vs-large.trade-off.svg").exists()  # its trials are compared with it
    build(models, tmp_path / "report")
    rows = (
        table(tmp_path / "report", "small-vs-large.cost")
        .set_index("model")
        .rename(columns={"milliseconds": "ms_per_image"})
    )
    rows = rows.drop("large after feature-extraction")
    accuracy = table(tmp_path / "report", "small-vs-large.accuracy").set_index("model").loc[rows.index, "accuracy"]
    best = accuracy.idxmax()
    for cost in ("ms_per_image", "parameters"):
        cheaper = {name: accuracy[rows[cost] <= rows.loc[name, cost]] for name in rows.index}
        front = {name for name, rivals in cheaper.items() if rivals.max() == accuracy[name]}
        assert set(rows.index[rows[f"front_{cost}"] == "yes"]) == front and {"small", best} <= front
    assert table(tmp_path / "report", "small-vs-large.cost")["milliseconds"].dropna().isin([1.0, 2.0, 3.0]).all()
    text = (tmp_path / "report" / "report.md").read_text()
    assert len(re.findall(r"small.* on the Pareto front.*no other model is at least as accurate", text)) == 1
    assert text.count("large is beyond the limit of its search") == 1 and "small is beyond" not in text
    assert "1 was not trained, because the network is beyond the limit" in text
    figure = "figures/small-vs-large.trade-off.svg"
    assert "a trial, on the validation images" in (tmp_path / "report" / figure).read_text()
    assert "a trial, on the validation images" not in (report / figure).read_text()  # it knows no costs of trials


def test_one_model_with_nothing_beside_it_has_no_figures_that_compare(models, tmp_path):
    trial = search_table(3).tail(1).assign(parameters=10, ms_per_image=1.0)
    alone = with_trials(models[4], tmp_path / "alone", trial)
    build([alone], tmp_path / "one")
    figures = {path.name for path in (tmp_path / "one/figures").iterdir()}
    assert not figures & {"small-vs-large.accuracy.svg", "small-vs-large.trade-off.svg"}
    assert {"small-vs-large.reliability.svg", "small.confusion.png"} <= figures
    build([models[6]], tmp_path / "staged")  # with the accuracy after its first stage
    assert (tmp_path / "staged/figures/small-vs-large.accuracy.svg").exists()


def test_pairs_are_compared_image_by_image(models, report):
    pairs = table(report, "small-vs-large.pairs")
    assert len(pairs) == 6  # of four classifiers: three models, and one of them after its first stage
    adjusted = 0.0
    for rank, row in enumerate(pairs.sort_values("p").itertuples()):  # Holm's steps
        adjusted = max(adjusted, min(1, row.p * (6 - rank)))
        assert row.p_adjusted == pytest.approx(adjusted)
    whole = pairs[~(pairs["a"] + pairs["b"]).str.contains("after")]
    assert len(whole) == 3
    for row in whole.itertuples():
        (labels, a), (_, b) = stored(models, row.a), stored(models, row.b)
        a, b = a.argmax(axis=1) == labels, b.argmax(axis=1) == labels
        only_a, only_b = (a & ~b).sum(), (b & ~a).sum()
        assert row.difference == pytest.approx(a.mean() - b.mean()) and row.difference >= 0
        assert row.p == pytest.approx(min(1, 2 * stats.binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))
        assert row.low < row.difference < row.high


def test_a_difference_is_claimed_only_when_it_is_significant(report):
    text = (report / "report.md").read_text()
    assert re.search(
        r"Not settled between (middle and large|large and middle): \w+ classifies [\d.]+% of 1,200 test images correctly, "
        r"[\d.]+ points more than \w+ \(which may be chance: 95% interval −[^)]*\) and "
        r"[\d.]+ points more than small \(95% interval \d",
        text,
    )


def test_the_words_of_the_answers_are_explained_once(report):
    for name in ("index.html", "report.md"):
        text = (report / name).read_text()
        assert text.count("p is the probability of a difference") == text.count("would contain the true value") == 1
        assert text.index("would contain the true value") < text.index("Which of these models is the most accurate?")


def test_a_model_at_chance_is_reported_so(tmp_path):
    tags = {"comparison": "c", "labels": "flat", "test.digest": "t"}
    blind = register(tmp_path, "blind", tags, FLAT_LABELS, guesses(FLAT_LABELS, 3, 0.0), FLAT)
    assert (
        "of 1,200 test images cannot be distinguished from chance (33.33%)"
        in build([blind], tmp_path / "out").read_text()
    )


def test_unequal_classes_are_reported_with_scores_in_which_they_count_alike(tmp_path):
    """The usual class alone makes one model the most accurate, and the other one has the higher balanced accuracy."""
    labels = np.repeat([0, 1, 2], (180, 15, 5))[:195]  # the last class has no test images
    usual, fair = guesses(labels, 3, 0.0), guesses(labels, 3, 0.0)
    usual[:] = (0.8, 0.1, 0.1)
    fair[:] = np.eye(3)[np.where(np.arange(195) < 60, 1, labels)]
    tags = {"comparison": "c", "labels": "flat", "test.digest": "t", "dataset": "d"}
    models = [register(tmp_path, name, tags, labels, one, FLAT) for name, one in (("usual", usual), ("fair", fair))]
    page = " ".join(build(models, tmp_path / "out").read_text().split())
    rows = table(tmp_path / "out", "c.accuracy").set_index("model")
    assert rows.loc["usual", ["accuracy", "balanced_accuracy"]].tolist() == pytest.approx([180 / 195, 0.5])
    assert rows.loc["fair", ["accuracy", "balanced_accuracy"]].tolist() == pytest.approx(
        [135 / 195, (120 / 180 + 1) / 2]
    )
    assert "of 195 test images cannot be distinguished from chance (92.31%)" in page and "macro F1" in page
    assert (
        "fair has the highest balanced accuracy (mean recall of the classes), 83.33%; always predicting one class"
        in page
    )


def test_equal_classes_are_reported_without_scores_that_add_nothing(report):
    assert "balanced accuracy" not in (report / "report.md").read_text()


def test_the_top_5_accuracy_stands_where_a_model_has_one(report):
    comparisons = re.split(r"^## ", (report / "report.md").read_text(), flags=re.MULTILINE)
    (flat,) = [one for one in comparisons if one.startswith("Which of these models")]
    assert "top-5" not in flat and "Top 5" not in flat
    labels = comparisons[1][: comparisons[1].index("### Each fine class")]
    assert "| top-5 accuracy |" in labels and "Top 5: the true class is among the five" in labels


def test_a_search_by_another_objective_is_reported_by_it(models, tmp_path):
    trials = search_table(3).assign(val_loss=[0.5, np.nan, 0.9], refitted=["", "", "yes"])
    one = with_trials(models[4], tmp_path / "one", trials)
    section = search_of(replace(one, params=one.params | {"objective": "val_loss"}))
    assert "trial-03 won (validation loss 0.900), although trial-01 (0.500) scored best." in section.findings
    assert "the better by the validation loss" in section.charts[0].caption


def test_fine_predictions_are_aggregated_both_ways(models, report):
    rows = table(report, "coarse-vs-fine.generalised")
    labels, probabilities = stored(models, "fine")
    truth = SUPERCLASS_OF[labels]
    argmax = np.mean([SUPERCLASS_OF[row.argmax()] == t for row, t in zip(probabilities, truth, strict=True)])
    sums = [[row[superclass == SUPERCLASS_OF].sum() for superclass in range(4)] for row in probabilities]
    assert rows["accuracy"][1] == pytest.approx(argmax)
    assert rows["accuracy"][2] == pytest.approx(np.mean(np.argmax(sums, axis=1) == truth))
    assert rows["accuracy"][0] == table(report, "coarse-vs-fine.accuracy").set_index("model")["accuracy"]["coarse"]
    top5 = table(report, "coarse-vs-fine.accuracy").set_index("model").loc["fine", "top5_accuracy"]
    assert rows["accuracy"][4] == pytest.approx(top5)
    assert rows["chance"].tolist() == pytest.approx([1 / 4, 1 / 4, 1 / 4, 1 / 12, 5 / 12])
    pairs = table(report, "coarse-vs-fine.generalised-pairs")
    assert pairs["difference"][0] == pytest.approx(abs(argmax - rows["accuracy"][0]))
    accuracy = re.escape(f"fine (most probable class) {100 * argmax:.2f}%")
    assert re.search(
        rf"!\[Test accuracy on the superclasses.*{accuracy}.*\]\(figures/coarse-vs-fine\.generalised\.svg\)",
        (report / "report.md").read_text(),
    )


def test_each_fine_class_is_compared_with_its_superclass(models, report):
    rows = table(report, "coarse-vs-fine.classes")
    assert len(rows) == 12 and rows["f1_difference"].is_monotonic_decreasing
    labels, probabilities = stored(models, "fine")
    coarse_labels, coarse_probabilities = stored(models, "coarse")
    row = rows.set_index("class").loc["cars-b"]

    def f1(truth, predicted, index):
        return (
            2 * np.sum((truth == index) & (predicted == index)) / (np.sum(truth == index) + np.sum(predicted == index))
        )

    assert row["f1"] == pytest.approx(f1(labels, probabilities.argmax(axis=1), FINE.index("cars-b")))
    assert row["superclass_f1"] == pytest.approx(f1(coarse_labels, coarse_probabilities.argmax(axis=1), 1))
    assert row["f1_difference"] == pytest.approx(row["f1"] - row["superclass_f1"])


def test_planted_confusions_are_found_and_explained(report):
    rows = table(report, "coarse-vs-fine.classes").set_index("class")
    assert (
        rows.loc["birds-a", "most_confused_with"] == "birds-b" and rows.loc["fish-a", "most_confused_with"] == "trees-a"
    )
    assert rows.loc["birds-a", "errors_inside"] / rows.loc["birds-a", "errors"] > 0.9
    assert rows.loc["fish-a", "errors_inside"] / rows.loc["fish-a", "errors"] < 0.2
    hypotheses = table(report, "coarse-vs-fine.hypotheses").set_index("class")
    birds, fish = hypotheses.loc["birds-a (birds)"], hypotheses.loc["fish-a (fish)"]
    assert "50 of 100 images, 96% inside the superclass" in birds["evidence"] and "as birds-b" in birds["evidence"]
    assert "hard to tell from its siblings" in birds["suggests"]
    assert "resembles other classes as much as its siblings" in fish["suggests"]
    assert birds["picture"].startswith("row ")


def test_the_page_needs_nothing_but_itself(report):
    text = (report / "index.html").read_text()
    page = Page(text)
    assert not page.open
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", text)) and "@import" not in text
    assert len(page.images) == len(list(report.glob("figures/*.png"))) and all(image["alt"] for image in page.images)
    drawings = re.findall(r'<svg [^>]*aria-label="[^"]+"', text)
    assert len(drawings) == len(list(report.glob("figures/*.svg"))) > 10
    assert len((report / "index.html").read_bytes()) < 10_000_000


def test_only_the_pages_own_script_may_run(report):
    text = (report / "index.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_the_markdown_page_has_the_same_content_and_its_files_exist(report):
    text = (report / "report.md").read_text()
    named = re.findall(r"\]\(([^)]+)\)", text)
    assert {name for name in named if name.startswith("figures/")} == {
        f"figures/{p.name}" for p in report.glob("figures/*")
    }
    assert {name for name in named if name.startswith("tables/")} == {
        f"tables/{p.name}" for p in report.glob("tables/*")
    }
    finding = next(line.strip("*") for line in text.splitlines() if line.startswith("**Not settled between"))
    assert finding.split(" (")[0] in (report / "index.html").read_text()


def test_the_note_of_a_folded_table_is_folded_with_it(report):
    text = (report / "report.md").read_text()
    folded = re.search(r"<details><summary>Fine classes and .*?: 12 rows</summary>.*?</details>", text, flags=re.DOTALL)
    assert "*F1 difference: of the fine class" in folded[0] and not re.search(r"\b1 rows", text)


def test_synthetic_models_are_labelled_and_kept_apart(report):
    page = (report / "index.html").read_text()
    assert "Synthetic data: 2 of 7 models" in page
    assert "coarse-vs-fine (synthetic data)</h2>" in page and "version 3 (synthetic data)</h3>" in page
    assert "\n\ncoarse-vs-fine (synthetic data)\n" in (report / "report.md").read_text()
    assert set(table(report, "coarse-vs-fine-synthetic.accuracy")["model"]) == {"coarse-synthetic", "fine-synthetic"}


def test_every_title_caption_and_figure_of_synthetic_data_says_so_in_html(report):
    page = (report / "index.html").read_text()
    parts = re.findall(
        r'<section id="(?:comparison|details|model)-[^"]*synthetic">(.*?)</section>', page, flags=re.DOTALL
    )
    assert len(parts) == 4
    titles = re.findall(
        r"<(?:h[234]|figcaption|summary)[^>]*>[^<]*|<p class=\"title\">[^<]*|alt=\"[^\"]*|"
        r"role=\"(?:region|img)\" aria-label=\"[^\"]*",
        "".join(parts),
    )
    assert len(titles) > 50 and [title for title in titles if not re.search(r"[Ss]ynthetic data\b", title)] == []


def test_every_title_caption_and_figure_of_synthetic_data_says_so_in_markdown(report):
    text = (report / "report.md").read_text()
    parts = re.findall(r"^## [^\n]*\(synthetic data\)\n.*?^(?=## )", text, flags=re.MULTILINE | re.DOTALL)
    parts += re.findall(r"^### [^\n]*-synthetic, version.*?^(?=###? )", text, flags=re.MULTILINE | re.DOTALL)
    assert len(parts) == 3
    titles = re.findall(
        r"^#.*|^!\[.*|(?<=\.png\)\n\n).*|^\*\*.*tables/.*|^<details>.*", "".join(parts), flags=re.MULTILINE
    )
    assert len(titles) > 45 and [title for title in titles if not re.search(r"[Ss]ynthetic data\b", title)] == []


def test_figures_of_synthetic_data_have_the_label_drawn_in_them(models):
    (comparison,) = compare(read_models(models[2:4]))
    sections = [*comparison.sections, *(s for model in comparison.models for s in build_sections(model).sections)]
    charts = [comparison.picture, *(chart for section in sections for chart in section.charts)]
    drawn = [chart.figure for chart in charts if not isinstance(chart.figure, Path)]
    assert len(drawn) == 14 and all("(synthetic data)" in " ".join(f.get_suptitle().split()) for f in drawn)


def test_a_page_without_synthetic_models_has_no_banner(models, tmp_path):
    assert "ynthetic" not in build(models[:2], tmp_path).read_text()


def test_searches_and_provenance_are_reported(report):
    page = (report / "index.html").read_text()
    assert ("The search completed 2 of 3 trials; 1 failed. The most frequent reason for failing: loss is nan.") in page
    assert "trial-03 won with the best score (validation accuracy 75.00%)." in page
    assert "Error bars: one standard error" in page
    assert "minutes: from the start of the search to the end of the trial." in page and "refitted: " not in page
    assert "first trial: the values that were the best known before the search; searched: a range" in page
    assert (
        "The search cost 2.0 minutes and the training of the final fit 1.5, together 3.5 of a budget of 5 minutes "
        "(tuner: bayesian)."
    ) in page
    assert table(report, "fine.winner").values.tolist() == [
        ["width", "64", "48", "0..128 by 16", "linear"],
        ["activation", "relu", "silu", "relu|silu", "choice"],
    ]
    rows = pd.read_csv(report / "tables/provenance.csv", dtype=str).set_index("run")
    assert rows.loc["run-of-fine", "repeat it"] == (
        "mlflow run . -e tune --env-manager local "
        "-P experiment=fine -P tuner=bayesian -P budget_minutes=5.0 -P values=width=64 -P seed=7"
    )
    assert "-P data=synthetic" in rows.loc["run-of-fine-synthetic", "repeat it"]
    assert rows.loc["run-of-fine", "test images' digest"] == "t1" and rows.loc["run-of-fine", "commit"] == "abc123"
    assert rows.loc["run-of-fine", "seeds"] == "7"


def test_hashes_are_cut_on_the_page_and_whole_in_the_file(models, tmp_path):
    whole = "0123456789abcdef" * 2
    one = replace(models[1], run_id=whole, tags=models[1].tags | {"git.commit": f"{whole}01234567+changes"})
    page = build([one], tmp_path).read_text()
    assert whole not in page and "01234567+changes" in page
    assert pd.read_csv(tmp_path / "tables/provenance.csv", dtype=str)["run"].tolist() == [whole]


def test_a_trial_refitted_in_place_of_the_best_is_reported(models, tmp_path):
    trials = search_table(3).assign(refitted=["yes", "", ""]).drop(columns="standard_error")  # as in older searches
    one = with_trials(models[1], tmp_path / "one", trials)
    (one.root / "search/values.csv").unlink()
    section = search_of(one)
    said = "trial-01, with the best-known values, won (validation accuracy 43.20%). trial-03 (75.00%) scored best, but"
    assert said in " ".join(section.findings)
    assert "Error bars: one standard error" not in section.charts[0].caption
    assert section.tables[0].frame["value"].tolist() == ["32", "silu"]


def test_a_trial_cut_short_is_reported(models, report, tmp_path):
    trials = search_table(3).assign(status=["completed", "failed", "truncated"])
    sentence = "The time ran out during trial-03, which counts with the score that it had then."
    finding, winner, *_ = search_of(with_trials(models[1], tmp_path / "one", trials)).findings
    assert finding.startswith("The search completed 1 of 3 trials; 1 failed.") and sentence in finding
    assert winner.startswith("trial-03 won with the best score")
    assert "The time ran out during" not in (report / "index.html").read_text()
    trials = trials.assign(status=["truncated", "failed", "truncated"])
    finding = search_of(with_trials(models[1], tmp_path / "two", trials)).findings[0]
    assert "The time ran out during trial-01 and trial-03, which count with the scores that they had then." in finding


def test_the_only_trial_is_reported_to_be_refitted_even_if_it_was_cut_short(models, tmp_path):
    trials = search_table(3).head(1).assign(status="truncated")
    finding, winner, *_ = search_of(with_trials(models[1], tmp_path / "one", trials)).findings
    assert finding == (
        "The search completed 0 of 1 trials. The time ran out during trial-01, which counts with the score that it had then."
    )
    said = (
        "trial-01 was the only trial, so its values, the best-known ones, were refitted (validation accuracy 43.20%)."
    )
    assert winner == said


def test_a_pruned_trial_is_reported_and_is_not_the_best(models, report, tmp_path):
    trials = search_table(3)
    trials.loc[0, ["status", "val_accuracy", "reason"]] = "pruned", 0.9, "after epoch 1 of 2"
    section = search_of(with_trials(models[1], tmp_path / "one", trials))
    said = "The search completed 1 of 3 trials; 1 failed. 1 was pruned: ended early, because most others"
    assert section.findings[0].startswith(said) and section.findings[1].startswith("trial-03 won with the best score")
    assert section.tables[-1].frame["reason"].iloc[0] == "after epoch 1 of 2"
    caption = "Hollow circles and dashed lines: pruned trials"
    assert caption in section.charts[0].caption and caption not in (report / "index.html").read_text()


def test_sections_about_single_models_are_folded_where_there_are_several(models, report, tmp_path):
    folded, open_heading = "<summary>The search</summary>", "<h4>The search</h4>"
    page = (report / "index.html").read_text()
    assert page.count(folded) == 5 and open_heading not in page  # the two models of synthetic data have a label, too
    page = build(models[1:2], tmp_path).read_text()
    assert page.count(open_heading) == 1 and folded not in page


def test_a_hyperparameter_that_is_not_searched_counts_as_recorded(models, tmp_path):
    one = with_trials(models[1], tmp_path / "one", search_table(4).assign(activation="relu"))
    values, said = one.root / "search/values.csv", "Where that was not recorded"
    known = pd.read_csv(values).assign(searched=["0..128 by 16", "relu"], sampling=["linear", "fixed"])
    known.to_csv(values, index=False)
    assert said not in search_of(one).charts[0].caption
    known.assign(searched="", sampling="").to_csv(values, index=False)
    assert said in search_of(one).charts[0].caption


def test_a_search_of_one_trial_has_no_figure(models, tmp_path):
    section = search_of(with_trials(models[1], tmp_path / "one", search_table(3).head(1)))
    assert section.findings[0] == "The search completed 1 of 1 trials." and section.charts == []


def test_minutes_of_a_search_outside_its_trials_are_reported(models, report):
    slow = replace(models[1], metrics=models[1].metrics | {"search_seconds": 300.0})  # three trials of a minute each
    assert "2.0 minutes went into measuring speeds" in search_of(slow).findings[-1]
    assert "minutes went into measuring" not in (report / "index.html").read_text()


def test_the_command_that_repeats_a_run_has_all_its_settings(models):
    def repeated(model=models[1], **params):
        (read,) = read_models([replace(model, params=model.params | params)])
        return set(re.findall("-P [^ ]+", provenance.repeat_command(read)))

    wanted = {"-P max_trials=1", "-P deterministic=true", "-P weights=none"}
    assert wanted <= repeated(deterministic="True", weights="none", max_trials="1")
    assert "-P weights=FOLDER/own.h5" in repeated(weights="own.h5")
    assert "-P weights=FILE" in repeated(models[3], weights="imagenet")  # of synthetic data, whose default is none
    assert not any("weights" in word for word in repeated(weights="imagenet"))


def test_a_missing_model_is_reported_and_the_rest_made(models, tmp_path):
    page = build([models[1], *models[4:]], tmp_path).read_text()
    assert "No model with coarse labels was found to compare with fine" in page
    assert "fine is the only model of this comparison" in page and "points more than small" in page


def test_missing_and_broken_artifacts_are_reported_and_the_rest_made(models, tmp_path):
    broken = copied(models[1], tmp_path / "broken")
    (broken.root / "evaluation/predictions.npz").write_bytes(b"PK\x03\x04 cut short")
    (broken.root / "plots/examples.png").unlink()
    (broken.root / "search/trials.csv").write_text("trial,status\n")
    (broken.root / "environment.json").write_text("[]")
    (broken.root / "evaluation/history.csv").write_text("epoch,loss,accuracy,seconds\n")
    page = build([models[0], broken], tmp_path / "out").read_text()
    assert "fine: evaluation/predictions.npz cannot be read" in page
    assert "fine: its run has no plots/examples.png" in page
    assert "fine: search/trials.csv cannot be read: no column val_accuracy, seconds" in page
    assert "fine: environment.json cannot be read" in page
    assert "fine: evaluation/history.csv cannot be read: no epochs" in page
    assert "coarse and fine cannot be compared: the predictions or the class table of fine are missing" in page
    rows = table(tmp_path / "out", "coarse-vs-fine.accuracy").set_index("model")
    assert rows.loc["fine", "accuracy"] == pytest.approx(broken.metrics["test_accuracy"]) and np.isnan(
        rows.loc["fine", "low"]
    )


def test_models_tested_on_other_images_are_not_paired(models, tmp_path):
    elsewhere = replace(models[5], tags=models[5].tags | {"test.digest": "another"})
    page = build([models[4], elsewhere], tmp_path).read_text()
    assert "small and middle were not tested on the same images, so they are not compared in pairs" in page
    assert not list(tmp_path.glob("tables/*.pairs.csv"))


def test_nothing_is_said_about_a_class_without_test_images(tmp_path):
    build(coarse_and_fine(tmp_path / "runs", labels=LABELS[LABELS != 0]), tmp_path / "out")  # without birds-a
    classes = table(tmp_path / "out", "coarse-vs-fine.classes")
    assert len(classes) == 11 and (classes["support"] == 100).all()
    np.testing.assert_allclose(classes["p_adjusted"], stats.false_discovery_control(classes["p"]))
    hypotheses, recalls = (table(tmp_path / "out", f"coarse-vs-fine.{name}") for name in ("hypotheses", "recall"))
    assert not hypotheses["class"].str.startswith("birds-a").any() and "birds-a" not in set(recalls["class"])


def test_a_model_clearly_below_chance_is_reported_so(tmp_path):
    labels = np.repeat([0, 1], [800, 200])
    tags = {"comparison": "two", "labels": "flat", "test.digest": "t3"}
    build([register(tmp_path, "lost", tags, labels, guesses(1 - labels, 2, 1.0), ("no", "yes"))], tmp_path / "out")
    assert "of 1,000 test images is below chance" in (tmp_path / "out" / "index.html").read_text()


def test_an_experiment_may_have_the_name_of_its_comparison(tmp_path):
    tags = {"comparison": "leaves", "labels": "flat", "test.digest": "t2"}
    build([register(tmp_path, "leaves", tags, FLAT_LABELS, guesses(FLAT_LABELS, 3, 1.0), FLAT)], tmp_path / "out")
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert {"comparison-leaves", "model-leaves"} <= set(page.ids) and len(page.ids) == len(set(page.ids))


def test_underscores_in_names_of_classes_are_spaces_unless_two_names_become_one(tmp_path):
    tags = {"comparison": "c", "labels": "flat", "test.digest": "t"}
    for key, names, shown in (("one", ("a_b", "c", "d"), "a b"), ("two", ("a_b", "a b", "d"), "a_b")):
        model = register(tmp_path, key, tags, FLAT_LABELS, guesses(FLAT_LABELS, 3, 1.0), names)
        (read,) = read_models([model])
        assert read.class_evaluation.class_names == [shown, *names[1:]]


def test_hostile_names_are_shown_as_text(tmp_path):
    bad = "<script>alert(1)</script>|\"'`*x*` $\\frac$ ../../up\n# heading"
    names = ("coat", bad, "null")
    tags = {"comparison": bad, "labels": "flat", "test.digest": bad, "question": bad, "experiment": bad}
    (tmp_path / "runs").mkdir()
    labels, of = FLAT_LABELS, [bad] * 3
    fine = register(tmp_path / "runs", bad, tags | {"labels": "fine"}, labels, guesses(labels, 3, 1.0), names, of)
    coarse = guesses(0 * labels, 2, 1.0)
    coarse = register(tmp_path / "runs", "coarse", tags | {"labels": "coarse"}, 0 * labels, coarse, (bad, "other"))
    build([fine, coarse], tmp_path / "out")
    page, text = ((tmp_path / "out" / name).read_text() for name in ("index.html", "report.md"))
    assert Page(page).tags.count("script") == 1 and "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(?<!\\)<script", text) and not re.search(r"^# heading", text, flags=re.MULTILINE)
    blocks = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in blocks]
    headers = [i for i, line in enumerate(blocks) if set(line) <= set("|-: ")]
    for start, end in zip(headers, [i - 1 for i in headers[1:]] + [len(blocks)], strict=True):
        assert set(widths[start - 1 : end]) == {widths[start]}
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(re.fullmatch(r"[a-z0-9.-]+", path.name) for path in written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


@pytest.fixture(scope="module")
def versions(models, tmp_path_factory):
    """A report of three versions of one model, with different seeds and addresses, and of a model with a similar name."""
    small = models[4]

    def version(number, accuracy, url):
        seeded = small.tags | {"seed": str(number)}
        return replace(small, version=number, tags=seeded, metrics={"test_accuracy": accuracy}, url=url)

    others = [version(4, 0.7, "http://server:5000/#/experiments/1/runs/r"), version(5, 0.8, "javascript:alert(1)")]
    folder = tmp_path_factory.mktemp("versions")
    build([small, *others, replace(small, name="small/V3", tags=small.tags | {"experiment": "another"})], folder)
    return folder


def test_versions_of_one_model_have_different_titles(versions):
    models = table(versions, "small-vs-large.accuracy")["model"].tolist()
    assert models == ["small v3", "small v4", "small v5", "small/V3"]
    assert len(list(versions.glob("figures/*.confusion.png"))) == 4


def test_several_seeds_of_one_experiment_give_mean_and_spread(models, versions):
    (row,) = table(versions, "small-vs-large.seeds").itertuples()
    accuracies = [models[4].metrics["test_accuracy"], 0.7, 0.8]
    assert row.seeds == "4, 5, 7"
    assert (row.mean, row.std) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))


def test_versions_with_other_budgets_or_the_same_seed_say_nothing_about_the_seed(models, tmp_path):
    small = models[4]
    longer = replace(small, version=4, tags=small.tags | {"seed": "5"}, params=small.params | {"budget_minutes": "60"})
    again = replace(small, version=5, metrics=small.metrics | {"test_accuracy": 0.9})
    build([small, longer, again], tmp_path)
    assert not (tmp_path / "tables" / "small-vs-large.seeds.csv").exists()


def test_runs_link_to_the_server_and_never_to_a_script(versions):
    page = Page((versions / "index.html").read_text())
    assert "http://server:5000/#/experiments/1/runs/r" in page.links
    assert not [link for link in page.links if link.startswith("javascript")]
    text = (versions / "report.md").read_text()
    assert "(http://server:5000/#/experiments/1/runs/r)" in text and "](javascript" not in text
    assert "mlproject ui" not in text


@pytest.mark.parametrize(
    ("ui", "where"),
    [
        ("http://server", ""),
        ("http://127.0.0.1:5000", " (first run mlproject ui on the computer that made this report)"),
    ],
)
def test_comparisons_searches_versions_and_runs_link_to_the_ui_and_say_whether_it_must_be_started(
    models, tmp_path, ui, where
):
    finals, trials, version, run = (f"{ui}/#/{page}" for page in ("compare-runs?runs=%5B%5D&a=b", "t?a=b", "v", "r"))
    addresses = {"finals_url": finals, "trials_url": trials, "version_url": version, "url": run}
    page = build([replace(model, **addresses) for model in models[4:6]], tmp_path).read_text()
    links = Page(page).links
    assert [links.count(one) for one in addresses.values()] == [1, 2, 2, 2]
    text = (tmp_path / "report.md").read_text()
    compare = f"[Compare the final runs in MLflow's UI]({finals}){where}."
    assert text.index("### How accurate each model is") < text.index(compare) < text.index("### Every two models")
    assert text.count(f"[Compare this search's trials in MLflow's UI]({trials}){where}.") == 2
    assert f"[3]({version})" in text and text.count("mlproject ui") == (4 if where else 0)


def test_a_report_of_models_whose_pages_are_not_known_links_to_none(report):
    assert "MLflow's UI" not in (report / "report.md").read_text()


def test_without_models_the_error_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="mlflow run . -e tune"):
        build([], tmp_path)


def test_a_folder_that_cannot_be_written_is_named(models, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="report folder .*taken"):
        build(models[:1], tmp_path / "taken")


def test_each_difference_of_f1_has_an_interval_and_an_adjusted_p(report):
    rows = table(report, "coarse-vs-fine.classes")
    assert (rows["f1_low"] <= rows["f1_difference"]).all() and (rows["f1_difference"] <= rows["f1_high"]).all()
    assert rows["p_adjusted"].to_numpy() == pytest.approx(stats.false_discovery_control(rows["p"]))


def test_siblings_are_nearer_than_others_in_the_feature_space(report):
    rows = table(report, "coarse-vs-fine.classes")
    superclass = dict(zip(rows["class"], rows["superclass"], strict=True))
    assert [superclass[name] for name in rows["nearest"]] == rows["superclass"].tolist()
    # Siblings differ in one pair of axes of length 1, other classes also in a pair of axes of length 3.
    assert rows["siblings_ratio"].to_numpy() == pytest.approx(np.sqrt(2) / np.sqrt(2 + 18))
    hypotheses = table(report, "coarse-vs-fine.hypotheses")["space"]
    said = ", a sibling; mean distance to siblings: 0.32 of that to other classes"
    assert hypotheses.str.contains(said, regex=False).all()


def test_the_superclass_recall_of_both_models_is_compared_on_each_fine_class(models, report):
    rows = table(report, "coarse-vs-fine.recall").set_index("class")
    labels, probabilities = stored(models, "fine")
    _, coarse = stored(models, "coarse")
    mine = labels == FINE.index("fish-a")
    sums = np.stack([probabilities[mine][:, s == SUPERCLASS_OF].sum(axis=1) for s in range(4)], axis=1)
    assert rows.loc["fish-a", "fine_recall"] == pytest.approx(np.mean(sums.argmax(axis=1) == 2))
    assert rows.loc["fish-a", "coarse_recall"] == pytest.approx(np.mean(coarse[mine].argmax(axis=1) == 2))
    assert rows["difference"].idxmin() == "fish-a" and rows.loc["fish-a", "p_adjusted"] < 0.05


def test_classes_with_the_same_loss_are_named_together(tmp_path):
    of = [SUPERCLASSES[index] for index in SUPERCLASS_OF]
    tags = {"comparison": "coarse-vs-fine", "dataset": "tiny", "test.digest": "t1"}
    # Half of each is taken for a tree.
    fine = guesses(LABELS, 12, 50.0, planted={FINE.index("birds-a"): 9, FINE.index("fish-a"): 9})
    models = [
        register(
            tmp_path, "coarse", tags | {"labels": "coarse"}, SUPERCLASS_OF[LABELS],
            guesses(SUPERCLASS_OF[LABELS], 4, 50.0), SUPERCLASSES,
        ),
        register(tmp_path, "fine", tags | {"labels": "fine"}, LABELS, fine, FINE, of),
    ]  # fmt: skip
    build(models, tmp_path / "out")
    assert "The largest loss is on birds-a and fish-a, 50 points each." in (tmp_path / "out" / "report.md").read_text()


def test_models_that_confuse_the_same_classes_share_a_sentence(models, tmp_path):
    again = replace(models[5], name="again")
    page = build([models[5], again], tmp_path).read_text()
    (sentence,) = re.findall(r"<li>(\w+ and \w+ are the two classes that .*)</li>", page)
    share = r"\(\d+ images, \d+% of its errors\)"
    assert re.search(rf"that middle {share} and again {share} confuse most often\.$", sentence)


def test_the_most_confused_pairs_are_the_planted_ones(report):
    rows = table(report, "fine.confused")
    assert rows.loc[:1, ["class", "taken_for", "same_superclass"]].to_numpy().tolist() == [
        ["birds-a", "birds-b", "yes"],
        ["fish-a", "trees-a", "no"],
    ]
    assert 0.4 < rows["share"][0] < 0.6


def test_the_table_of_confusions_says_whether_it_has_them_all(models):
    few, many = (build_sections(model).sections[0].tables[0] for model in read_models([models[4], models[1]]))
    assert few.title == "All confusions of classes" and len(few.rows) <= 6
    assert re.fullmatch(r"The 20 most frequent confusions of \d+", many.title) and len(many.rows) == 20


def test_stages_of_a_fit_have_rows_of_their_own(report):
    rows = table(report, "small-vs-large.accuracy").set_index("model")
    assert len(rows) == 4 and rows.loc["large after feature-extraction", "accuracy"] < rows.loc["large", "accuracy"]
    cost = table(report, "small-vs-large.cost").set_index("model")
    assert (
        cost.loc["large after feature-extraction", "train_seconds"] == 30 and cost.loc["large", "train_seconds"] == 90
    )
    assert cost.loc["large", "milliseconds"] == 2 and cost.loc["large", "model_bytes"] == 2.5e6
    assert set(table(report, "small-vs-large.calibration")["model"]) == set(rows.index)
    text = (report / "report.md").read_text()
    assert re.search(
        r"large classifies [\d.]+ points more of the same 1,200 test images correctly than large after", text
    )
    assert text.count("the network at the end of that stage") == 1


def test_models_are_grouped_by_how_their_confidence_compares_with_their_accuracy(report):
    rows = table(report, "small-vs-large.calibration").set_index("model")
    comparisons = re.split(r"^## ", (report / "report.md").read_text(), flags=re.MULTILINE)
    (text,) = [one for one in comparisons if one.startswith("Which of these models")]
    for name, gap in (rows["confidence"] - rows["accuracy"]).items():
        start = "Under" if gap <= -0.02 else "Over" if gap >= 0.02 else "About as "
        assert len(re.findall(rf"^- {start}confident .*\): .*\b{name}\b", text, flags=re.MULTILINE)) == 1


def test_reliability_curves_are_left_out_where_no_bin_holds_enough_test_images(models, tmp_path):
    labels = FLAT_LABELS[: figures.FEWEST_IN_BIN - 1]
    few = register(tmp_path, "few", models[4].tags, labels, guesses(labels, 3, 1.0), FLAT)
    (read, whole) = read_models([few, models[4]])
    section = calibration.section(read.context, [read.predictions])
    assert section.charts == [] and section.tables[0].frame["model"].tolist() == ["few"]
    assert section.findings[-1].startswith("The reliability curves are left out, because no bin")
    section = calibration.section(whole.context, [read.predictions, whole.predictions])
    assert len(section.charts) == 1 and "left out, because" not in " ".join(section.findings)


def test_images_are_counted_by_which_models_classify_them_correctly(models, report):
    rows = table(report, "small-vs-large.alone").set_index("right")["images"]
    right = {}
    for name in ("small", "middle", "large"):
        labels, probabilities = stored(models, name)
        right[name] = probabilities.argmax(axis=1) == labels
    votes = sum(right.values())
    assert rows["all models"] == (votes == 3).sum() and rows["no model"] == (votes == 0).sum()
    assert rows["several models, but not all"] == (votes == 2).sum() and rows.sum() == votes.size
    assert rows["small alone"] == (right["small"] & (votes == 1)).sum()
    assert (report / "figures/small-vs-large.alone.png").exists()


def test_conclusions_come_first_and_name_a_smaller_model_that_is_not_worse(models, tmp_path):
    few = replace(models[5], metrics=models[5].metrics | {"parameters": 10.0})
    build([models[4], few, models[6]], tmp_path)
    text = (tmp_path / "report.md").read_text()
    short = text[: text.index("### ")]
    assert "points more than small" in short and "which may be chance" in short
    leader = max(models[5:], key=lambda model: model.metrics["test_accuracy"]).name
    assert ("middle is the smaller one, with 10 parameters against 1,234" in short) == (leader == "large")


def test_the_smallest_model_is_found_beside_one_of_unknown_size(models, tmp_path):
    sizes = {"one": 100.0, "two": np.nan, "three": 10.0}
    twins = [
        replace(models[4], name=name, metrics=models[4].metrics | {"parameters": size}) for name, size in sizes.items()
    ]
    build(twins, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Of one and three, three is the smaller one, with 10 parameters against 100." in text


def test_a_recorded_speed_of_zero_is_not_known(models, tmp_path):
    stopped = replace(models[4], metrics=models[4].metrics | {"prediction_images_per_second": 0.0})
    build([stopped], tmp_path)
    assert table(tmp_path, "small-vs-large.cost")["milliseconds"].isna().all()
    assert table(tmp_path, "small-vs-large.accuracy")["model"].tolist() == ["small"]


def test_hyperparameters_that_matter_are_found_among_eight_trials_and_none_among_five(models, tmp_path):
    few, many = (search_of(with_trials(models[4], tmp_path / f"{trials}", search_table(trials))) for trials in (5, 9))
    trials = search_table(13).assign(activation="relu", width=np.r_[0:4, 9, 4:9, 9:12])
    trials["val_accuracy"] = np.tile([0.4, 0.6], 7)[:13]
    noise = search_of(with_trials(models[4], tmp_path / "noise", trials))
    assert "Which hyperparameters mattered cannot be said from so few trials (4)." in few.findings
    assert importance_in(few) is None
    assert re.search(r"width \(higher is better, p [=<] [\d.]+\) mattered in these 8 trials", " ".join(many.findings))
    assert "No hyperparameter mattered beyond chance in these 12 trials." in noise.findings
    rows = importance_in(many)
    assert rows.loc["width", "correlation"] == pytest.approx(1) and rows.loc["activation", "p"] > 0.05


def test_a_hyperparameter_that_some_trials_lack_is_tested_on_the_others(models, tmp_path):
    number = np.arange(17)
    trials = search_table(17).assign(activation="relu", units=[str(one) if one % 2 else "" for one in number])
    trials["val_accuracy"] = np.where(number % 2, number / 100, 0.9)
    section = search_of(with_trials(models[4], tmp_path / "deep", trials))
    assert "units (higher is better" in " ".join(section.findings)
    row = importance_in(section).loc["units"]
    assert (row["values"], row["correlation"]) == (7, pytest.approx(1))  # of the eight with a value, one trial failed


def test_models_are_compared_with_those_of_the_same_seed(models, tmp_path):
    again = [replace(model, version=4, tags=model.tags | {"seed": "8"}) for model in models[:2]]
    build([*models[:2], *again], tmp_path)
    assert len(list(tmp_path.glob("tables/*.generalised.csv"))) == 2
    assert len(list(tmp_path.glob("tables/*.classes.csv"))) == 1
    assert "only coarse v3 and fine v3 are compared class by class" in (tmp_path / "report.md").read_text()


def test_runs_without_the_newer_artifacts_are_still_reported(models, tmp_path):
    older = []
    for model in models[:2]:
        one = replace(copied(model, tmp_path / model.name), params={})
        for path in ("evaluation/features.npz", "evaluation/images.npz", "search/values.csv", "environment.json"):
            (one.root / path).unlink()
        layers = pd.read_csv(one.root / "explain/layers.csv").drop(columns="inputs")
        layers.to_csv(one.root / "explain/layers.csv", index=False)
        older.append(one)
    page = build(older, tmp_path / "out").read_text()
    assert (
        "fine: its run has no evaluation/features.npz, evaluation/images.npz, search/values.csv, environment.json"
        in page
    )
    assert "It is hard to tell from its siblings" in page
    assert table(tmp_path / "out", "fine.winner").values.tolist() == [["width", "48"], ["activation", "silu"]]


def test_a_report_names_the_devices_and_says_that_times_do_not_compare_where_they_differ(models, report, tmp_path):
    other = copied(models[0], tmp_path / "other")
    path = other.root / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gpu": "NVIDIA H200", "precision": "bfloat16"}))
    read = read_models([other, models[1]])
    assert provenance.describe_training(read) == (
        ", with models trained on NVIDIA H200, bfloat16 (2 CPUs) and Ryzen (2 CPUs), commit abc123, 1 seed for each model, a "
        "budget of 5 minutes"
    )
    assert provenance.machine_name({"cpu": "Ryzen", "cpus": 1}) == "Ryzen (1 CPU)"
    (brief,) = read_models([replace(models[1], params=models[1].params | {"budget_minutes": "1.0"})])
    assert provenance.describe_training([brief]).endswith(", a budget of 1 minute")
    assert provenance.machines_differ(read) and not provenance.machines_differ(read[1:])
    assert MACHINES_NOTE not in (report / "report.md").read_text()


def test_machines_and_layers_are_reported(report):
    machines = table(report, "environments").set_index("what")
    assert machines.columns.tolist() == ["all models"]  # they were trained on one machine
    assert machines.iloc[:, 0].loc[["cpu", "keras"]].tolist() == ["Ryzen", "3.15.1"]
    layers = table(report, "fine.layers").set_index("layer")
    assert layers.loc["dense", "role"] == "gives a probability to each class"
    text = (report / "report.md").read_text()
    assert "Layers that depend on the number of colours: input." in text
    assert "Layers that depend on the number of classes: dense." in text


def test_a_page_with_many_pictures_stays_small(models, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    heavy = copied(models[4], tmp_path / "heavy")
    (heavy.root / "data").mkdir()
    image.imsave(heavy.root / "plots/examples.png", noise)
    shutil.copy(heavy.root / "plots/examples.png", heavy.root / "data/examples.png")
    pd.DataFrame({"what": ["images"], "value": ["1"]}).to_csv(heavy.root / "data/facts.csv", index=False)
    page = build([heavy], tmp_path / "out")
    assert sum(path.stat().st_size for path in tmp_path.glob("out/figures/*")) > 10_000_000 > page.stat().st_size


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """Models of which most were fitted with several seeds; small has one, and a seed of middle is of other images."""
    root = tmp_path_factory.mktemp("seeded")
    small, middle, large = three_flat(root)
    middle = with_seeds(middle, *(guesses(FLAT_LABELS, 3, 3 + extra) for extra in (0.05, 0.1)))
    large = with_seeds(
        large, *(guesses(FLAT_LABELS, 3, 3 + extra) for extra in (0.2, 0.3)), guesses(FLAT_LABELS[1:], 3, 3)
    )
    coarse, fine = coarse_and_fine(root)
    coarse = with_seeds(coarse, guesses(SUPERCLASS_OF[LABELS], 4, 2.1), guesses(SUPERCLASS_OF[LABELS], 4, 1.9))
    fine = with_seeds(fine, guesses(LABELS, 12, 4.8), guesses(LABELS, 12, 4.9))
    models = [small, middle, large, coarse, fine]
    build(models, root / "report")
    return models, root / "report"


def correct_by_seed(model):
    runs = [np.load(one.root / "evaluation/predictions.npz") for one in (model, *model.other_seeds[:2])]
    return np.stack([run["probabilities"].argmax(axis=1) == run["labels"] for run in runs])


def test_accuracies_of_several_seeds_are_means_with_intervals_over_images_and_seeds(seeded):
    (small, middle, *_), folder = seeded
    rows = table(folder, "small-vs-large.accuracy").set_index("model")
    expected = evaluation.crossed_accuracy(correct_by_seed(middle))
    assert rows.loc["middle", ["accuracy", "low", "high"]].tolist() == pytest.approx(expected[:3])
    assert rows.loc["middle", "accuracy"] == pytest.approx(middle.metrics["test_accuracy_mean"])
    assert rows["seeds"][["small", "middle", "large"]].tolist() == [1, 3, 3]
    assert rows.loc["small", "accuracy"] == pytest.approx(small.metrics["test_accuracy"])
    refits = table(folder, "small-vs-large.refits").set_index("model")
    assert refits.loc["middle", "seeds"] == "7, 8, 9" and set(refits.index) == {"middle", "large"}
    assert refits.loc["middle", "std"] == pytest.approx(middle.metrics["test_accuracy_std"])
    page = (folder / "report.md").read_text()
    assert "trained on Ryzen (2 CPUs), commit abc123, 1 or 3 or 4 seeds for each model, a budget of 5 minutes" in page
    assert (
        re.search(r"(middle|large) classifies [\d.]+% of 1,200 test images correctly \(mean of 3 seeds\), ", page)
        and "large, seed 10 was not tested on the same images" in page
    )


def test_pairs_of_models_with_several_seeds_have_the_test_over_images_and_seeds(seeded):
    (_, middle, large, *_), folder = seeded
    pairs = table(folder, "small-vs-large.pairs").set_index(["a", "b"])
    expected = evaluation.crossed_difference(correct_by_seed(large), correct_by_seed(middle))
    row = pairs.loc["large", "middle"]
    assert row[["difference", "low", "high", "p"]].tolist() == pytest.approx(expected[:4])
    assert row["covers"] == "images and seeds" and pairs.loc[("large", "small"), "covers"] == "images"
    own = pairs.loc["large", "large after feature-extraction"]  # of the stage, only the first seed is known
    assert own[["seeds_a", "seeds_b"]].tolist() == [1, 1]
    assert (folder / "report.md").read_text().count("Both are of the first seed.") == 1


def test_a_stage_of_several_seeds_is_compared_seed_by_seed(tmp_path):
    *_, large = three_flat(tmp_path)
    large = with_seeds(large, guesses(FLAT_LABELS, 3, 3.2), guesses(FLAT_LABELS, 3, 3.3), stage="feature-extraction")
    build([large], tmp_path / "report")
    (pair,) = table(tmp_path / "report", "small-vs-large.pairs").to_dict("records")
    assert (pair["seeds_a"], pair["seeds_b"], pair["covers"]) == (3, 3, "images and seeds")
    assert table(tmp_path / "report", "small-vs-large.accuracy")["seeds"].tolist() == [3, 3]
    assert "Both are of the first seed" not in (tmp_path / "report" / "report.md").read_text()


def test_a_stage_is_compared_with_the_seed_that_it_belongs_to():
    # The first seed is less accurate than the stage, the mean more.
    finished = np.arange(100) < np.array([[83], [87], [89]])
    found = pairs.compare(
        [pairs.Classifier("whole", finished, "fit"), pairs.Classifier("stage", np.arange(100)[None] < 84, "fit")]
    )
    assert found[["a", "b"]].values.tolist() == [["stage", "whole"]] and found["difference"][0] == pytest.approx(0.01)


def test_equally_accurate_models_are_said_to_be_so(models, tmp_path):
    twin = replace(models[6], name="twin")
    text = (build([models[6], twin], tmp_path).parent / "report.md").read_text()
    assert re.search(
        r"Not settled between large and twin: large classifies [\d.]+% of 1,200 test images correctly, as many as", text
    )
    assert "because the accuracies are equal" in text and "0.00 points more" not in text


def test_equally_accurate_models_of_several_seeds_differ_by_exactly_nothing():
    first = np.random.default_rng(0).random((3, 30)) < 0.7
    found = pairs.compare(
        [pairs.Classifier(name, correct, name) for name, correct in (("a", first), ("b", first[:, ::-1]))]
    )
    assert found["difference"][0] == 0 and np.isnan(found["needed_images"][0])
    assert pairs.finding(found.loc[0]).startswith("a classifies as many of the same 30 test images correctly as b (")


def test_ways_to_predict_with_the_same_networks_are_compared_seed_by_seed(seeded):
    (*_, fine), folder = seeded
    pairs = table(folder, "coarse-vs-fine.generalised-pairs")
    (row,) = pairs[~pairs["a"].eq("coarse") & ~pairs["b"].eq("coarse")].to_dict("records")
    by_seed = [np.load(one.root / "evaluation/predictions.npz")["probabilities"] for one in (fine, *fine.other_seeds)]
    truth = SUPERCLASS_OF[LABELS]
    argmax = np.stack([evaluation.aggregate_by_argmax(one, SUPERCLASS_OF) == truth for one in by_seed])
    summed = np.stack([evaluation.aggregate_by_sum(one, SUPERCLASS_OF).argmax(axis=1) == truth for one in by_seed])
    expected = evaluation.crossed_difference(summed, argmax, same_networks=True)
    assert (abs(row["difference"]), row["p"]) == pytest.approx((abs(expected.difference), expected.p))


def test_with_one_seed_the_report_says_what_would_settle_a_difference(report, seeded):
    text = (report / "report.md").read_text()
    pattern = r"Each network was trained with one seed.*: up to [\d,]+ test images would be needed in place of 1,200"
    assert re.search(pattern, text)
    assert "was trained with one seed" not in (seeded[1] / "report.md").read_text()


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        (
            (2, 2),
            "If a and b truly differ by 10.3 points, 2 seeds of each (-P seeds=2) show it in at least 80% of studies, provided "
            "that the standard deviation between seeds is at most 0.5 points.",
        ),
        ((5, 29), "deviation between seeds is 0.2 points; if it is 0.5 points, it takes 29 seeds of each."),
    ],
)
def test_the_seeds_that_would_settle_a_difference_are_upper_limits_where_their_variation_is_unknown(needed, said):
    pair = {"a": "a", "b": "b", "seeds_a": 1, "seeds_b": 1, "covers": "images", "difference": 0.103, "images": 70}
    pair |= {"needed_if_small": needed[0], "needed_if_large": needed[1], "needed_images": np.nan}
    (sentence,) = settling.sentences(pd.Series(pair), significant=False)
    assert sentence.startswith("Each network was trained with one seed") and sentence.endswith(said)


def test_what_is_of_the_first_seed_alone_is_said_before_it_is_shown(seeded):
    text = (seeded[1] / "report.md").read_text()
    for comparison in re.split(r"^## ", text, flags=re.MULTILINE)[1:3]:
        said = comparison.index("the network of each model's first seed")
        titles = ("### Each fine class", "### Which images", "### Class by class", "### Can the", "### Had training")
        assert said < min(comparison.index(title) for title in titles if title in comparison)


def test_no_sentence_about_seeds_is_stated_twice(seeded):
    text = (seeded[1] / "report.md").read_text()
    for comparison in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        prose = [line for line in comparison.splitlines() if not line.startswith(("|", "!", "#", "<"))]
        sentences = [one for line in prose for one in re.split(r"(?<=\.) ", line.strip("-* ")) if "seed" in one]
        assert sorted({one for one in sentences if sentences.count(one) > 1}) == []


def cross_validated(root, name, images, best):
    """A model that was cross-validated on 300 images; trial `best` of its search was refitted."""
    labels = FLAT_LABELS[:images]
    tags = {"comparison": "small-vs-large", "dataset": "flat-set", "labels": "flat", "test.digest": f"t{images}"}
    model = register(root, name, tags, labels, guesses(labels, 3, 2.0), FLAT)
    trials = search_table(3).assign(refitted=[("yes" if number == best else "") for number in range(3)])
    trials.to_csv(model.root / "search/trials.csv", index=False)
    metrics = {"cv_accuracy": 0.81, "cv_accuracy_low": 0.75, "cv_accuracy_high": 0.87, "cv_images": 300.0}
    return replace(model, metrics=model.metrics | metrics | {"cv_balanced_accuracy": 0.8}, params={"folds": "5"})


def test_a_cross_validated_accuracy_stands_beside_the_test_accuracy(models, report, tmp_path):
    few, many = cross_validated(tmp_path, "few", 60, best=2), cross_validated(tmp_path, "many", 1200, best=0)
    page = build([few, many, models[-1]], tmp_path / "out").read_text()
    rows = table(tmp_path / "out", "small-vs-large.accuracy").set_index("model")
    assert rows.loc["few", ["cv_accuracy", "cv_low", "cv_high", "cv_images"]].tolist() == [0.81, 0.75, 0.87, 300]
    assert rows.loc["large", ["cv_accuracy", "cv_low", "cv_high", "cv_images"]].isna().all()
    text = " ".join((tmp_path / "out/report.md").read_text().replace("\\", "").split())
    assert (
        "In cross-validation, few classifies 81.00% of 300 training images correctly, each by a fit that did not train on it "
        "(95% interval 75.00 to 87.00%); the test accuracy rests on 60 images. With only 60 test images, trust the "
        "cross-validated interval"
    ) in text
    assert text.count("trust the cross-validated interval") == 1
    assert (
        text.count("slightly optimistic") == 1 and text.count("the choice did not make this accuracy optimistic") == 1
    )
    assert "cross-validated accuracy" in page and "over the folds (Nadeau and Bengio, 2003)" in page
    assert "ross-validated" not in (report / "report.md").read_text()
    assert "cv_accuracy" not in table(report, "small-vs-large.accuracy")


def test_the_question_of_the_newest_topic_is_answered_beside_published_figures_of_real_data(models, tmp_path):
    def about(question):
        figures = {"images": ["20%", "100%"], "coarse": [68.99, 85.04], "fine": [71.51, 85.05]}
        return Topic("Labels", question, figures, "Chen et al., https://arxiv.org/abs/1901.07012").tag

    def with_topic(model, question, version=3, created=0):
        return replace(model, version=version, created=created, tags=model.tags | {"topic": about(question)})

    # Versions are numbered model by model, so a version 4 may be older than a version 3 of another model.
    pair = [with_topic(models[0], "Which labels?", version=4), with_topic(models[1], "Do fine labels help?", created=1)]
    page = " ".join(build(pair, tmp_path / "real").read_text().split())
    assert "<title>Labels</title>" in page and '<p class="question">Do fine labels help?</p>' in page
    assert re.search(
        r"<p>(Yes|No): fine, trained on the 12 fine labels, predicts the superclass of [\d.]+% of 1,200 test images "
        r"correctly; coarse, trained on the 4 coarse labels, of [\d.]+%\. (Fine|Coarse) labels lead by [\d.]+ points \(95%",
        page,
    )
    assert page.index("<p>Yes:" if "<p>Yes:" in page else "<p>No:") < page.index("<svg") < page.index("<nav")
    assert '<a href="https://arxiv.org/abs/1901.07012"' in page
    rows = table(tmp_path / "real", "coarse-vs-fine.published")
    ours = table(tmp_path / "real", "coarse-vs-fine.generalised")["accuracy"]
    assert rows.iloc[-1, 1:].tolist() == pytest.approx([100 * ours[0], 100 * ours[2]])
    synthetic = [with_topic(one, "Which labels?") for one in models[2:4]]
    (comparison,) = compare(read_models(synthetic))
    assert "What others found" not in [section.title for section in comparison.sections]
    assert comparison.answers[0].startswith("fine-synthetic, trained on the 12 fine labels, predicts the superclass")


def test_published_figures_that_are_not_by_labels_stand_alone(models):
    figures = {"network": ["LeNet", "another"], "accuracy": [90.0, "about 92"]}
    tags = {"topic": Topic("Labels", "Which labels?", figures, "Chen et al.").tag}
    (comparison,) = compare(read_models([replace(model, tags=model.tags | tags) for model in models[:2]]))
    (section,) = [section for section in comparison.sections if section.title == "What others found"]
    assert section.tables[0].title == "Accuracies of others"
    assert [[cell.text for cell in row] for row in section.tables[0].rows] == [
        ["LeNet", "90.00"],
        ["another", "about 92"],
    ]


def test_the_minutes_of_one_of_several_fits_are_not_taken_for_those_of_all(seeded):
    page = (seeded[1] / "index.html").read_text()
    assert "the training of each of 3 final fits about 1.5, of a budget of 5 minutes (tuner: bayesian)." in page


def test_programs_read_the_results_in_a_file(seeded):
    _, folder = seeded
    results = json.loads((folder / "results.json").read_text())
    records = {one["model"]: one for one in results["models"]}
    middle = records["middle"]
    accuracy = middle["metrics"]["test_accuracy"]
    assert accuracy["n"] == 3 and accuracy["low"] < accuracy["mean"] < accuracy["high"] and accuracy["std"] > 0
    assert middle["seeds"] == ["7", "8", "9"] and middle["hyperparameters"] == {"width": "48", "activation": "silu"}
    assert (middle["commit"], middle["cpus"], middle["minutes"]["budget"]) == ("abc123", 2, 5.0)
    assert middle["packages"] == {"keras": "3.15.1", "tensorflow": "2.21.0"} and middle["machine"] == "Ryzen (2 CPUs)"
    assert (
        middle["repeat"].startswith("mlflow run . -e tune")
        and "std" not in records["small"]["metrics"]["test_accuracy"]
    )
    compared = {one["comparison"]: one for one in results["comparisons"]}
    (answer,) = [
        one
        for one in compared["coarse-vs-fine"]["answers"]
        if one.startswith("Yes: fine, trained on the 12 fine labels")
    ]
    assert "(means of 3 seeds). Fine labels lead by " in answer and answer in (folder / "report.md").read_text()
    rows = compared["small-vs-large"]["tables"]["small-vs-large.pairs"]
    written = table(folder, "small-vs-large.pairs")
    assert [row["difference"] for row in rows] == pytest.approx(written["difference"].tolist())
    assert [row["seed_std"] is None for row in rows] == written["seed_std"].isna().tolist()


def test_a_metric_that_is_no_number_is_null_for_programs(models, tmp_path):
    diverged = replace(models[4], metrics=models[4].metrics | {"test_loss": np.nan, "test_macro_f1": np.inf})
    build([diverged], tmp_path)
    (record,) = json.loads((tmp_path / "results.json").read_text())["models"]
    assert record["metrics"]["test_loss"] == record["metrics"]["test_macro_f1"] == {"mean": None, "n": 1}
    assert record["metrics"]["test_accuracy"]["mean"] == pytest.approx(models[4].metrics["test_accuracy"])


def test_coarse_and_fine_labels_are_compared_at_each_share_of_the_training_images(models, tmp_path):
    def of_share(model, share):
        ending = f"-share-{share:g}" if share < 1 else ""
        tags = model.tags | {"comparison": f"coarse-vs-fine{ending}", "experiment": f"{model.name}{ending}"}
        figures = {"images": ["20%", "50%", "100%"], "coarse": [60.0, "unknown", 80.0], "fine": [70.0, 75.0, 81.0]}
        tags["topic"] = Topic("Labels", "Do fine labels help?", figures if share == 1 else {}, "Chen et al.").tag
        params = {"train_share": f"{share}", "all_epochs": "3", "all_steps": "70", "warmup_epochs": "0.5"}
        return replace(model, name=f"{model.name}{ending}", tags=tags, params=model.params | params)

    some = [of_share(model, share) for share in (0.2, 1) for model in models[:2]]
    page = " ".join(build(some, tmp_path / "shares").read_text().split())
    tables = {path.name for path in (tmp_path / "shares/tables").glob("*shares.csv")}
    assert tables == {"coarse-vs-fine.shares.csv"}  # the comparison with the largest share has them all
    assert len(list((tmp_path / "shares/tables").glob("*.generalised.csv"))) == 2
    assert [path.name for path in (tmp_path / "shares/tables").glob("*.recall.csv")] == ["coarse-vs-fine.recall.csv"]
    assert re.search(
        r"With 20% of the training images, fine labels lead by [\d.]+ points \(95% interval [^)]*, p [^)]*\); with 100%, fine",
        page,
    )
    rows, ours = (
        table(tmp_path / "shares", "coarse-vs-fine.shares"),
        table(tmp_path / "shares", "coarse-vs-fine.generalised"),
    )
    assert rows["share"].tolist() == [0.2, 1.0]
    assert rows["coarse_steps"].tolist() == [210, 210]  # of the stage; a hyperparameter of the experiment is none
    assert rows["coarse"].tolist() == [ours["accuracy"][0]] * 2 and rows["fine"].tolist() == [ours["accuracy"][2]] * 2
    np.testing.assert_allclose(rows["difference"], rows["fine"] - rows["coarse"])
    assert ((rows["low"] < rows["difference"]) & (rows["difference"] < rows["high"])).all()
    (whole,) = compare(read_models(some[2:]))
    assert not [section for section in whole.sections if "fewer" in section.title]
    assert whole.context.name == "coarse-vs-fine" and whole.picture.figure.get_suptitle().startswith("Labels, ")


def test_a_topic_that_cannot_be_shown_is_refused_and_an_unreadable_one_is_none():
    with pytest.raises(UserError, match="columns of one length"):
        Topic("t", "q", {"a": [1], "b": [1, 2]}, "them")
    with pytest.raises(UserError, match="who published them"):
        Topic("t", "q", {"a": [1]})
    with pytest.raises(UserError, match=r"published of the topic has \[75\] below 'a'; accepted: texts and numbers"):
        Topic("t", "q", {"a": [[75]]}, "them")
    for fields in ({"title": 7}, {"question": None}, {"published": {"a": [1]}, "source": ["them"]}):
        name, value = list(fields.items())[-1]
        with pytest.raises(UserError, match=rf"^{name} of the topic is {re.escape(repr(value))}; accepted: text$"):
            Topic(**fields)
    figures = {"a": np.array([75, 80]), "b": [np.float32(0.5), None], "c": ["20%", 70.5]}
    assert from_tag(Topic("t", "q", figures, "them").tag).published == {
        "a": [75, 80],
        "b": [0.5, None],
        "c": ["20%", 70.5],
    }
    assert from_tag("") == from_tag("[1]") == from_tag('{"titel": "x"}') == Topic()


def test_values_of_marks_are_shown_under_the_pointer_and_the_trials_validation_is_drawn(models, tmp_path):
    one = copied(models[4], tmp_path / "one")
    trials = pd.read_csv(one.root / "search/trials.csv")
    trials.assign(curve="0.5:0.41 1:0.75").to_csv(one.root / "search/trials.csv", index=False)
    page = build([one, models[5]], tmp_path / "out").read_text()
    assert "<title>small: validation 75.0% after 1.0 minutes</title>" in page
    assert re.search(r"<title>small: [\d.]+%, 95% interval [\d.]+% to [\d.]+%</title>", page)
    assert "curve" not in table(tmp_path / "out", "small.trials")


def test_a_figure_has_the_same_texts_on_the_page_as_in_its_file(report):
    page = (report / "index.html").read_text()
    texts = re.findall("[^<>]+</text>", (report / "figures/fine.search.svg").read_text())
    assert "0.412</text>" in texts and all(f">{text}" in page for text in texts)


def test_the_boxes_of_a_network_are_dark_where_the_page_is(report):
    page = (report / "index.html").read_text()
    (drawing,) = re.findall(r'<svg[^>]* aria-label="The network of fine, .*?</svg>', page, flags=re.DOTALL)
    colours = set(re.findall(r"fill: var\(--(\w+)\)", drawing))
    assert colours >= {"ink", "box", "sand", "sky", "lilac"} and "fill: #" not in drawing
    light, dark = page.split("prefers-color-scheme: dark", 1)
    assert all(light.count(f"--{name}: #") == 1 <= dark.count(f"--{name}: #") for name in colours)
