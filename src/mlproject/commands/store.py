"""`mlproject ui` and `mlproject prune`, which look after the MLflow store."""

import os
import sys

import click

from mlproject import console, location
from mlproject.commands.shared import examples, open_store, verbose
from mlproject.errors import counted

# Leaves out what each of the server's processes says of MLflow's own code when it starts.
NO_WARNING = "ignore:starlette.middleware.wsgi is deprecated:UserWarning"


@click.command(
    epilog=examples("mlproject ui", "mlproject ui --port 5001", "mlproject ui --host 0.0.0.0"),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 gives access from the network")
@click.option("--port", type=int, default=5000, show_default=True)
@verbose
def ui(host: str, port: int) -> None:
    """Show runs and models in MLflow's UI, until Ctrl-C."""
    open_store()
    from mlproject import tracking
    from mlproject.serve import require_free, web_address

    if tracking.is_server(tracking.address()):
        print(f"MLFLOW_TRACKING_URI is a server, which has the UI already: open {tracking.experiments_page()}")
        return
    require_free(host, port)
    address = web_address(host, port)
    print(f"starting, which takes about 20 seconds (Ctrl-C ends it); then open {tracking.experiments_page(address)}")
    models = {
        (model.tags["comparison"], model.tags.get("data")): model
        for model in tracking.final_models()
        if "comparison" in model.tags
    }
    if models:
        print("or, for each comparison, the final models side by side:")
    for (comparison, data), model in models.items():
        links = tracking.links_of(model.name, model.version, model.run_id, address)
        title = f"{comparison}, synthetic data" if data == "synthetic" else comparison
        print(f"  {title}: {links.finals or links.model}")
    sys.stdout.flush()
    command = ["mlflow", "ui", "--backend-store-uri", location.existing_uri(), "--host", host, "--port", str(port)]
    environment = dict(os.environ)
    if not console.is_verbose():  # a line for each request would push the addresses off the screen
        command += ["--uvicorn-opts", "--log-level warning"]
        environment["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), NO_WARNING)))
    os.execve(sys.executable, [sys.executable, "-m", *command], environment)


@click.command(
    epilog=examples("mlproject prune", "mlproject prune --older-than 7 --delete"),
)
@click.option(
    "--older-than", type=click.IntRange(0), default=30, show_default=True, metavar="DAYS", help="how old trials must be"
)
@click.option("--delete", is_flag=True, help="delete what is shown")
@verbose
def prune(older_than: int, delete: bool) -> None:
    """Delete old trials and leftovers.

    Without --delete, the command only shows what it would delete: runs of old trials whose search's model is neither champion
    nor challenger any more, the runs that `mlflow run` made for commands that failed, and folders of artifacts whose run or
    model is not in the store.
    """
    open_store()
    from mlproject.tracking import housekeeping

    prunable = housekeeping.find_prunable(older_than)
    for noun, description, runs in (
        ("trial", f"older than {counted(older_than, 'day')}, of models without an alias", prunable.trials),
        ("project run", "that failed", prunable.project_runs),
    ):
        print(f"{counted(len(runs), noun)} {description}")
        for run in runs:
            print(f"  {run.info.run_id}  {run.info.run_name}")
    megabytes = housekeeping.folder_bytes(prunable.folders) / 1e6
    print(f"{counted(len(prunable.folders), 'folder')} without a run or model, {megabytes:.1f} MB")
    for folder in prunable.folders:
        print(f"  {folder}")
    if delete:
        kept_count = housekeeping.delete(prunable)
        print("deleted; `mlflow gc` removes the deleted runs' files for good, until then they can be restored")
        if kept_count:
            print(f"kept {counted(kept_count, 'run')} that only another user may delete")
    elif prunable.trials or prunable.project_runs or prunable.folders:
        print("nothing has been deleted; add --delete to delete it")
