"""The report is judged by its files: the numbers in its tables, the sentences on its pages, what a browser would load."""

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlproject import evaluation, plots
from mlproject.errors import UserError
from mlproject.report import build

SUPERCLASSES = ("birds", "cars", "fish", "trees")
FINE = tuple(f"{superclass}-{letter}" for superclass in SUPERCLASSES for letter in "abc")
SUPERCLASS_OF = np.repeat(np.arange(4), 3)
LABELS = np.tile(np.arange(12), 100)
FLAT = ("coat", "bag", "shirt")
FLAT_LABELS = np.tile(np.arange(3), 400)


@dataclass(frozen=True)
class Model:
    """What the report asks of a registered model, with its artifacts in a folder."""

    name: str
    version: int
    alias: str
    run_id: str
    tags: dict
    params: dict
    metrics: dict
    root: Path

    def artifact(self, path):
        return self.root / path if (self.root / path).exists() else None


def guesses(labels, classes, sure, planted=None):
    """Probabilities of a classifier that prefers the truth by `sure`; `planted` maps a class to what half of it looks like."""
    rng = np.random.default_rng(classes + int(100 * sure))
    logits = rng.gumbel(size=(len(labels), classes))
    seen = labels.copy()
    for one, other in (planted or {}).items():
        seen[np.flatnonzero(labels == one)[::2]] = other
    logits[np.arange(len(labels)), seen] += sure
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float16)


def register(root, name, tags, labels, probabilities, names, superclasses=None):
    """Write a final run's artifacts by the project's own functions and give its record."""
    root = root / re.sub(r"\W", "", name)
    for folder in ("evaluation", "plots", "search", "explain"):
        (root / folder).mkdir(parents=True)
    np.savez_compressed(root / "evaluation/predictions.npz", labels=labels, probabilities=probabilities)
    table = evaluation.per_class(labels, probabilities.argmax(axis=1), names, superclasses)
    table.to_csv(root / "evaluation/per_class.csv", index=False)
    history = pd.DataFrame({"epoch": [0, 1], "loss": [2.0, 1.0], "accuracy": [0.3, 0.6]})
    plots.learning_curves(history).savefig(root / "plots/learning_curves.png", dpi=25)
    for plot in ("per_class", "confusion", "examples"):  # to the report an image is an image
        shutil.copy(root / "plots/learning_curves.png", root / f"plots/{plot}.png")
    trials = {"trial": ["trial-01", "trial-02", "trial-03"], "status": ["completed", "failed", "completed"]}
    trials |= {"val_accuracy": [0.5, None, 0.75], "seconds": [60.0, 1.0, 61.0], "reason": ["", "loss is nan", ""]}
    pd.DataFrame(trials | {"width": [32, 64, 48]}).to_csv(root / "search/trials.csv", index=False)
    layers = pd.DataFrame({"layer": ["input", "dense"], "depends_on_classes": [False, True]})
    layers.to_csv(root / "explain/layers.csv", index=False)
    metrics = {"val_accuracy": 0.75, "search_seconds": 122.0, "train_seconds": 90.0, "parameters": 1234.0}
    tags = {"data": "real", "dataset.digest": "d-" + tags["test.digest"], "git.commit": "abc123", "seed": "7"} | tags
    metrics |= evaluation.summary(labels, probabilities)
    return Model(name, 3, "champion", f"run-of-{name}", {"experiment": name, **tags}, {}, metrics, root)


def coarse_and_fine(root, suffix="", **tags):
    """A coarse and a fine model; birds-a looks like its sibling, fish-a like a tree."""
    tags = {"comparison": "coarse-vs-fine", "dataset": "tiny", "test.digest": "t1", **tags}
    coarse = guesses(SUPERCLASS_OF[LABELS], 4, 2.0)
    fine = guesses(LABELS, 12, 5.0, planted={0: 1, 6: 9})
    of = [SUPERCLASSES[index] for index in SUPERCLASS_OF]
    return [
        register(root, f"coarse{suffix}", tags | {"labels": "coarse"}, SUPERCLASS_OF[LABELS], coarse, SUPERCLASSES),
        register(root, f"fine{suffix}", tags | {"labels": "fine"}, LABELS, fine, FINE, of),
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two comparisons on real data, and the first of them once more on synthetic data."""
    root = tmp_path_factory.mktemp("runs")
    flat = {"comparison": "small-vs-large", "dataset": "flat-set", "labels": "flat", "test.digest": "t2"}
    return [
        *coarse_and_fine(root),
        *coarse_and_fine(root, suffix="-synthetic", data="synthetic"),
        *(
            register(root, name, flat, FLAT_LABELS, guesses(FLAT_LABELS, 3, sure), FLAT)
            for name, sure in (("small", 1.0), ("middle", 3.0), ("large", 3.01))
        ),
    ]


@pytest.fixture(scope="module")
def report(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    assert build(models, folder) == folder / "index.html"
    return folder


def stored(models, name):
    """A model's labels and probabilities as its run holds them."""
    with np.load(next(m for m in models if m.name == name).root / "evaluation/predictions.npz") as arrays:
        return arrays["labels"], arrays["probabilities"].astype(float)


def wilson(share, images, z=1.959963984540054):
    """The score interval written out (Wilson, 1927)."""
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    return centre - half, centre + half


def table(report, name):
    return pd.read_csv(report / "tables" / f"{name}.csv")


class Page(HTMLParser):
    """A page taken apart: links, ids, images, headings, and whether all elements are closed in order."""

    EMPTY = {"meta", "link", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.images, self.text = [], set(), [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
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


def test_pairs_are_compared_image_by_image(models, report):
    pairs = table(report, "small-vs-large.pairs")
    assert len(pairs) == 3
    for row in pairs.itertuples():
        (labels, a), (_, b) = stored(models, row.a), stored(models, row.b)
        a, b = a.argmax(axis=1) == labels, b.argmax(axis=1) == labels
        only_a, only_b = (a & ~b).sum(), (b & ~a).sum()
        assert row.difference == pytest.approx(a.mean() - b.mean()) and row.difference >= 0
        assert row.p == pytest.approx(min(1, 2 * stats.binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))
        assert row.low < row.difference < row.high


def test_a_difference_is_claimed_only_when_the_numbers_carry_it(report):
    text = (report / "report.md").read_text()
    assert "middle is more accurate than small on the same 1,200 test images" in text
    assert re.search(r"(middle and large|large and middle) cannot be told apart on these 1,200 test images", text)


def test_a_model_at_chance_is_said_to_be(models, tmp_path):
    tags = {"comparison": "c", "labels": "flat", "test.digest": "t"}
    blind = register(tmp_path, "blind", tags, FLAT_LABELS, guesses(FLAT_LABELS, 3, 0.0), FLAT)
    assert "cannot be told from chance" in build([blind], tmp_path / "out").read_text()


def test_fine_predictions_are_generalised_both_ways(models, report):
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


def test_each_fine_class_stands_beside_its_superclass(models, report):
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
    said = {line[2:].split(":")[0]: line for line in (report / "report.md").read_text().splitlines() if ": F1 " in line}
    assert "Perhaps it is hard to tell from its siblings" in said["birds-a"]
    assert "Perhaps it resembles its siblings no more than other classes" in said["fish-a"]
    assert "above its superclass" in said[rows.index[0]]


def test_the_page_needs_nothing_but_itself(report):
    text = (report / "index.html").read_text()
    page = Page(text)
    assert not page.open and "script" not in page.tags
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "url(" not in text and "@import" not in text
    assert len(page.images) == 7 * 4 + 3 + 2 and all(image["alt"] for image in page.images)


def test_markdown_shows_the_same_and_its_files_exist(report):
    text = (report / "report.md").read_text()
    named = re.findall(r"\]\(([^)]+)\)", text)
    assert {name for name in named if name.startswith("figures/")} == {
        f"figures/{p.name}" for p in report.glob("figures/*")
    }
    assert {name for name in named if name.startswith("tables/")} == {
        f"tables/{p.name}" for p in report.glob("tables/*")
    }
    finding = next(line[2:] for line in text.splitlines() if line.startswith("- middle is more accurate"))
    assert finding.split(" (")[0] in (report / "index.html").read_text()


def test_synthetic_models_are_labelled_and_kept_apart(report):
    page = (report / "index.html").read_text()
    assert "Synthetic data: 2 of 7 models" in page
    assert "coarse-vs-fine (synthetic data)</h2>" in page and "version 3 (synthetic data)</h3>" in page
    assert set(table(report, "coarse-vs-fine-synthetic.accuracy")["model"]) == {"coarse-synthetic", "fine-synthetic"}
    titles = re.findall(r"<(?:h[234]|figcaption|summary)>([^<]*coarse-synthetic[^<]*)<", page)
    assert titles and all("(synthetic data)" in title for title in titles)


def test_no_banner_without_synthetic_models(models, tmp_path):
    assert "ynthetic" not in build(models[:2], tmp_path).read_text()


def test_searches_and_provenance_are_told(report):
    page = (report / "index.html").read_text()
    assert "The search completed 2 of 3 trials; 1 failed. The best, trial-03, reached 75.00% on validation" in page
    assert table(report, "fine.winner").values.tolist() == [["width", 48]]
    rows = pd.read_csv(report / "tables/provenance.csv", dtype=str).set_index("run")
    assert rows.loc["run-of-fine", "repeat it"] == "mlflow run . -e tune -P experiment=fine -P seed=7"
    assert "-P data=synthetic" in rows.loc["run-of-fine-synthetic", "repeat it"]
    assert rows.loc["run-of-fine", "test images' digest"] == "t1" and rows.loc["run-of-fine", "commit"] == "abc123"


def test_a_missing_member_is_said_and_the_rest_made(models, tmp_path):
    page = build([models[1], *models[4:]], tmp_path).read_text()
    assert "No member with coarse labels was found: fine cannot be set against one" in page
    assert "fine is the only member found" in page and "middle is more accurate than small" in page


def test_missing_and_broken_artifacts_are_said_and_the_rest_made(models, tmp_path):
    broken = replace(models[1], root=tmp_path / "broken")
    shutil.copytree(models[1].root, broken.root)
    (broken.root / "evaluation/predictions.npz").write_bytes(b"PK\x03\x04 cut short")
    (broken.root / "plots/confusion.png").unlink()
    (broken.root / "search/trials.csv").write_text("trial,status\n")
    page = build([models[0], broken], tmp_path / "out").read_text()
    assert "fine: evaluation/predictions.npz cannot be read" in page
    assert "fine: its run has no plots/confusion.png" in page
    assert "fine: search/trials.csv cannot be read: no column val_accuracy, seconds" in page
    assert "predictions or class table of fine missing" in page
    rows = table(tmp_path / "out", "coarse-vs-fine.accuracy").set_index("model")
    assert rows.loc["fine", "accuracy"] == pytest.approx(broken.metrics["test_accuracy"]) and np.isnan(
        rows.loc["fine", "low"]
    )


def test_models_tested_on_other_images_are_not_paired(models, tmp_path):
    elsewhere = replace(models[5], tags=models[5].tags | {"test.digest": "another"})
    page = build([models[4], elsewhere], tmp_path).read_text()
    assert "small and middle were not tested on the same images: no paired comparison" in page
    assert not list(tmp_path.glob("tables/*.pairs.csv"))


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
    assert "script" not in Page(page).tags and "<script>alert" not in page
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


def test_two_versions_of_one_model_are_told_apart(models, tmp_path):
    build([models[4], replace(models[4], version=4), replace(models[4], name="small/V3")], tmp_path)
    assert table(tmp_path, "small-vs-large.accuracy")["model"].tolist() == ["small v3", "small v4", "small/V3"]
    assert len(list(tmp_path.glob("figures/*.confusion.png"))) == 3


def test_without_models_the_user_is_told_what_to_run(tmp_path):
    with pytest.raises(UserError, match="mlflow run . -e tune"):
        build([], tmp_path)


def test_a_folder_that_cannot_be_written_is_named(models, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="report folder .*taken"):
        build(models[:1], tmp_path / "taken")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's chromium is not installed")
def test_nothing_overflows_on_a_phone_and_every_image_loads(report, tmp_path):
    measure = "[document.documentElement.scrollWidth, innerWidth, [...document.images].every(i => i.naturalWidth > 0)]"
    script = f"<script>onload = () => document.body.title = {measure}.join()</script>"
    frame = tmp_path / "page.html"
    frame.write_text((report / "index.html").read_text() + script)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--window-size=390,844"]
    dom = subprocess.run([*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=60).stdout
    needed, width, loaded = re.search(r'<body title="(\d+),(\d+),(\w+)"', dom).groups()
    assert int(width) <= 500 and int(needed) <= int(width) and loaded == "true"
