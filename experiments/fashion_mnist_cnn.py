# %% [markdown]
# # What does a small convolutional network, trained from nothing, reach in minutes?
#
# A *convolution* slides one small template over the whole image. So it knows two things that a perceptron does not:
# that pixels have neighbours, and that a collar is a collar wherever it is. What are these two worth?
#
# This network stands between the perceptron (`fashion_mnist_mlp.py`) and the pretrained VGG16
# (`fashion_mnist_vgg16.py`) in the comparison `mlp-vs-cnn-vs-vgg16`. The data set's own table has small convolutional
# networks from .876 to .947 and a ResNet-18 at .949 (github.com/zalandoresearch/fashion-mnist).
#
# This file is three things: the tuner imports it for `build`, `recipe` and `EXPERIMENTS`; Jupytext makes a notebook
# of it; and `python experiments/fashion_mnist_cnn.py` runs it. What stands under `if __name__ == "__main__":` happens
# only in the last two.

# %%
# Before Keras: it says how TensorFlow is to compute.
from mlproject import plots, program
from mlproject.experiment import Experiment
from mlproject.layers import max_and_mean, probabilities, raw_images, residual_groups, standardised, whitened
from mlproject.recipe import Recipe, Stage

import keras
import pandas as pd
from keras import layers

# %% [markdown]
# ## The data
#
# Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv 1708.07747): grey pictures of ten kinds of clothes from a shop's
# catalogue, as many of each kind. Training images are for learning; test images are looked at once, at the end, so
# that the score says how the network does on clothes it has never seen.

# %%
if __name__ == "__main__":
    run = program.Program(minutes=8)
    data = run.load("fashion-mnist", "flat")
    run.show(plots.samples(data.train_images, data.train_labels, data.class_names, title="Fashion-MNIST"), "data")
    run.show(program.facts(data), "facts")

# %% [markdown]
# ## The network, layer by layer
#
# `w` stands for the hyperparameter `width`; shapes are height × width × channels, and a *channel* is the picture of
# one template's answers. The shape is that of the fastest network known to us for CIFAR-100 (NAVIER-STOKED,
# github.com/AIDDA-Institute/CIFAR-100-speedrun), with one width for all of it.
#
# 1. `images` takes the 28 × 28 × 1 bytes as they are stored.
# 2. `standardise` (shape stays): pixels to mean 0 and deviation 1, by the training images. It is part of the model,
#    so whoever loads the model need not know it.
# 3. `whiten` (28 × 28 × 1 to 27 × 27 × 8): neighbouring pixels are nearly alike. This convolution turns each patch of
#    2 × 2 pixels into four numbers that have nothing to do with one another, all of deviation 1, and their negatives:
#    brightness, and edges in three directions. It is computed from the training images, not learnt (*frozen*).
#    Without it the first layers must find that out by themselves, in steps that brightness, the largest of the four,
#    dictates. `whiten_relu`, the activation behind it, drops what is below 0; nothing is lost by that, as the
#    negatives keep it.
# 4. `down1` (27 × 27 × 8 to 13 × 13 × w), four layers in one:
#    - a *convolution* of `w` templates of 3 × 3 places, each slid over the image;
#    - *max-pooling* keeps the strongest of four neighbouring answers: there is an edge, exactly where matters less.
#      Without it all that follows would cost four times as much and notice shifts more. It comes at once because at
#      27 pixels the two layers after it would cost more than the convolution (the order of Jordan's airbench, arXiv
#      2404.00498);
#    - *batch normalisation* (Ioffe & Szegedy, arXiv 1502.03167): mean 0 and deviation 1 for each channel over the
#      batch. Without it the learning rate would have to be much lower;
#    - the *activation* bends: without it two convolutions in a row are one convolution.
#
#    From here on templates look at zeros beyond the border (*same* padding), so that only pooling shrinks the image. It
#    leaves out an odd last row and column: 27 becomes 13.
# 5. `pair1` (shape stays): two convolutions of 1 × 1, `w` channels between them, which mix channels in one place, *beside
#    a shortcut*: their result is added to what came in (He et al., arXiv 1512.03385). Without the shortcut each layer
#    must carry everything on; with it, it need only correct.
# 6. `down2`, `pair2` (13 × 13 × w to 6 × 6 × 4w): parts: collars, straps, heels. The pair is of 3 × 3 and 1 × 1, with 3w
#    channels between.
# 7. `down3`, `pair3` (6 × 6 × 4w to 3 × 3 × 12w): the whole garment, the first convolution of 2 × 2, the pair of 3 × 3
#    with 8w channels between. The network is wide only where the image is small, because there width is cheap: less
#    *where*, more *what*.
# 8. `head` (3 × 3 × 12w to 24w): each channel's maximum (is it there at all?) and mean (how much of it?). Flattening
#    instead would give 108w numbers that say where, which would have to be learnt for each place anew.
# 9. `dropout` (shape stays): while training, a random share of these numbers is 0, so that no class rests on one of
#    them.
# 10. `scale` (shape stays): makes these numbers seven times smaller, which makes the scores of the classes start near
#    0 and change less in a step. Without it the last layer is sure of itself before there are features to be sure of.
# 11. `probabilities` (24w to 10): one score for each class; *softmax* makes them positive and add up to 1.
#
# All convolutions but `whiten` begin by handing their first channels on unchanged (*Dirac initialisation*): a network
# of many layers then starts as one that loses nothing, instead of one that scrambles its images nine times.


# %%
def build(hp, spec):
    """Uint8 images (n, *spec.shape) to probabilities (n, spec.classes)."""
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
# Batch by batch, the loss (cross-entropy: high where the network was sure and wrong) says in which direction to move
# each weight. Plain descent goes furthest in the few directions that the loss is most sensitive to. *Muon* (Jordan,
# kellerjordan.github.io/posts/muon) makes the move of each convolution's kernel *orthogonal*: as far in all
# directions. *Momentum* goes on in the direction of the last steps, so that steps which contradict each other cancel
# out. The few weights that are no kernels of convolutions move by Adam. The rate rises linearly in the first quarter
# of the steps, while the weights are still random, and then falls linearly to 0.
#
# Images are moved by up to one pixel, and mirrored every other time that they are seen: new pictures of the same
# garment. Small images first, which help on CIFAR-100 (`cifar100_cnn.py`), cost more than they save here: what tells a
# shirt from a pullover is fine.
#
# What the search may choose, and why from this range:
#
# - `width` (16 to 64 channels, by 16, as oneDNN's convolutions work on 16 at a time): the cost grows with its square,
#   so 64 leaves few epochs in the same minutes.
# - `activation` (relu: negative becomes 0; silu: smoothly, x times its sigmoid): silu learns more in an epoch, relu
#   passes more epochs.
# - `dropout` (0 to 0.5): only between features and classes; the convolutions have batch normalisation.
# - `learning_rate` (0.05 to 0.4, logarithmic): Muon's; a kernel keeps its length, so .1 turns it by up to 6 degrees
#   in a step. Too low wastes the minutes, too high and nothing settles.
# - `weight_decay` (5e-4 to 2e-2, logarithmic): each step shrinks the weights that are no convolutions' by rate ×
#   decay. Kernels keep their length instead.
# - `label_smoothing` (0 to 0.2): asks for a little less than certainty, because some labels cannot be decided at 28
#   pixels.
# - `batch_size` (128, 256, 512): few epochs want many steps; big batches keep two cores busier, and share the cost of
#   making a move orthogonal among more images.
# - `erase` (0 to 12 pixels): a square of so many pixels a side, somewhere in each image, is painted over (*Cutout*, DeVries
#   & Taylor, arXiv 1708.04552), so that no class rests on one detail. It is meant for fits that see images so often that
#   they learn them by heart; in eight epochs it costs (below).


# %%
def recipe(hp):
    """Muon; mirrored, shifted and perhaps erased images."""
    return Recipe(
        stages=(Stage("training", hp.Float("learning_rate", 0.05, 0.4, sampling="log"), max_epochs=40),),
        batch_size=hp.Choice("batch_size", [128, 256, 512]),
        optimizer="muon",
        weight_decay=hp.Float("weight_decay", 5e-4, 2e-2, sampling="log"),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.2, step=0.05),
        warmup=0.25,
        flip=True,
        crop=1,
        erase=hp.Int("erase", 0, 12, step=4),
    )


# %% [markdown]
# ## The experiment
#
# `best` holds the best-known value of each hyperparameter: the first trial of every search, and what this file trains
# with. On 54,000 images they gave validation accuracy .949 after 8 epochs (1,107 CPU-seconds). Single changes: squares of 8
# pixels erased −.3 points, with .944 in place of .956 on training images, so more epochs may turn that round; shifts of up
# to two pixels in place of one −.35; `pair1` of 3 × 3 and twice the channels before and in it, `pair3` of 1 × 1, −.1 in
# 13 % more time; a rate of .04 −.1, .13 −.3. A search of an earlier study chose relu, a rate of .08 and no dropout. With
# silu, .1 and .1 it was .938 after 2 epochs (320 CPU-seconds); from there, without `scale` −.5 points, and then half the
# rate −.7, small images first −.3 in 60 CPU-seconds more, SGD in place of Muon −1.2. One seed each: luck with 6,000 images
# alone reaches ±.6.
#
# `best_in_an_hour` has what takes the place of some of them where there is an hour: a wider network, and squares erased, as
# it sees all images 18 times in 38 minutes. Batches of 512 pass more images through it in the same time; .1 is the rate above
# times 1.4 for batches twice as large, and less for more steps. None of these was compared over so many minutes; what they
# gave is in bench/README.md.

# %%
EXPERIMENTS = [
    Experiment(
        name="fashion-mnist-cnn",
        question="What does a small convolutional network, trained from nothing, reach in minutes?",
        comparison="mlp-vs-cnn-vs-vgg16",
        dataset="fashion-mnist",
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
# The network with these values. The last two columns are found by building it again for images in three colours, and
# for twice as many classes, and looking for what changed:
#
# - **Colours**: the templates of `whiten` are 2 × 2 × *colours*, and there are 8 × *colours* of them; so `down1_conv`
#   has 9 × 8 × *colours* weights for each channel. `standardise` has a mean and a deviation for each.
# - **Classes**: `probabilities` has one output for each. All between depends on neither.
#
# A convolution's parameters are its places × channels before × channels after, whatever the image's size: compare
# `pair3_a_conv` with `down1_conv`.

# %%
if __name__ == "__main__":
    run.show(run.layers(EXPERIMENTS[0], data.spec()), "layers")

# %% [markdown]
# What the search tried in the published study, best first (`reports/published/`; 2 cores, seed 0). Each trial is the
# final fit made short: a minute, on three in ten of the images, passed over less often (`bench/README.md` has why). So
# the accuracies lie below the fit's, and only their order counts. Half the width, in four times as many steps, leads by
# .2 points, where luck alone can make one: the best-known values were refitted.

# %%
if __name__ == "__main__":
    run.show(run.trials(EXPERIMENTS[0]), "trials")

# %% [markdown]
# ## Training
#
# A few batches tell how fast this machine is; from that the number of epochs is planned so that the rate's fall ends
# with the minutes. A tenth of the training images, the *validation* images, are kept aside. When training ends, the
# model is exported and loaded again in a fresh process.

# %%
if __name__ == "__main__":
    trained = [run.train(experiment) for experiment in run.chosen(EXPERIMENTS)]

# %% [markdown]
# ## How it went
#
# Left the share of images named rightly, right the loss. While the rate is high, validation jumps; as it falls to 0 both
# lines settle, which is where most of the last points come from. Where training rises and validation does not, the
# network learns the images by heart (*overfitting*). With label smoothing the loss cannot reach 0 even if every image
# is right.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.learning_curves(), "curves")

# %% [markdown]
# ## What it learnt
#
# On the test images, for the first and only time. `low` and `high` are the 95 % interval of the accuracy (Wilson):
# how far luck with these test images could reach. It does not cover the luck of the random start.

# %%
if __name__ == "__main__":
    run.show(pd.DataFrame([one.score() for one in trained]), "score")

# %% [markdown]
# Class by class: of the images called a shirt, *precision* is the share that are shirts; of the shirts, *recall* is
# the share that were called so; F1 is their harmonic mean. The matrix says which class (row) was taken for which
# (column), in percent. Below it the surest mistakes: ask of each whether you would have known better.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.per_class_bars(), "classes")
        run.show(one.confusion_matrix(), "confusion")
        run.show(one.examples(), "examples")

# %% [markdown]
# ## What it knows of shifts
#
# The first 2,000 test images, moved to the right. It was trained with shifts of one pixel; that two cost one and a half points
# and four no more than six is the work of sliding templates, pooling and the head. In `fashion_mnist_mlp.py` the same table
# falls far more steeply.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.when_shifted(), "shifted")

# %% [markdown]
# ## What was found
#
# The published study's three networks, each with 15 minutes on 2 cores for search and final fit, and their
# differences image by image (`p`: exact McNemar test). The small network comes out points ahead of the perceptron, and
# a point ahead of VGG16 with many times its weights: what photographs taught VGG16, minutes with sixty thousand clothes
# can teach too. One seed each: half a point between two networks can be the luck of the random start.

# %%
if __name__ == "__main__":
    run.show(run.published("mlp-vs-cnn-vs-vgg16.accuracy"), "published accuracy")
    run.show(run.published("mlp-vs-cnn-vs-vgg16.pairs"), "published differences")
