"""Training: one fit of one network, from its batches to its checkpoints.

* `fit` has the training step, stage by stage. `network` is what it trains, and `optimizers` what it trains with.
* `batches` makes batches of a fit's images (`fit_data`), with augmentation.
* `throughput` measures the speed, and `schedule` plans epochs and steps from it.
* `monitor` acts after each batch and epoch, and `watchdog` ends a fit that hangs.
* `checkpoint` and `kept_fits` keep what an interrupted fit or cross-validation continues from, in files of `state_file`.
* `features` computes the activations of frozen layers once, and `prediction` predicts images.
* `retraining` fits one network several times from the same weights, once for each fold.
* `device` decides what depends on CPU or GPU, and `winograd` computes convolutions of small maps with fewer multiplications.
"""
