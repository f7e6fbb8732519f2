"""`mlproject predict` and `mlproject serve`, which ask a registered model about images."""

import os
import sys
from pathlib import Path

import click

from mlproject import arguments, console
from mlproject.commands.shared import examples, open_store, verbose
from mlproject.errors import UserError, truncate


@click.command(
    epilog=examples(
        "mlproject predict fashion-mnist-cnn photo.jpg",
        "mlproject predict fashion-mnist-cnn photos --json       a folder; a line of JSON for each image",
        "mlproject predict fashion-mnist-cnn photo.jpg --show seen   also writes what the model saw",
    )
)
@click.argument("model", metavar="MODEL")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="answer with a line of JSON for each image")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="classes of an answer")
@click.option(
    "--invert",
    type=click.Choice(("auto", "yes", "no")),
    default="auto",
    show_default=True,
    help="exchange black and white",
)
@click.option("--show", type=arguments.FOLDER, help="for what the model saw, as PNG files")
@verbose
def predict(model: str, paths: tuple[str, ...], as_json: bool, top: int, invert: str, show: Path | None) -> int:
    """Ask a registered model about images.

    MODEL is NAME (its champion), NAME@ALIAS or NAME/VERSION. PATH is an image file, a folder, or - for lines of JSON. The
    images are prepared as those of the training were.
    """
    if not any(path == "-" or os.path.exists(path) for path in paths):
        raise UserError(
            f"{truncate(paths[0])} does not exist or cannot be reached; accepted: image files, folders, or - for lines of JSON"
        )
    open_store()
    with console.without_remarks():
        from mlproject import tracking
        from mlproject.classifier import Classifier
        from mlproject.predict import STANDARD_INPUT, Prediction, format_table, read_images
        from mlproject.predict import predict as predict_all

    final = tracking.final_model(model)
    with console.without_remarks():
        loaded_model = tracking.load_model(final)
    if loaded_model.preparation is None:
        print("warning: this version does not say how its images were prepared; they are made square", file=sys.stderr)
    as_json = as_json or STANDARD_INPUT in paths
    unreadable_count, predictions = 0, list[Prediction]()
    for prediction in predict_all(
        Classifier.from_registered(*loaded_model), read_images(paths, sys.stdin), top, invert, show
    ):
        if prediction.error:
            unreadable_count += 1
            print(f"{truncate(prediction.name)} is passed over: {prediction.error}", file=sys.stderr)
        else:
            predictions.append(prediction)
        if as_json:
            print(prediction.as_json(), flush=True)
    if invert == "auto" and any(prediction.inverted for prediction in predictions):
        notice = "inverted: the border is light, and the training images have dark ones; --invert no keeps it"
        print(notice, file=sys.stderr)
    if not as_json:
        sys.stdout.writelines(f"{line}\n" for line in format_table(predictions))
    if show:
        print(f"what the model saw: {show}", file=sys.stderr)
    return 1 if unreadable_count else 0


@click.command(epilog=examples("mlproject serve fashion-mnist-cnn", "mlproject serve photos-cnn/2 --port 5002"))
@click.argument("model", metavar="MODEL")
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen at")
@click.option("--port", type=int, default=5001, show_default=True)
@verbose
def serve(model: str, host: str, port: int) -> int:
    """Answer requests with a registered model, until Ctrl-C.

    MODEL is NAME (its champion), NAME@ALIAS or NAME/VERSION. MLflow's server answers JSON with labels and probabilities.
    """
    from mlproject.serve import examples as ways_to_ask
    from mlproject.serve import require_free, web_address
    from mlproject.serve import serve as serve_model

    require_free(host, port)
    open_store()
    from mlproject import tracking

    final = tracking.final_model(model)
    uri = f"models:/{final.name}/{final.version}"
    tracking.require_labels(uri, model)
    print(f"{uri} will answer at {web_address(host, port)} in about 20 seconds; Ctrl-C ends it\n")
    print("\n".join(ways_to_ask(host, port)) + "\n", flush=True)
    return serve_model(uri, host, port)
