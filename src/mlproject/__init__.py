"""An MLflow-tracked experiment suite for image classifiers in Keras."""

from mlproject import environment

environment.prepare()  # before TensorFlow, Keras and MLflow are imported, because they read these variables then
