# %% [markdown]
# # How accurate does a small convolutional network become in minutes when trained from scratch?
#
# A *convolution* slides one small template over the whole image. This builds two facts into the network that a
# perceptron does not know: pixels have neighbours, and a collar is a collar wherever it is. How much are these two
# facts worth?
#
# In the comparison `mlp-vs-cnn-vs-vgg16`, this network stands between the perceptron (`fashion_mnist_mlp.py`) and the
# pretrained VGG16 (`fashion_mnist_vgg16.py`). The data set's own table lists small convolutional networks with
# accuracies from .876 to .947, and a ResNet-18 with .949 (github.com/zalandoresearch/fashion-mnist).
#
# This file is used in three ways. The tuner imports it to get `build`, `recipe` and `EXPERIMENTS`. Jupytext converts
# it to a notebook. The command `python experiments/fashion_mnist_cnn.py` runs it as a program. The code under
# `if __name__ == "__main__":` runs only in the notebook and in the program.

# %%
# mlproject comes before Keras, because it sets environment variables that TensorFlow reads when it is imported.
from mlproject import plots, program
from mlproject.datasets import FashionMNIST
from mlproject.experiment import Experiment
from mlproject.layers import max_and_mean, probabilities, raw_images, residual_groups, standardised, whitened
from mlproject.recipe import Recipe, Stage
from mlproject.topic import Topic

import keras
import pandas as pd
from keras import layers

# %% [markdown]
# ## The data
#
# Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv 1708.07747) contains grey pictures of ten kinds of clothes from a
# shop's catalogue, equally many of each kind. The network learns from the training images. The test images are used
# only once, at the end, so that the score says how well the network classifies clothes it has never seen.

# %%
if __name__ == "__main__":
    run = program.ExperimentScript(minutes=8)
    data = run.load(FashionMNIST(), "flat")
    run.show(plots.samples(data.train_images, data.train_labels, data.class_names, title="Fashion-MNIST"), "data")
    run.show(program.facts(data), "facts")

# %% [markdown]
# ## The network, layer by layer
#
# Below, shapes are written as height × width × channels. A *channel* is the grid of numbers that one template gives,
# one for each position in the image; a number is large where the image matches the template. `w` stands for the
# hyperparameter `width`. The structure is taken from NAVIER-STOKED, the fastest network we know of for CIFAR-100
# (github.com/AIDDA-Institute/CIFAR-100-speedrun). Here all widths are multiples of a single number, `w`.
#
# 1. `images` takes the 28 × 28 × 1 bytes as they are stored.
# 2. `standardise` (shape unchanged) shifts and scales the pixels to mean 0 and standard deviation 1, using the
#    statistics of the training images. It is part of the model, so whoever loads the model need not do it separately.
# 3. `whiten` (28 × 28 × 1 to 27 × 27 × 8): neighbouring pixels are nearly alike. This convolution transforms each
#    patch of 2 × 2 pixels into four uncorrelated numbers, all with standard deviation 1 (*whitening*), and adds their
#    negatives. These numbers represent brightness, and edges in three directions. The *kernel* of the convolution,
#    which contains its templates, is computed from the training images and does not change during training (it is
#    *frozen*). Without whitening, the first layers would have to learn this transformation themselves, in steps whose
#    size is dictated by brightness, the number with the largest variance. `whiten_relu`, the activation after it,
#    removes values below 0. Nothing is lost by that, because the negatives keep them.
# 4. `down1` (27 × 27 × 8 to 13 × 13 × w) consists of four layers:
#    - A *convolution* has `w` templates of 3 × 3 pixels, each of which is slid over the image.
#    - *Max-pooling* keeps the largest of four neighbouring values. It matters that there is an edge, but less exactly
#      where. Without pooling, all following layers would cost four times as much and be more sensitive to shifts. It
#      comes directly after the convolution because the next two layers would cost more than the convolution itself on
#      a map of 27 × 27 (this order is from Jordan's airbench, arXiv 2404.00498).
#    - *Batch normalisation* (Ioffe & Szegedy, arXiv 1502.03167) brings each channel to mean 0 and standard deviation
#      1 over the batch of images. Without it, the learning rate would have to be much lower.
#    - The *activation* makes the network non-linear. Without it, two convolutions in a row would be equivalent to
#      one.
#
#    From here on, the convolutions pad the image with zeros beyond its border (*same* padding), so that only pooling
#    makes it smaller. Pooling leaves out an odd last row and column: 27 becomes 13.
# 5. `pair1` (shape unchanged): two convolutions of 1 × 1 with `w` channels between them mix the channels at each
#    position. A *shortcut* (residual connection) bypasses them: their result is added to their input (He et al.,
#    arXiv 1512.03385). Without the shortcut, each layer would have to pass on everything that the later layers need;
#    with it, the pair only has to learn a correction.
# 6. `down2`, `pair2` (13 × 13 × w to 6 × 6 × 4w) recognise parts: collars, straps, heels. The pair has templates of
#    3 × 3 and 1 × 1, with 3w channels between them.
# 7. `down3`, `pair3` (6 × 6 × 4w to 3 × 3 × 12w) recognise the whole garment. The first convolution has templates of
#    2 × 2, the pair has templates of 3 × 3 with 8w channels between them. The network is wide only where the image is
#    small, because width is cheap there: the deeper layers keep less information about positions and more about the
#    features found there.
# 8. `head` (3 × 3 × 12w to 24w) takes each channel's maximum (is the feature present at all?) and its mean (how much
#    of it is there?). Flattening would instead give 108w numbers that also say where a feature is, so the last layer
#    would have to learn each feature separately for each position.
# 9. `dropout` (shape unchanged) sets a random share of these numbers to 0 during training, so that no class depends
#    on a single one of them.
# 10. `scale` (shape unchanged) makes these numbers seven times smaller. The scores of the classes then start near 0
#     and change less in each step. Without it, the last layer becomes confident before there are any useful features.
# 11. `probabilities` (24w to 10) computes one score for each class. *Softmax* turns the scores into positive numbers
#     that add up to 1.
#
# Initially, all convolutions except `whiten` pass their first channels on unchanged (*Dirac initialisation*); their
# remaining templates are random. A deep network then starts as one that preserves the image. With random weights
# alone it would scramble the image nine times, once in each convolution.


# %%
def build(hp, spec):
    """The network: from uint8 images (n, *spec.shape) to class probabilities (n, spec.classes)."""
    width = hp.Int("width", 16, 64, step=16)
    activation = hp.Choice("activation", ["relu", "silu"])
    images = raw_images(spec)
    x = whitened(standardised(images, spec), spec)
    x = layers.Activation(activation, name=f"whiten_{activation}")(x)
    x = residual_groups(x, width, activation)
    x = max_and_mean(x, "head")
    x = layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.1), name="dropout")(x)
    return keras.Model(images, probabilities(x, spec, scaled=True), name="fashion_cnn")


# %% [markdown]
# ## How it learns
#
# The network processes the images in batches. For each batch, the *loss* (cross-entropy, which is high where the
# network was confident and wrong) determines the direction in which each weight should move. Plain gradient descent
# moves the weights mostly along the few directions to which the loss is most sensitive. The optimizer *Muon* (Jordan,
# kellerjordan.github.io/posts/muon) makes the update of each convolution's kernel *orthogonal*, so that it moves
# equally far in all directions. *Momentum* adds part of the previous updates to each new one, so that updates that
# contradict each other cancel out. The few weights that are not kernels of convolutions are updated by Adam. The
# *learning rate* is the size of the steps. It rises linearly during the first quarter of the steps (*warm-up*), while
# the weights are still random. Then it falls linearly to 0.
#
# Each image is shifted at random by up to one pixel, and mirrored every other time it is seen (*data augmentation*).
# To the network these are new pictures of the same garment. Starting with small images, which helps on CIFAR-100
# (`cifar100_cnn.py`), costs more than it saves here, because the differences between a shirt and a pullover are fine
# details.
#
# What the search may choose, and why from this range:
#
# - `width` (16 to 64 channels, in multiples of 16, because oneDNN, TensorFlow's library for computing on CPUs,
#   processes 16 channels at a time): the cost grows with the square of the width, so a width of 64 leaves few epochs
#   (passes over all training images) in the same minutes.
# - `activation` (relu replaces negative values by 0; silu does so smoothly, as x times its sigmoid): silu learns more
#   in an epoch, relu completes more epochs in the same time.
# - `dropout` (0 to 0.5): it is applied only between the features and the classes; the convolutions have batch
#   normalisation instead.
# - `learning_rate` (0.05 to 0.4, logarithmic): the rate of Muon. Muon keeps the norm of each kernel constant, so a
#   rate of .1 rotates a kernel by up to 6 degrees in a step. If the rate is too low, the minutes are wasted; if it is
#   too high, the weights never settle.
# - `weight_decay` (5e-4 to 2e-2, logarithmic): each step shrinks the weights outside the convolutions by
#   rate × decay. The kernels of convolutions keep their norm instead.
# - `label_smoothing` (0 to 0.2): training asks for a probability a little below 1 for the true class and distributes
#   the rest equally over all classes, because some labels cannot be decided at 28 pixels.
# - `batch_size` (128, 256, 512): smaller batches give more steps, which matters when there are few epochs. Larger
#   batches use two cores better, and share the cost of making an update orthogonal among more images.
# - `erase` (0 to 12 pixels): the side of a square that is painted over at a random position in each image (*Cutout*,
#   DeVries & Taylor, arXiv 1708.04552; the field `cutout` of the recipe), so that no class depends on a single
#   detail. It is meant for fits that see the images so often that they memorise them. In eight epochs it lowers the
#   accuracy (see below).


# %%
def recipe(hp):
    """Training with Muon on mirrored and shifted images, with or without Cutout."""
    return Recipe(
        stages=(Stage("training", hp.Float("learning_rate", 0.05, 0.4, sampling="log"), max_epochs=40),),
        batch_size=hp.Choice("batch_size", [128, 256, 512]),
        optimizer="muon",
        weight_decay=hp.Float("weight_decay", 5e-4, 2e-2, sampling="log"),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.2, step=0.05),
        warmup=0.25,
        flip=True,
        random_translation=1,
        cutout=hp.Int("erase", 0, 12, step=4),
    )


# %% [markdown]
# ## The experiment
#
# `best` holds the best-known value of each hyperparameter. Every search uses these values for its first trial, and
# this file trains with them. On 54,000 images they gave a validation accuracy of .949 after 8 epochs (1,107
# CPU-seconds; *validation images* are part of the training images but are kept out of training). Single changes had
# the following effects, in percentage points: Cutout with squares of 8 pixels: −.3, with an accuracy of .944 instead
# of .956 on the training images, so more epochs may reverse this; shifts of up to two pixels instead of one: −.35;
# `pair1` of 3 × 3 with twice the channels before and in it, and `pair3` of 1 × 1: −.1, in 13 % more time; a rate of
# .04: −.1, of .13: −.3. A search of an earlier study chose relu, a rate of .08 and no dropout. With silu, a rate of
# .1 and a dropout of .1 the validation accuracy was .938 after 2 epochs (320 CPU-seconds). Changes from there: no
# `scale`: −.5 points, and then half the rate: −.7; small images first: −.3 in 60 CPU-seconds more; SGD instead of
# Muon: −1.2. All of this is from one seed each (the *seed* determines all random numbers, such as the initial
# weights). With 6,000 validation images, chance alone reaches ±.6 points.
#
# `best_in_an_hour` holds the values that replace some of these when the budget is an hour or more: a wider network,
# and Cutout, because the network sees all images 18 times in 38 minutes. With batches of 512 it processes more images
# in the same time. The learning rate of .1 follows from two considerations: batches twice as large want the rate
# above times 1.4, and more steps want a lower rate. None of these values was compared with others in fits of that
# length. What they reached is in bench/README.md.

# %%
EXPERIMENTS = [
    Experiment(
        name="fashion-mnist-cnn",
        question="How accurate does a small convolutional network become in minutes when trained from scratch?",
        comparison="mlp-vs-cnn-vs-vgg16",
        topic=Topic("Three networks for clothes", "Which network recognises clothes best after minutes of training?"),
        dataset=FashionMNIST(),
        labels="flat",
        build=build,
        recipe=recipe,
        best={
            "width": 32,
            "activation": "relu",
            "dropout": 0.0,
            "learning_rate": 0.08,
            "weight_decay": 4e-3,
            "label_smoothing": 0.1,
            "batch_size": 256,
            "erase": 0,
        },
        best_in_an_hour={"width": 48, "erase": 8, "batch_size": 512, "learning_rate": 0.1},
    )
]

# %% [markdown]
# The table lists the layers of the network with these values. Its last two columns are found by building the network
# again, once for images in three colours and once for twice as many classes, and comparing the layers:
#
# - **Colours**: the templates of `whiten` have 2 × 2 × *colours* weights, and there are 8 × *colours* templates. So
#   `down1_conv` has 9 × 8 × *colours* weights for each of its channels. `standardise` has one mean and one standard
#   deviation for each colour.
# - **Classes**: `probabilities` has one output for each class. All layers in between depend on neither.
#
# The number of parameters of a convolution is pixels of a template × channels before × channels after, whatever the
# size of the image: compare `pair3_a_conv` with `down1_conv`.

# %%
if __name__ == "__main__":
    run.show(run.layers(EXPERIMENTS[0], data.spec()), "layers")

# %% [markdown]
# This table shows what the search of the published study tried, best first (`reports/published/`). Each row is one
# trial. A trial is a shortened final fit: it lasts about a minute, uses a part of the images, and makes fewer passes
# over them (`bench/README.md` explains why). Its accuracy is therefore below that of the final fit, and only the
# order of the trials counts. The best-known values are replaced only by values whose lead is more than chance can
# make; the column `refitted` says which values the final fits used.

# %%
if __name__ == "__main__":
    run.show(run.trials(EXPERIMENTS[0]), "trials")

# %% [markdown]
# ## Training
#
# First, the speed of this machine is measured on a few batches. From that the number of epochs is planned, so that
# the learning rate reaches 0 when the minutes end. A tenth of the training images are kept aside as *validation
# images*. After training, the model is exported and loaded again in a fresh process.

# %%
if __name__ == "__main__":
    trained = [run.train(experiment) for experiment in run.chosen(EXPERIMENTS)]

# %% [markdown]
# ## How it went
#
# The left panel shows the accuracy, the right one the loss. While the learning rate is high, the validation curve
# jumps. As the rate falls to 0, both curves settle; most of the last points of accuracy are gained there. Where the
# training accuracy rises but the validation accuracy does not, the network memorises the images (*overfitting*). With
# label smoothing, the loss cannot reach 0 even if every image is classified correctly.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.learning_curves(), "curves")

# %% [markdown]
# ## What the network learnt
#
# The network is now evaluated on the test images, for the first and only time. `low` and `high` are the 95 %
# confidence interval of the accuracy (Wilson's score interval): how much the result could differ by chance with other
# test images. The interval does not include the effect of the random start.

# %%
if __name__ == "__main__":
    run.show(pd.DataFrame([one.score() for one in trained]), "score")

# %% [markdown]
# The first figure shows the scores of each class. *Precision* is the share of the images predicted to be, say, a
# shirt that are shirts. *Recall* is the share of the shirts that are predicted to be shirts. F1 is the harmonic mean
# of the two. The matrix shows which class (row) is predicted as which class (column), in percent. Below it are the
# most confident mistakes: ask yourself for each one whether you would have known better.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.per_class_bars(), "classes")
        run.show(one.confusion_matrix(), "confusion")
        run.show(one.examples(), "examples")

# %% [markdown]
# ## How well the network copes with shifts
#
# The table shows the accuracy on the first 2,000 test images, shifted to the right. The network was trained with
# shifts of one pixel. A shift of two pixels costs a point or two, and a shift of four about six; so little is due to
# the sliding templates, pooling and the head. In the same table of `fashion_mnist_mlp.py` the accuracy falls
# far more steeply.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.when_shifted(), "shifted")

# %% [markdown]
# ## What was found
#
# The tables show the three networks of the published study (`docs/explanation/results.md` says how it was measured),
# and their differences, compared image by image. `p` is the probability of a difference at least this large if both
# networks were equally good. The small network is ahead of the perceptron. VGG16, which has many times its weights,
# has no lead over it beyond chance. So in these minutes, what VGG16 learnt from photographs brings no advantage that ten
# thousand test images could show.

# %%
if __name__ == "__main__":
    run.show(run.published("mlp-vs-cnn-vs-vgg16.accuracy"), "published accuracy")
    run.show(run.published("mlp-vs-cnn-vs-vgg16.pairs"), "published differences")
