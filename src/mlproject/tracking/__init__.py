"""Everything that is recorded: the store, its runs and the model registry. Only this package imports mlflow.

The modules in reading order:

* `runs` begins, resumes and ends runs.
* `log` logs into the active run.
* `registry` registers models and chooses the champion.
* `models` reads registered models, for reports and exports.
* `store` opens the store and writes to it through the outbox.
* `outbox` keeps what the store cannot take at the moment.
"""

from mlproject.tracking.log import (
    log_arrays,
    log_dataset,
    log_figure,
    log_folder,
    log_json,
    log_metrics,
    log_params,
    log_table,
    set_description,
    set_tags,
)
from mlproject.tracking.models import FinalModel, final_models, load_model
from mlproject.tracking.registry import CHAMPION, alias_of, promote, register, version_of
from mlproject.tracking.runs import (
    ProjectRun,
    connect,
    end_own_runs,
    failure_callback,
    find_run,
    git_commit,
    reconcile_trials,
    run,
    use_comparison,
)
from mlproject.tracking.store import address

__all__ = [
    "CHAMPION",
    "FinalModel",
    "ProjectRun",
    "address",
    "alias_of",
    "connect",
    "end_own_runs",
    "failure_callback",
    "final_models",
    "find_run",
    "git_commit",
    "load_model",
    "log_arrays",
    "log_dataset",
    "log_figure",
    "log_folder",
    "log_json",
    "log_metrics",
    "log_params",
    "log_table",
    "promote",
    "reconcile_trials",
    "register",
    "run",
    "set_description",
    "set_tags",
    "use_comparison",
    "version_of",
]
