"""An MLflow-tracked experiment suite for image classifiers in Keras."""

import os

# All this is read when TensorFlow or MLflow is imported, so it has to be said before.
# oneDNN's kernels on all CPUs: by itself TensorFlow takes them only where it finds AVX512_VNNI or the like, though with AVX2
# alone they train the shipped convolutional networks 1.3 to 1.7 times as fast (bench/README.md, oneDNN).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Fewer banners, no bar for every small artifact, no usage statistics sent anywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
