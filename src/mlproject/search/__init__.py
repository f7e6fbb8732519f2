"""The search: what is tried next, what a trial is, which trial wins, and how an interrupted search continues.

* `fingerprint` says what makes two searches the same, and `journal` keeps what is finished.
* `search` measures the speed, plans the budget, runs the trials and selects the winner.
* `space` has the hyperparameters and their ranges, `oracles` choose what is tried next, and `given_trials` reads a user's trials.
* `tuner` runs one trial after another, each as a nested MLflow run; `parallel` runs them on workers.
* `trial_run` names and tags the MLflow run of a trial.
* `trial_fit` trains one trial, and `fold_metrics` has its metrics with cross-validation.
* `pruning` says which trial is hopeless, and `over_limit` marks those whose network is beyond a limit.
* `selection` says which trial wins, and `result` is what the final fits get.
"""
