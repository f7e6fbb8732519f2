"""Tables and statistics from true labels and predictions.

Every function here is pure: arrays go in, numbers, arrays or tables come out; nothing is read, written or drawn.
Callers write `evaluation.summary(...)`. The functions are in these files:

- `scores`: accuracy, loss, and precision, recall and F1 by class
- `balanced`: scores in which every class has the same weight, and the loss of each image
- `superclasses`: predictions of fine classes become predictions of superclasses
- `calibration_error`: whether the predicted probabilities are as high as the accuracy
- `cross_validated`: how sure a figure from cross-validation is
- `paired`: two models compared on the same images by their accuracy
- `crossed`: accuracies and differences over the test images and the training seeds
- `power`: how many seeds or test images would settle a difference
- `permutation`: two models compared on the same images by any other score
- `multiple_testing`: p-values adjusted for the number of tests
- `fine_coarse_differences`: the scores of each fine class minus the scores of its superclass
- `feature_space`: the mean feature vector of each class
- `checks`: checks of arguments

The docstrings give shapes by these names: images, classes, superclasses and, for resampling, resamples. Labels and
predictions are class indices from 0. Probabilities may be of any float type; they are widened to float64 and divided by
the sum of their row before use, because a run's artifacts hold them as float16.
"""

from mlproject.evaluation.balanced import (
    balanced_accuracy,
    image_losses,
    macro_f1,
    score_standard_error,
    validation_scores,
)
from mlproject.evaluation.calibration_error import calibration
from mlproject.evaluation.cross_validated import cross_validated_interval, nadeau_bengio_error
from mlproject.evaluation.crossed import CrossedAccuracy, CrossedDifference, crossed_accuracy, crossed_difference
from mlproject.evaluation.feature_space import centroids
from mlproject.evaluation.fine_coarse_differences import class_differences
from mlproject.evaluation.multiple_testing import benjamini_hochberg, holm
from mlproject.evaluation.paired import holm_adjusted_mcnemar, paired_difference
from mlproject.evaluation.permutation import permutation_test
from mlproject.evaluation.power import sample_size_to_settle
from mlproject.evaluation.scores import (
    SCORES,
    accuracy_interval,
    averages,
    confused_pairs,
    in_top_k,
    per_class,
    summary,
)
from mlproject.evaluation.superclasses import aggregate_by_argmax, aggregate_by_sum

__all__ = [
    "CrossedAccuracy",
    "CrossedDifference",
    "SCORES",
    "accuracy_interval",
    "aggregate_by_argmax",
    "aggregate_by_sum",
    "averages",
    "balanced_accuracy",
    "benjamini_hochberg",
    "calibration",
    "centroids",
    "class_differences",
    "confused_pairs",
    "cross_validated_interval",
    "crossed_accuracy",
    "crossed_difference",
    "holm",
    "holm_adjusted_mcnemar",
    "image_losses",
    "in_top_k",
    "macro_f1",
    "nadeau_bengio_error",
    "paired_difference",
    "per_class",
    "permutation_test",
    "sample_size_to_settle",
    "score_standard_error",
    "summary",
    "validation_scores",
]
