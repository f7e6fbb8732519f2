"""The parts of README and of docs/ that come from the `results.json` of the studies in reports/published/.

`make tables` writes them between the comments that call these functions, with cog, and tests/test_docs.py compares them.
"""

import json
from functools import cache
from pathlib import Path

PUBLISHED = Path(__file__).resolve().parent.parent / "reports" / "published"
SHARES = "shares"  # the study with fewer training images, a folder in PUBLISHED
LABELS, NETWORKS = "coarse-vs-fine", "mlp-vs-cnn-vs-vgg16"
SUM = "cifar100-fine-cnn (probabilities summed)"
MOST_PROBABLE = "cifar100-fine-cnn (most probable class)"
DIFFERENCES = [
    (LABELS, "fine labels (probabilities summed) − coarse labels", SUM, "cifar100-coarse-cnn"),
    (LABELS, "fine labels (most probable class) − coarse labels", MOST_PROBABLE, "cifar100-coarse-cnn"),
    (LABELS, "probabilities summed − most probable class", SUM, MOST_PROBABLE),
    (NETWORKS, "small convolutional network − perceptron", "fashion-mnist-cnn", "fashion-mnist-mlp"),
    (NETWORKS, "pretrained VGG16 − perceptron", "fashion-mnist-vgg16", "fashion-mnist-mlp"),
    (NETWORKS, "small convolutional network − pretrained VGG16", "fashion-mnist-cnn", "fashion-mnist-vgg16"),
]


@cache
def results(study=""):
    return json.loads((PUBLISHED / study / "results.json").read_text(encoding="utf-8"))


def comparison(name):
    return next(one for one in results()["comparisons"] if one["comparison"] == name)


def rows(name, study=""):
    """The rows of a table of a comparison: "coarse-vs-fine.accuracy"."""
    return next(one["tables"][name] for one in results(study)["comparisons"] if name in one["tables"])


def differences(*comparisons):
    """A table of the differences in accuracy, of all comparisons or of these."""
    lines = ["| difference in accuracy on the same 10,000 test images | points, 95 % interval | p |", "|---|---|---|"]
    for name, words, one, other in DIFFERENCES:
        if not comparisons or name in comparisons:
            points, low, high, p = _difference(name, one, other)
            lines.append(f"| {words} | {_points(points, low, high)} | {_p(p)} |")
    return "\n".join(lines)


def _difference(name, one, other):
    ending = "generalised-pairs" if name == LABELS else "pairs"
    (row,) = (row for row in rows(f"{name}.{ending}") if {row["a"], row["b"]} == {one, other})
    sign = 100 if row["a"] == one else -100
    return sign * row["difference"], *sorted(sign * row[end] for end in ("low", "high")), row["p_adjusted"]


def accuracies():
    """A table of the accuracies of all experiments, with their intervals."""
    lines = [
        "| experiment | test accuracy, %, with 95 % interval | trials | minutes of the search, of the first final fit |",
        "|---|---|---|---|",
    ]
    for model in results()["models"]:
        accuracy, minutes = model["metrics"]["test_accuracy"], model["minutes"]
        lines.append(
            f"| `{model['model']}` | {_with_interval(accuracy['mean'], accuracy)} | {model['trials']} | "
            f"{minutes['search']:.2f}, {minutes['training']:.2f} |"
        )
        if model["model"] == "cifar100-fine-cnn":
            ways = {row["model"]: row for row in rows(f"{LABELS}.generalised")}
            lines += [
                f"| the same on the superclasses, {words} | {_with_interval(ways[way]['accuracy'], ways[way])} | | |"
                for words, way in (("most probable class", MOST_PROBABLE), ("probabilities summed", SUM))
            ]
    return "\n".join(lines)


def answers(name):
    """What the report answers to the question of a comparison, as a list."""
    return "\n".join(f"- {answer}" for answer in comparison(name)["answers"])


def figure(name, content, folder):
    """A figure of a comparison, for a page from which the reports are in `folder`."""
    rows_shown = {"generalised": (MOST_PROBABLE, SUM, "cifar100-coarse-cnn")}.get(content)
    shown = [row for row in rows(f"{name}.{content}") if rows_shown is None or row["model"] in rows_shown]
    text = ", ".join(f"{row['model']} {100 * row['accuracy']:.1f} %" for row in shown)
    return f"![Test accuracy: {text}]({folder}/published/figures/{name}.{content}.svg)"


def measured():
    """How all of it was measured, in a sentence."""
    budgets = {one["comparison"]: f"{one['minutes']['budget']:.0f} minutes" for one in results()["models"]}
    minutes = " and ".join(f"{budgets[name]} in `{name}`" for name in (LABELS, NETWORKS))
    return f"{_conditions()}. The budget of each network was {minutes}, for its search and all final fits."


def _conditions(study=""):
    """What all models of a study share: the number of seeds, the machine and the commit."""
    same = {(one["commit"], one["machine"], len(one["seeds"])) for one in results(study)["models"]}
    assert len(same) == 1, f"the models of a published study differ in commit, machine or seeds: {same}"
    ((commit, machine, seeds),) = same
    return f"{seeds} seeds on {machine}, commit {commit[:7]}"


def shares():
    """A table of the accuracies on the superclasses with growing shares of the training images."""
    lines = [
        "| training images | steps of a final fit | coarse labels, % | fine labels, % | fine − coarse, points | p |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(f"{LABELS}.shares", SHARES):
        coarse, fine = (_with_interval(row[one], _ends(row, one)) for one in ("coarse", "fine"))
        difference = _points(*(100 * row[one] for one in ("difference", "low", "high")))
        assert row["coarse_steps"] == row["fine_steps"], f"not a fair pair: {row}"
        lines.append(
            f"| {row['share']:.0%} | {row['coarse_steps']:.0f} | {coarse} | {fine} | {difference} | {_p(row['p_adjusted'])} |"
        )
    return "\n".join(lines)


def figure_of_shares(folder):
    """The figure of the accuracies on the superclasses against the share of the training images."""
    text = "; ".join(
        f"{row['share']:.0%}: coarse labels {100 * row['coarse']:.1f} %, fine labels {100 * row['fine']:.1f} %"
        for row in rows(f"{LABELS}.shares", SHARES)
    )
    file = f"{folder}/published/{SHARES}/figures/{LABELS}.shares.svg"
    return f"![Accuracy on the superclasses by share of the training images, {text}]({file})"


def measured_shares():
    """How the study with fewer training images was measured, in a sentence."""
    (budget,) = {one["minutes"]["budget"] for one in results(SHARES)["models"]}
    fits = sorted(one["minutes"]["training"] for one in results(SHARES)["models"])
    trained = f"a final fit trained for {fits[0]:.2f} to {fits[-1]:.2f} minutes"
    return f"{_conditions(SHARES)}. The budget of each network was {budget:.0f} minutes; {trained}."


def _ends(row, name):
    return {end: row[f"{name}_{end}"] for end in ("low", "high")}


def _with_interval(accuracy, ends):
    return f"{100 * accuracy:.1f} [{100 * ends['low']:.1f}, {100 * ends['high']:.1f}]"


def _points(points, low, high):
    return f"{points:z.1f} [{low:z.1f}, {high:z.1f}]".replace("-", "−")


def _p(p):
    return "< .0001" if p < 0.0001 else f"{p:.4f}".lstrip("0")
