"""Everything that is recorded: the store, its runs and the model registry. Only this package imports mlflow.

The modules in reading order:

* `runs` begins, resumes and ends runs.
* `queries` finds runs, and `abandoned` ends those whose process was killed.
* `concurrent_runs` begins and ends runs that are under way at the same time.
* `commit` reads the git commit.
* `log` logs into the active run, and keeps what a worker logs for the process that has the store.
* `registry` registers models and chooses the champion.
* `classifier_flavor` writes a model that answers with labels, and `pyfunc` is what loads it.
* `selection` finds registered versions, and `models` reads them, for reports and exports.
* `housekeeping` finds what may be deleted.
* `experiment_page` says what MLflow's UI shows of an experiment, and `links` makes addresses of its pages.
* `interference` refuses or turns off what experiment files do to MLflow by themselves.
* `refused` deletes the runs of `mlflow run` for commands with bad input.
* `permissions` tests what this user may log and register.
* `store` opens the store and writes to it through the outbox.
* `database` makes and checks the file of an SQLite store.
* `outbox` keeps what the store cannot take at the moment, and `races` repeats what another process did first.
"""

from mlproject.tracking.abandoned import end_own_runs, reconcile_trials
from mlproject.tracking.classifier_flavor import require_labels, save_model
from mlproject.tracking.commit import git_commit
from mlproject.tracking.concurrent_runs import close_run, open_run
from mlproject.tracking.experiment_page import describe_search
from mlproject.tracking.interference import disable_autologging, require_no_active_run
from mlproject.tracking.links import experiments_page, links_of, run_page
from mlproject.tracking.log import (
    log_arrays,
    log_dataset,
    log_figure,
    log_folder,
    log_json,
    log_metrics,
    log_params,
    log_table,
    log_values,
    record,
    replay,
    set_description,
    set_tags,
)
from mlproject.tracking.models import FinalModel, LoggedRun, final_model, final_models, load_model, require_artifacts
from mlproject.tracking.queries import find_run
from mlproject.tracking.refused import mark_refused
from mlproject.tracking.registry import (
    CHAMPION,
    TRIAL_PREFIX,
    alias_of,
    describe,
    logged_model_id,
    promote,
    register,
    set_version_tags,
    version_of,
)
from mlproject.tracking.runs import (
    ProjectRun,
    check_permissions,
    connect,
    failure_callback,
    run,
    use_comparison,
)
from mlproject.tracking.store import address, is_server

__all__ = [
    "CHAMPION",
    "FinalModel",
    "LoggedRun",
    "ProjectRun",
    "TRIAL_PREFIX",
    "address",
    "alias_of",
    "check_permissions",
    "close_run",
    "connect",
    "describe",
    "describe_search",
    "disable_autologging",
    "end_own_runs",
    "experiments_page",
    "failure_callback",
    "final_model",
    "final_models",
    "find_run",
    "git_commit",
    "is_server",
    "links_of",
    "load_model",
    "log_arrays",
    "log_dataset",
    "log_figure",
    "log_folder",
    "log_json",
    "log_metrics",
    "log_params",
    "log_table",
    "log_values",
    "logged_model_id",
    "mark_refused",
    "open_run",
    "promote",
    "reconcile_trials",
    "record",
    "register",
    "replay",
    "require_artifacts",
    "require_labels",
    "require_no_active_run",
    "run",
    "run_page",
    "save_model",
    "set_description",
    "set_tags",
    "set_version_tags",
    "use_comparison",
    "version_of",
]
