# %% [markdown]
# # Do fine labels teach a network more than coarse ones?
#
# CIFAR-100 has 50,000 training and 10,000 test images, 32x32, in colour, each with two labels: one of 100 fine classes
# (maple, oak, ...) and one of 20 superclasses of five fine classes each (trees, ...). Two experiments put the same
# network to both: `cifar100-coarse-cnn` learns the 20, `cifar100-fine-cnn` the 100, of which each answer is then read
# as its superclass. Build, recipe, search space and best-known values are the same objects for both: a fair pair, the
# comparison `coarse-vs-fine`. A Wide ResNet with all data and its full schedule sees no difference, 85.04 % trained on
# coarse and 85.05 % on fine labels (cmu-enyac/Label-Granularity); ResNet-18 reaches 75.6 % on the fine ones after 200
# epochs (weiaicunzai/pytorch-cifar100). Here there are minutes.

# %%
from dataclasses import replace

import keras

from mlproject.experiment import Experiment
from mlproject.layers import conv_unit, max_and_mean, probabilities, raw_images, residual_pair, standardised
from mlproject.training import Recipe, Stage

# %% [markdown]
# ## The network
#
# - `standardise` (image 32, 3 channels): Each colour to mean 0 and deviation 1, inside the model: it takes images as
#   stored.
# - `down1` (image 32 to 16, w channels): Edges and colour contrasts, then the strongest of four neighbours. Pooling at
#   once: at 32 pixels batch norm and activation cost more than the convolution.
# - `pair1` (image 16, w channels): Two convolutions beside a shortcut: textures.
# - `down2`, `pair2` (image 16 to 8, 3w channels): Parts.
# - `down3`, `pair3` (image 8 to 4, 8w channels): Whole things. Wide only where the image is small (cf.
#   AIDDA-Institute/CIFAR-100-speedrun): a hundred classes want many features.
# - `head` (16w): Each channel's maximum (is it there?) and mean (how much of it?).
# - `probabilities`: The classes.
#
# **Colours** change the kernel of `down1_conv` and the statistics in `standardise`; **classes** change `probabilities`.


# %%
def build(hp, spec):
    """Uint8 images (n, *spec.shape) to probabilities (n, spec.classes)."""
    width = hp.Int("width", 32, 64, step=16)
    activation = hp.Choice("activation", ["relu", "silu"])
    images = raw_images(spec)
    x = standardised(images, spec)
    for index, (times, middle) in enumerate(((1, 1), (3, 2), (8, 4)), start=1):
        x = conv_unit(x, times * width, activation, f"down{index}", pool=True)
        x = residual_pair(x, middle * width, activation, f"pair{index}")
    return keras.Model(images, probabilities(max_and_mean(x, "head"), spec), name="cifar_cnn")


# %% [markdown]
# ## The search space
#
# - `width` (32, 48, 64 channels (oneDNN's convolutions work on 16 at a time)): the cost grows with its square: wider
#   pays only with more minutes
# - `activation` (relu, silu): silu learns more per epoch, relu passes more epochs in the same minutes
# - `learning_rate` (0.05 .. 0.8, log): SGD with momentum .9 behind batch norm: .1 per 128 images is the customary
#   start, short fits bear more
# - `weight_decay` (5e-4 .. 2e-2, log): decoupled; 5e-3 is what L2 of 5e-4 comes to with momentum .9
# - `label_smoothing` (0 .. 0.2): the classes of one superclass overlap
# - `batch_size` (64, 128, 256): few epochs want many steps, two cores want big batches


# %%
def recipe(hp):
    """SGD with Nesterov momentum, mirrored and shifted images."""
    return Recipe(
        stages=(Stage("training", hp.Float("learning_rate", 0.05, 0.8, sampling="log"), max_epochs=60),),
        batch_size=hp.Choice("batch_size", [64, 128, 256]),
        weight_decay=hp.Float("weight_decay", 5e-4, 2e-2, sampling="log"),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.2, step=0.05),
        warmup=0.2,
        flip=True,
        crop=2,
    )


# %% [markdown]
# ## What to expect
#
# The best-known values gave validation accuracy .542 on the fine labels after 3 epochs on 45,000 images (one seed, 375
# CPU-seconds). The coarse labels have not been tried while choosing them.

# %%
COARSE = Experiment(
    name="cifar100-coarse-cnn",
    question="Which of 20 superclasses, taught with nothing but those?",
    comparison="coarse-vs-fine",
    dataset="cifar100",
    labels="coarse",
    build=build,
    recipe=recipe,
    best={
        "width": 32,
        "activation": "silu",
        "learning_rate": 0.25,
        "weight_decay": 5e-3,
        "label_smoothing": 0.1,
        "batch_size": 128,
    },
)
FINE = replace(
    COARSE,
    name="cifar100-fine-cnn",
    labels="fine",
    question="Which of 100 classes, and does knowing them tell the superclass better?",
)
EXPERIMENTS = [COARSE, FINE]
