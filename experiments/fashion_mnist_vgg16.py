# %% [markdown]
# # How far does a network trained on photographs carry on grey clothes?
#
# VGG16 (Simonyan & Zisserman, arXiv 1409.1556) has learnt a thousand kinds of things from more than a million colour
# photographs (ImageNet). Its first layers look for edges and textures, which clothes have too. How much of that
# serves on grey pictures of 28 pixels?
#
# The fit has two stages, the two customary ways to build on another network:
#
# 1. **Feature extraction**: VGG16 is *frozen*; its answers are features, and only the head on top of them learns.
# 2. **Fine-tuning**: VGG16's last blocks learn too, slowly; where there is an hour, all of them.
#
# In the comparison `mlp-vs-cnn-vs-vgg16` it stands beside a network without any notion of a picture
# (`fashion_mnist_mlp.py`) and a small convolutional one (`fashion_mnist_cnn.py`), both trained from nothing. The data
# set's own table has a VGG16 trained on Fashion-MNIST alone at .935 (github.com/zalandoresearch/fashion-mnist).
#
# This file is three things: the tuner imports it for `build`, `recipe` and `EXPERIMENTS`; Jupytext makes a notebook
# of it; and `python experiments/fashion_mnist_vgg16.py` runs it. What stands under `if __name__ == "__main__":`
# happens only in the last two.

# %%
# Before Keras: it says how TensorFlow is to compute.
from mlproject import plots, program
from mlproject.experiment import Experiment
from mlproject.layers import probabilities, raw_images
from mlproject.recipe import Recipe, Stage

import keras
import pandas as pd
from keras import layers

SIZE = 32  # the least that include_top=False accepts: five poolings leave one pixel
# Red, green, blue, on the 0..255 scale (keras.applications' "caffe" preprocessing).
IMAGENET_MEANS = (123.68, 116.779, 103.939)

# %% [markdown]
# ## The data
#
# Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv 1708.07747): grey pictures of ten kinds of clothes from a shop's
# catalogue, as many of each kind. Training images are for learning; test images are looked at once, at the end. On
# synthetic data there is nothing to carry over, and VGG16 starts from random weights.

# %%
if __name__ == "__main__":
    run = program.Program(minutes=10)
    data = run.load("fashion-mnist", "flat")
    run.show(plots.samples(data.train_images, data.train_labels, data.class_names, title="Fashion-MNIST"), "data")
    run.show(program.facts(data), "facts")

# %% [markdown]
# ## The network, layer by layer
#
# 1. `images` takes the 28 × 28 × 1 bytes as they are stored.
# 2. `pad` (to 32 × 32 × 1): a black border, like the background. Five poolings need 32 pixels. Enlarging instead gave
#    no more (a probe on 8,000 images). Where all blocks learn, the images stay as they are and the last pooling, which
#    would find one pixel, is left out: *Why a border* below.
# 3. `grey_to_rgb` (to 32 × 32 × 3): VGG16's first templates look at three colours; the grey value is given thrice.
#    Without it the pretrained weights would not fit.
# 4. `subtract_means` (shape stays): the means of ImageNet's training pixels, no scaling: what the weights were
#    trained with. Other numbers would be a language that they never learnt.
# 5. `block1` to `block5`: VGG16 under its own names: 13 convolutions of 3 × 3, each followed by relu; each block ends
#    with a max-pooling that halves the image, while the channels grow from 64 to 512. 32 × 32 × 3 to 4 × 4 × 256
#    behind `block3_pool`, to 1 × 1 × 512 behind `block5_pool`. VGG16's own classifier is left out: it knows cars and
#    dogs, not clothes.
# 6. `flat0`, `flat1`, `features` (4,096 and 512 to 4,608): the activations of these two depths in a row. Without the
#    border 2,304 and 512.
# 7. `features_norm` (shape stays): activations of different depths differ in scale by orders of magnitude; without
#    batch normalisation the largest would drown the rest.
# 8. `features_dropout`, `head` (4,608 to `head_units`), `dropout`: a hidden layer that combines features. The
#    dropouts keep it from learning images by heart, which is where this network overfits.
# 9. `probabilities` (`head_units` to 10): one score for each class; *softmax* makes them positive and add up to 1.
#
# **Why two depths.** At 32 pixels `block5_pool` has no place left in the picture, and its channels know dogs from
# cars. A frozen VGG16 under the same head (8 epochs, 54,000 images, validation accuracy) gave .855 from
# `block5_pool`, .920 from `block4_pool`, .940 from `block3_pool`, .939 from all three. Fine-tuning starts behind the
# first of the two depths, because its activations, computed once and kept on disk, are all that the rest of the
# network needs: neither epochs nor trials pay for the frozen part again. Where all blocks learn, only the head's
# stage has any kept.
#
# **Why a border.** It gives `block3_pool` 4 × 4 places in place of 3 × 3, which is worth .3 points to a frozen VGG16
# (validation accuracy .941, .938). Without it there is a third less to compute for an image. Where all blocks learn, that
# counts for more: half as many passes again in the same minutes led by .5 points where few passes fit (3 and 4.5: .9465,
# .951), and did no harm where more do (6 and 9: .952, .9535; two and four seeds, `bench/README.md` has the table).


# %%
def tuned_blocks(hp):
    """How many of VGG16's blocks, from the last one, learn in the end."""
    return hp.Choice("tuned_blocks", [2, 5])


def build(hp, spec):
    """Uint8 images (n, 28, 28, 1 or 3), or up to 32 pixels, to probabilities (n, spec.classes)."""
    images = x = raw_images(spec)
    if tuned_blocks(hp) < 5:
        borders = [SIZE - side for side in spec.shape[:2]]
        x = layers.ZeroPadding2D([(border // 2, border - border // 2) for border in borders], name="pad")(x)
    if spec.shape[-1] == 1:
        x = layers.Concatenate(name="grey_to_rgb")([x, x, x])
    x = layers.Rescaling(1.0, offset=[-mean for mean in IMAGENET_MEANS], name="subtract_means")(x)
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    # Its layers are laid one by one behind ours: no model within the model. Where one pixel is left nothing is pooled.
    for layer in base.layers[1:]:
        if not (layer.name.endswith("pool") and 1 in x.shape[1:3]):
            x = layer.from_config(layer.get_config())(x)
        if layer.name == "block3_pool":
            middle = x
    if spec.weights is not None:
        base.load_weights(spec.weights)
        kernel, *others = base.get_weights()
        # The published filters look for blue first. Turning them round does the same as turning every image round.
        keras.Model(images, x).set_weights([kernel[:, :, ::-1], *others])
    flat = [layers.Flatten(name=f"flat{index}")(depth) for index, depth in enumerate((middle, x))]
    x = layers.Concatenate(name="features")(flat)
    # Most features are silent on most images: their statistics need hundreds of batches (momentum .9: loss .192, .99: .178).
    x = layers.BatchNormalization(momentum=0.99, name="features_norm")(x)
    x = layers.Dropout(hp.Float("features_dropout", 0.0, 0.6, step=0.1), name="features_dropout")(x)
    x = layers.Dense(hp.Int("head_units", 128, 1024, sampling="log"), activation="relu", name="head")(x)
    x = layers.Dropout(hp.Float("dropout", 0.2, 0.7, step=0.1), name="dropout")(x)
    return keras.Model(images, probabilities(x, spec), name="vgg16")


# %% [markdown]
# ## How it learns
#
# First the head alone, for nine tenths of the minutes but at most eight epochs, after which it gains no more: it starts
# from random numbers, and its first, violent corrections would destroy the pretrained filters behind it. Then blocks 4
# and 5 with it, or all five. In each stage the rate rises linearly in the first fifth of the steps and falls linearly to 0.
#
# Nine tenths, because a few dozen batches of fine-tuning do harm. Of the 160 seconds that a slow CPU may have left for its
# fit the head had a quarter, half, three quarters or nine tenths, and reached .928, .934, .9385, .9385; the 48, 32, 16 or 9
# batches of fine-tuning in the others made .928, .9305, .9365, .938 of that (validation accuracy, one seed, not logged).
# Where eight epochs take less than a quarter of the minutes nothing depends on it.
#
# *Muon* (Jordan, kellerjordan.github.io/posts/muon) makes the move of each convolution's kernel *orthogonal*: as far in
# all directions. The kernel keeps its length, and a step turns it by about the rate, in radians: the same for all thirteen,
# though their scales differ. What is no kernel of a convolution moves by Adam, at a twentieth of that rate; in the first
# stage this is all there is. Pretrained filters lose before they gain: after one pass of all blocks over 54,000 mirrored and
# shifted images validation accuracy, .938 with the head alone, was .9355 by Muon at .01, .924 at .03, and .927 by AdamW at 1e-4
# (batches of 128, shifts of two pixels, a quarter of an hour of one core, one seed, not logged). After nine passes .02 to .04
# are best.
#
# What the search may choose, and why from this range:
#
# - `features_dropout` (0 to 0.6): 4,608 features, of which many are redundant.
# - `head_units` (128 to 1,024, logarithmic): below 128 there is less room than features that matter; above 1,024 the
#   head outweighs the blocks tuned.
# - `dropout` (0.2 to 0.7): the head is where this network overfits.
# - `head_rate` (6e-3 to 6e-2, logarithmic): for Adam, 3e-4 to 3e-3, on fresh dense layers behind batch normalisation.
# - `fine_rate` (1e-3 to 6e-2, logarithmic): small steps, as the filters need adjusting, not learning; larger ones where
#   there are passes enough to recover from them.
# - `tuned_blocks` (2 or 5): the last two blocks on kept activations, or all of them. Kept activations are those of the
#   images as they are; with nothing frozen each image is also mirrored, every other time it is seen, and moved by up to
#   a pixel. That takes nearly twice as long for an image, and pays in an hour. `fixed` keeps a search from trying it: it
#   loses in a trial of a minute, whatever it gains later.
# - `batch_size` (128 or 256): twice as many steps, or somewhat more images in the same minutes.
# - `weight_decay` (5e-5 to 5e-3, logarithmic): each step shrinks every weight but the kernels of convolutions by rate ×
#   decay.
# - `label_smoothing` (0 to 0.1): shirts, coats and pullovers are mislabelled or undecidable at times.


# %%
def recipe(hp):
    """Muon; the head alone for eight epochs, or nine tenths of the time, then the last two blocks with it or all five."""
    head_rate = hp.Float("head_rate", 6e-3, 6e-2, sampling="log")
    fine_rate = hp.Float("fine_rate", 1e-3, 6e-2, sampling="log")
    frozen = {2: "block3_pool", 5: None}[tuned_blocks(hp)]
    return Recipe(
        stages=(
            Stage("feature-extraction", head_rate, frozen_through="features", share=0.9, max_epochs=8),
            Stage("fine-tuning", fine_rate, frozen_through=frozen, share=0.1, max_epochs=15),
        ),
        batch_size=hp.Choice("batch_size", [128, 256]),
        optimizer="muon",
        weight_decay=hp.Float("weight_decay", 5e-5, 5e-3, sampling="log"),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.1, step=0.05),
        warmup=0.2,
        flip=True,
        crop=1,
    )


# %% [markdown]
# ## The experiment
#
# `best` holds the best-known value of each hyperparameter: the first trial of every search, and what this file trains
# with. On 54,000 images, one seed, validation accuracy: .938 after 8 epochs of the head alone, a minute on 2 cores
# besides 3 for the activations; and after 290 batches of fine-tuning the last two blocks, four minutes more, .940 at a
# `fine_rate` of .003, .940 at .01 (by AdamW at 4e-5 .941). On 6,000 images none of these steps is beyond luck. These are
# not logged.
#
# `best_in_an_hour` has what takes the place of some of them where there is an hour: all blocks, and less dropout, as
# images mirrored and moved cannot so easily be learnt by heart (.937 after a pass of all blocks, in place of .9355).
#
# They were chosen on a GPU, on which the nine passes of an hour of two cores of a Xeon take one minute: this `build`,
# Muon and these batches, run by Keras on JAX (two seeds; not logged). Validation accuracy was .955 with them, and in
# batches of 128 .9545 at a rate of .02, .954 at .03 and .04, .950 at .01, .9525 at .06. At .03 squares of 8 pixels erased
# cost .25 points, dropouts of .3 and .5 .15, labels smoothed by .1 and slower first blocks .1, shifts of two pixels nothing.
# At the same cost, with the border and the first blocks frozen, the last three had .9475, the last two on mirrored images
# .944.

# %%
EXPERIMENTS = [
    Experiment(
        name="fashion-mnist-vgg16",
        question="How far do VGG16's ImageNet features carry on grey 28-pixel clothes, frozen and fine-tuned?",
        comparison="mlp-vs-cnn-vs-vgg16",
        dataset="fashion-mnist",
        labels="flat",
        build=build,
        recipe=recipe,
        best={
            "features_dropout": 0.2,
            "head_units": 512,
            "dropout": 0.5,
            "head_rate": 2e-2,
            "fine_rate": 4e-3,
            "tuned_blocks": 2,
            "batch_size": 256,
            "weight_decay": 5e-4,
            "label_smoothing": 0.05,
        },
        best_in_an_hour={
            "features_dropout": 0.1,
            "dropout": 0.3,
            "tuned_blocks": 5,
            "fine_rate": 4e-2,
        },
        fixed=("tuned_blocks",),
        pretrained=True,
    )
]

# %% [markdown]
# The network with these values. The last two columns are found by building it again for images in three colours, and
# for twice as many classes, and looking for what changed:
#
# - **Colours**: with three of them `grey_to_rgb` is left out. No weight changes its shape, because VGG16 has always
#   seen three.
# - **Classes**: `probabilities` alone.

# %%
if __name__ == "__main__":
    table = run.layers(EXPERIMENTS[0], data.spec())
    run.show(table, "layers")

# %% [markdown]
# How many weights learn in each stage: those of the layers behind the cut (with batch normalisation's running
# statistics).

# %%
if __name__ == "__main__":
    rows = []
    for stage in recipe(run.best(EXPERIMENTS[0])).stages:
        cut = stage.frozen_through
        frozen = 0 if cut is None else table.index[table["layer"] == cut][0] + 1
        learning = table["parameters"][frozen:].sum()
        rows.append({"stage": stage.name, "frozen through": cut or "nothing", "learning": learning})
    run.show(pd.DataFrame(rows).assign(total=table["parameters"].sum()), "stages")

# %% [markdown]
# What the search tried in the published study, best first (`reports/published/`; 2 cores, 15 minutes, seed 0), where
# the last two blocks alone were tuned. Each trial is the final fit made short, on four in ten of the images. Two fitted
# into the minutes that the activations left, the second cut short: this is a check of the best-known values rather than a
# search.

# %%
if __name__ == "__main__":
    run.show(run.trials(EXPERIMENTS[0]), "trials")

# %% [markdown]
# ## Training
#
# The first time, the activations of the frozen blocks are computed for all training images, which takes some minutes;
# later runs find them on disk. Then a few batches of each stage tell how fast this machine is, and the epochs are
# planned so as to end with the minutes. A tenth of the training images, the *validation* images, are kept aside. When
# training ends, the model is exported and loaded again in a fresh process.

# %%
if __name__ == "__main__":
    trained = [run.train(experiment) for experiment in run.chosen(EXPERIMENTS)]

# %% [markdown]
# ## How it went
#
# The dashed line is the border between the stages. Left of it only the head learns, right of it VGG16's blocks too: a
# step at the border is what fine-tuning brings. Dropout makes training harder than validation, so the training line
# can lie below. Where it rises and validation does not, the network learns the images by heart.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.learning_curves(), "curves")
        ends = one.history.groupby("stage", sort=False)
        run.show(
            ends[["val_accuracy", "val_loss"]].last().assign(minutes=ends["seconds"].sum() / 60).reset_index(),
            "by stage",
        )

# %% [markdown]
# The table has validation accuracy at the end of each stage, and its minutes. Set their difference against the luck
# of 6,000 validation images, about ±.6 points at 94 %.
#
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
# (column), in percent.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.per_class_bars(), "classes")
        run.show(one.confusion_matrix(), "confusion")
        run.show(one.examples(), "examples")

# %% [markdown]
# ## What it knows of shifts
#
# The first 500 test images (2,000 in the other two notebooks), moved to the right. VGG16's templates slide, but
# `features` keeps 4 × 4 places apart, and the head was never shown a shifted garment, unless all blocks were tuned.
# Compare the table there.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.when_shifted(images=500), "shifted")

# %% [markdown]
# ## What was found
#
# The published study's three networks, each with 15 minutes on 2 cores for search and final fit, and their
# differences image by image (`p`: exact McNemar test).
#
# - Pretrained features are worth a great deal at once: a minute of training a head brings more than the perceptron learns
#   in all its time, and most of what the small convolutional network learns from nothing.
# - They are worth most at the middle depth, where textures are known and things are not yet named (the figures under
#   *Why two depths*).
# - Fine-tuning for the minutes that are left is two passes in the study, two thirds of a pass in the fit above, and
#   brought no more than luck does. In an hour it pays, the more the more passes fit: six of all blocks, by Muon on mirrored
#   and shifted images, brought .9 points, from .935 to .944 ([.6, 1.3]); without the border four on a CPU of half the
#   speed 1.4, from .931 to .945 ([1.0, 1.8]), and twelve on one with AVX-512 2.0, from .931 to .951 ([1.6, 2.4]). Twelve
#   epochs of the last two blocks, by AdamW, brought half a point, from .9335 to .938 (.46 points [.22, .71]; one seed each,
#   the commands are in bench/README.md).
# - In the end the small network of `fashion_mnist_cnn.py` is a point ahead in a quarter of an hour and level in an hour,
#   with a fraction of the weights and of the time for each image. On sixty thousand images and two cores, pretraining is
#   a shortcut, not an advantage.

# %%
if __name__ == "__main__":
    run.show(run.published("mlp-vs-cnn-vs-vgg16.accuracy"), "published accuracy")
    run.show(run.published("mlp-vs-cnn-vs-vgg16.pairs"), "published differences")
    run.show(run.published("mlp-vs-cnn-vs-vgg16.cost"), "published cost")
