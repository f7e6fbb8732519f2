"""An MLflow-tracked experiment suite for image classifiers in Keras."""

import os

# Before TensorFlow and MLflow are imported: fewer banners, no bar for every small artifact, no usage statistics sent anywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
