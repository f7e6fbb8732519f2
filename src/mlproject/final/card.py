"""The model card: the descriptions of a registered model and of its version, which MLflow's UI shows."""

from mlproject.final.registered import RegisteredModel
from mlproject.task import Task
from mlproject.training.schedule import describe_passes

UNKNOWN_LICENCE = "not declared; whoever owns the images decides"
WEIGHTS_LICENCES = {"VGG16": "CC BY 4.0 (Visual Geometry Group, University of Oxford; converted by Keras)"}

MODEL = """\
Classifies images of {data} into {classes} classes ({labels} labels). It was made by the experiment `{experiment}`.

**Question.** {question}

The alias `champion` is the best version by the rule of this project, `challenger` the latest one that did not beat it. Each
version has a card of its own.

{usage}"""

VERSION = """\
**What it is.** An image classifier, made by the experiment `{experiment}`. {question}

**Data.** {data}, {labels} labels, {classes} classes; trained on {train_images:,} images{passes}, tested
on {test_images:,} others.{synthetic}

**Accuracy.** {accuracy}

**Weak points.** The classes recalled least often on the test images: {weakest}.

**Input and output.** uint8 images of shape (n, {shape}), 0 to 255, not scaled: the model does that itself. It answers a
probability for each class; the names of the classes are in the model's metadata.

{usage}

**Limits.** It knows these {classes} classes alone and gives one of them to any image. On photographs of another kind its accuracy
may be far lower. {minutes}Do not use it for decisions about people.

**Licence.** Images: {licence}.{weights}
"""

USAGE = """\
**Use it.** In Python: `mlflow.keras.load_model("models:/{version}")`. On the command line:
`mlproject predict {version} photo.jpg` for one image, and `mlproject serve {version}` for a web service."""


def describe_model(task: Task) -> str:
    """Describe a registered model, whichever its versions are.

    Args:
        task: the experiment with its data.

    Returns:
        Markdown.
    """
    return _unwrap_paragraphs(MODEL.format(**_facts(task), usage=USAGE.format(version=f"{task.model_name}@champion")))


def describe_version(
    task: Task, registered: RegisteredModel, weakest: str, minutes: float | None, passes: float | None
) -> str:
    """Describe a registered version.

    Args:
        task: the experiment with its data.
        registered: the version with its accuracy.
        weakest: its classes of the lowest recall, in words.
        minutes: the budget of its search and its fit; None if it is not known.
        passes: how many passes over the training images its fit made; None if it is not known.

    Returns:
        Markdown.
    """
    network = task.experiment.pretrained
    weights = WEIGHTS_LICENCES.get(network, f"see keras.io/api/applications for those of {network}")
    synthetic = " **These are generated images: its accuracy says nothing about real ones.**"
    text = VERSION.format(
        **_facts(task),
        train_images=len(task.data.train_labels),
        passes=f" ({describe_passes(passes)} them)" if passes else "",
        test_images=len(task.data.test_labels),
        synthetic=synthetic if task.data.synthetic else "",
        accuracy=_accuracy(registered, task.seed),
        weakest=weakest,
        shape=", ".join(map(str, task.data.train_images.shape[1:])),
        usage=USAGE.format(version=f"{registered.name}/{registered.version}"),
        minutes=f"Search and training had a budget of {minutes:g} min. " if minutes else "",
        weights=f" Pretrained weights: {weights}." if network and task.spec.weights else "",
    )
    return _unwrap_paragraphs(text)


def _unwrap_paragraphs(text: str) -> str:
    """The text with each paragraph in one line: MLflow's UI shows a line break wherever a line ends."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _facts(task: Task) -> dict[str, object]:
    """What both descriptions say."""
    loader = task.experiment.dataset
    return {
        "experiment": task.experiment.name,
        "question": task.experiment.question,
        "data": task.data.name,
        "labels": task.data.labels,
        "classes": len(task.data.class_names),
        "licence": (loader.licence if loader else "") or UNKNOWN_LICENCE,
    }


def _accuracy(registered: RegisteredModel, seed: int) -> str:
    """The mean test accuracy over the seeds with its interval, and what this interval covers."""
    shares = (registered.mean, registered.low, registered.high, registered.test_accuracy)
    mean, low, high, own_accuracy = (f"{100 * share:.2f}" for share in shares)
    accuracy = f"{mean} % of the test images (95 % interval {low} to {high} %)"
    if registered.seeds == 1:
        return f"{accuracy}, seed {seed}. It was fitted with this seed alone. The interval covers the choice of test images."
    return (
        f"{accuracy}, the mean of {registered.seeds} seeds. The interval covers the choice of test images and of seeds. This "
        f"version is the network of seed {seed}, with {own_accuracy} %."
    )
