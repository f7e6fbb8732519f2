"""The final model: refitted, evaluated on the test images, registered.

* `seeds` makes a final fit for each seed, and registers the model of the first one. `parallel` lets workers train them.
* `refit` is one final fit, and `cross_validation` trains the winner once for each fold.
* `artifacts` makes what is logged of the predictions: tables, plots, and the tags of the registered version.
* `environment` describes the machine, `registered` a registered model in a line, and `card` a registered model in MLflow's UI.
"""
