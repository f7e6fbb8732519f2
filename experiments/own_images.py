# %% [markdown]
# # Which model should I use for my images, how good is it, and how sure is that?
#
# These experiments have no data set of their own. They are for your images, which the option `images` names: a folder
# with a folder for each class, for instance. `mlflow run . -e tune --env-manager local -P images=PATH` runs all of them
# and compares them in the report:
#
# 1. `cnn`: a small convolutional network that starts with random weights and learns from your images alone.
# 2. `features`: a network that was trained on the photographs of ImageNet is *frozen*, that is, its weights do not
#    change. Its activations serve as features, and only a new *head* (the layers on top) learns.
# 3. `fine-tuned`: the same, and then the last part of the network learns, too, in small steps.
# 4. `cnn-coarse`: the network of `cnn`, trained on superclasses alone. It runs only if your classes form superclasses
#    (folders `SUPERCLASS/CLASS/image`). The report then answers whether the finer labels help.
#
# Other networks of keras.applications can take the place of EfficientNetV2B0: `-P base=MobileNetV3Large`, or any other
# name. EfficientNetV2B0 was chosen because it is the most accurate one on ImageNet (.787; keras.io/api/applications) of
# the networks that a laptop's CPU runs at a hundred images a second or more. Networks that are more accurate on
# ImageNet are also better for other images (Kornblith et al., arXiv 1805.08974). `python bench/pretrained.py` measures
# the speeds.

# %%
from dataclasses import replace

# mlproject comes before Keras, because it sets environment variables that TensorFlow reads when it is imported.
from mlproject.experiment import Experiment
from mlproject.layers import (
    batch_norm,
    max_and_mean,
    pretrained_features,
    probabilities,
    raw_images,
    residual_groups,
    standardised,
    whitened,
)
from mlproject.program import main
from mlproject.recipe import Recipe, Stage

import keras
from keras import layers

BASE = "EfficientNetV2B0"
SMALL_ENOUGH = 64  # pixels a side: the small network averages larger images, but to no less than this

# %% [markdown]
# ## Without pretraining
#
# The network is the one of `cifar100_cnn.py`, where every layer is explained. Images of 128 pixels or more are first
# averaged over squares of pixels, to at least 64 pixels a side. Otherwise the network would take four or more times as
# long for each image. Without pretraining, many passes over a few thousand images matter more than details.
# `class_weights` (*none*, or *balanced*: each class counts equally, however few images it has) is for classes of
# different sizes. *Balanced* costs accuracy where frequent classes are more frequent in the test images, too, and pays
# off with `-P objective=val_balanced_accuracy` or `val_macro_f1`.


# %%
def build_cnn(hp, spec):
    """The small network: from uint8 images (n, *spec.shape) to class probabilities (n, spec.classes)."""
    width = hp.Int("width", 16, 48, step=16)
    images = raw_images(spec)
    x = standardised(images, spec)
    if (factor := spec.shape[0] // SMALL_ENOUGH) > 1:
        x = layers.AveragePooling2D(factor, name="shrink")(x)
    x = layers.Activation("silu", name="whiten_silu")(whitened(x, spec))
    x = residual_groups(x, width, "silu")
    return keras.Model(images, probabilities(max_and_mean(x, "head"), spec, scaled=True), name="cnn")


def cnn_recipe(hp):
    """Muon on mirrored and shifted images; the first half of the steps uses smaller ones."""
    return Recipe(
        stages=(Stage("training", hp.Float("learning_rate", 0.02, 0.4, sampling="log"), max_epochs=100),),
        batch_size=hp.Choice("batch_size", [32, 64, 128, 256]),
        optimizer="muon",
        weight_decay=hp.Float("weight_decay", 5e-4, 2e-2, sampling="log"),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.3, step=0.1),
        class_weights=hp.Choice("class_weights", ["none", "balanced"]),
        warmup=0.25,
        flip=True,
        random_translation=2,
        progressive_resizing=((0.5, 0.75),),
    )


# %% [markdown]
# ## With a pretrained network
#
# `pretrained_features` is the network without its last layer, which distinguishes the thousand classes of ImageNet. It
# scales the pixels as the network was trained. `features` holds the mean and the maximum of each of its channels.
# `features_norm` brings each to mean 0 and standard deviation 1, so that all can contribute equally; `dropout` sets a
# random share of them to 0 during training, because there are more features than most classes have images.
#
# The activations of the frozen part are computed once and kept, so a trial of the head takes seconds. Fine-tuning trains
# the *last stage* of the network, that is, the layers after the first one with twice the final resolution, again on
# kept activations. With an hour or more of budget, all layers learn (`tuned="all"`), on images that are also mirrored
# and shifted: each image then takes several times as long.


# %%
def build_pretrained(hp, spec):
    """The network `spec.pretrained` with a new head: from uint8 images (n, *spec.shape) to class probabilities."""
    images = raw_images(spec)
    x = max_and_mean(pretrained_features(images, spec), "features")
    x = batch_norm(x, "features_norm")
    x = layers.Dropout(hp.Float("dropout", 0.0, 0.7, step=0.1), name="dropout")(x)
    return keras.Model(images, probabilities(x, spec), name="pretrained")


def features_recipe(hp):
    """AdamW on the head alone."""
    return Recipe(stages=(head_stage(hp, share=1.0),), **training(hp))


def fine_tuned_recipe(hp):
    """The head alone first, so that its first large corrections do not spoil the network; then the last stage, or all."""
    frozen = {"last stage": "last_stage", "all": None}[hp.Choice("tuned", ["last stage", "all"])]
    rate = hp.Float("fine_rate", 1e-5, 1e-3, sampling="log")
    fine_tuning = Stage("fine-tuning", rate, frozen_through=frozen, share=0.8, max_epochs=30)
    return Recipe(stages=(head_stage(hp, share=0.2), fine_tuning), flip=True, random_translation=4, **training(hp))


def head_stage(hp, share):
    """The stage that trains the head on kept activations."""
    rate = hp.Float("head_rate", 3e-4, 1e-2, sampling="log")
    return Stage("feature-extraction", rate, frozen_through="features", share=share, max_epochs=40)


def training(hp):
    """What both recipes have in common."""
    return {
        "batch_size": hp.Choice("batch_size", [32, 64, 128]),
        "optimizer": "adamw",
        "weight_decay": hp.Float("weight_decay", 1e-4, 1e-1, sampling="log"),
        "label_smoothing": hp.Float("label_smoothing", 0.0, 0.2, step=0.1),
        "class_weights": hp.Choice("class_weights", ["none", "balanced"]),
    }


# %% [markdown]
# ## The experiments
#
# Nobody knows the best values for your images. Every search begins with these moderate ones; `-P values=` replaces
# them.

# %%
CNN = Experiment(
    name="cnn",
    question="How good is a small network that learns from these images alone?",
    comparison="own-images",
    dataset=None,
    labels="fine",
    build=build_cnn,
    recipe=cnn_recipe,
    best={
        "width": 32,
        "learning_rate": 0.1,
        "weight_decay": 4e-3,
        "label_smoothing": 0.1,
        "batch_size": 64,
        "class_weights": "none",
    },
)
COARSE = replace(
    CNN,
    name="cnn-coarse",
    labels="coarse",
    question="How well does the small network predict the superclasses when it is trained on their labels alone?",
)
FEATURES = replace(
    CNN,
    name="features",
    question="How much do features help that were learnt from the photographs of ImageNet?",
    build=build_pretrained,
    recipe=features_recipe,
    best={
        "dropout": 0.3,
        "head_rate": 3e-3,
        "batch_size": 64,
        "weight_decay": 1e-2,
        "label_smoothing": 0.1,
        "class_weights": "none",
    },
    pretrained=BASE,
)
FINE_TUNED = replace(
    FEATURES,
    name="fine-tuned",
    question="Does the pretrained network become better when it learns from these images, too?",
    recipe=fine_tuned_recipe,
    best={**FEATURES.best, "tuned": "last stage", "fine_rate": 1e-4},
    best_in_an_hour={"tuned": "all"},
    fixed=("tuned",),
)
EXPERIMENTS = [CNN, COARSE, FEATURES, FINE_TUNED]

if __name__ == "__main__":
    main(EXPERIMENTS)
