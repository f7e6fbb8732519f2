# %% [markdown]
# # How well do features learnt from photographs work on grey images of clothes?
#
# VGG16 (Simonyan & Zisserman, arXiv 1409.1556) was trained to recognise a thousand kinds of things in more than a
# million colour photographs (ImageNet). Its first layers detect edges and textures, which clothes have too. How
# useful are these features for grey pictures of 28 pixels?
#
# The fit has two stages, which are the two usual ways to build on a trained network:
#
# 1. **Feature extraction**: VGG16 is *frozen*, that is, its weights do not change. Its activations serve as features,
#    and only the *head* (the layers added on top) learns.
# 2. **Fine-tuning**: the last blocks of VGG16 learn too, slowly; with an hour of time, all of its blocks do.
#
# In the comparison `mlp-vs-cnn-vs-vgg16` it is compared with a network that does not know that its input is an image
# (`fashion_mnist_mlp.py`) and with a small convolutional network (`fashion_mnist_cnn.py`), both trained from scratch.
# The data set's own table lists a VGG16 trained on Fashion-MNIST alone at .935
# (github.com/zalandoresearch/fashion-mnist).
#
# This file is used in three ways. The tuner imports it to get `build`, `recipe` and `EXPERIMENTS`. Jupytext converts
# it to a notebook. The command `python experiments/fashion_mnist_vgg16.py` runs it as a program. The code under
# `if __name__ == "__main__":` runs only in the notebook and in the program.

# %%
# mlproject comes before Keras, because it sets environment variables that TensorFlow reads when it is imported.
from mlproject import plots, program
from mlproject.datasets import FashionMNIST
from mlproject.experiment import Experiment
from mlproject.layers import preprocessed, pretrained_base, probabilities, raw_images
from mlproject.recipe import Recipe, Stage
from mlproject.topic import Topic

import keras
import pandas as pd
from keras import layers

SIZE = 32  # pixels; the smallest that keras.applications.VGG16 accepts, as five poolings reduce it to one pixel

# %% [markdown]
# ## The data
#
# Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv 1708.07747) contains grey pictures of ten kinds of clothes from a
# shop's catalogue, equally many of each kind. The network learns from the training images. The test images are used
# only once, at the end. With synthetic data VGG16 starts from random weights, because features of photographs are of
# no use there.

# %%
if __name__ == "__main__":
    run = program.ExperimentScript(minutes=10)
    data = run.load(FashionMNIST(), "flat")
    run.show(plots.samples(data.train_images, data.train_labels, data.class_names, title="Fashion-MNIST"), "data")
    run.show(program.facts(data), "facts")

# %% [markdown]
# ## The network, layer by layer
#
# VGG16 consists of *convolutions*, which slide small templates (their *kernels*) over the whole image. Below, shapes
# are written as height × width × channels; a *channel* is the grid of numbers that one template gives, one for each
# position.
#
# 1. `images` takes the 28 × 28 × 1 bytes as they are stored.
# 2. `pad` (to 32 × 32 × 1) adds a black border, which looks like the background. The five poolings of VGG16 need 32
#    pixels. Enlarging the images instead gave no better accuracy (in a small test on 8,000 images). Where all blocks
#    learn, the images keep their size, and the last pooling, which would find only one pixel, is left out: see *Why a
#    border* below.
# 3. `grey_to_rgb` (to 32 × 32 × 3): the first templates of VGG16 expect three colours, so the grey value is given
#    three times. Without this layer the pretrained weights would not fit.
# 4. `subtract_means` (shape unchanged) subtracts the means of ImageNet's training pixels, without scaling, because
#    VGG16's weights were trained with such inputs. With other inputs the weights would not work as trained.
# 5. `block1` to `block5` are VGG16 under its own layer names: 13 convolutions of 3 × 3, each followed by a relu
#    (which replaces negative values by 0). Each block ends with a *max-pooling*, which keeps the largest of four
#    neighbouring values and so halves height and width, while the number of channels grows from 64 to 512. The shape
#    changes from 32 × 32 × 3 to 4 × 4 × 256 after `block3_pool`, and to 1 × 1 × 512 after `block5_pool`. VGG16's own
#    classifier is left out: it distinguishes cars and dogs, not clothes.
# 6. `flat0`, `flat1`, `features` (4,096 and 512 to 4,608) put the activations of these two depths into one row.
#    Without the border there are 2,304 and 512.
# 7. `features_norm` (shape unchanged) is *batch normalisation*, which brings each feature to mean 0 and standard
#    deviation 1. The scales of activations from different depths differ by orders of magnitude; without it, the
#    largest would dominate the others.
# 8. `features_dropout`, `head` (4,608 to `head_units`) and `dropout`: a hidden layer combines the features. *Dropout*
#    sets a random share of its inputs to 0 during training. The two dropouts prevent the head from memorising images;
#    this is where the network overfits.
# 9. `probabilities` (`head_units` to 10) computes one score for each class. *Softmax* turns the scores into positive
#    numbers that add up to 1.
#
# **Why two depths.** At 32 pixels, `block5_pool` has no information left about positions in the image, and its
# channels are specialised in distinguishing dogs from cars. A frozen VGG16 with the same head (8 epochs, that is,
# passes over all 54,000 training images) gave a validation accuracy of .855 with features from `block5_pool`, .920
# from `block4_pool`, .940 from `block3_pool`, and .939 from all three. (*Validation images* are part of the training
# images but are kept out of training.) Fine-tuning starts after the first of the two depths, because the activations
# of this depth, which are computed once and kept on disk, are all that the rest of the network needs. So neither
# epochs nor trials spend time on the frozen part again. Where all blocks learn, only the first stage, which trains
# the head, can use kept activations.
#
# **Why a border.** With the border, `block3_pool` has 4 × 4 positions instead of 3 × 3. This is worth .3 points to a
# frozen VGG16 (validation accuracy .941 and .938; a point is a percentage point). Without the border, an image takes
# a third less computation. Where all blocks learn, that counts for more: the 1.5 times as many passes that fit into
# the same minutes led by .5 points where passes are few (.9465 with 3 passes, .951 with 4.5), and did no harm where
# they are more (.952 with 6, .9535 with 9; two and four seeds, `bench/README.md` has the table; the *seed* determines
# all random numbers, such as the initial weights).


# %%
def tuned_blocks(hp):
    """How many of VGG16's blocks, counted from the last one, learn during fine-tuning."""
    return hp.Choice("tuned_blocks", [2, 5])


def build(hp, spec):
    """The network: from uint8 images (n, *spec.shape) to class probabilities (n, spec.classes).

    The images may have 1 or 3 colours and up to 32 x 32 pixels.
    """
    images = x = raw_images(spec)
    if tuned_blocks(hp) < 5:
        borders = [SIZE - side for side in spec.shape[:2]]
        x = layers.ZeroPadding2D([(border // 2, border - border // 2) for border in borders], name="pad")(x)
    x = preprocessed(x, spec, name="subtract_means")
    base = pretrained_base(keras.Input((SIZE, SIZE, 3)), spec)
    # VGG16's layers are added one by one, so that the result is a flat model. A map of one pixel is not pooled.
    for layer in base.layers[1:]:
        if not (layer.name.endswith("pool") and 1 in x.shape[1:3]):
            x = layer.from_config(layer.get_config())(x)
        if layer.name == "block3_pool":
            middle = x
    if spec.weights is not None:
        keras.Model(images, x).set_weights(base.get_weights())
    flat = [layers.Flatten(name=f"flat{index}")(depth) for index, depth in enumerate((middle, x))]
    x = layers.Concatenate(name="features")(flat)
    # Most features are 0 on most images, so their statistics need hundreds of batches (loss .192 with a momentum of .9,
    # .178 with .99).
    x = layers.BatchNormalization(momentum=0.99, name="features_norm")(x)
    x = layers.Dropout(hp.Float("features_dropout", 0.0, 0.6, step=0.1), name="features_dropout")(x)
    x = layers.Dense(hp.Int("head_units", 128, 1024, sampling="log"), activation="relu", name="head")(x)
    x = layers.Dropout(hp.Float("dropout", 0.2, 0.7, step=0.1), name="dropout")(x)
    return keras.Model(images, probabilities(x, spec), name="vgg16")


# %% [markdown]
# ## How it learns
#
# At first, the head learns alone. It gets nine tenths of the minutes but at most eight epochs, after which it no
# longer improves. The head starts with random weights, and its first, large corrections would destroy the pretrained
# filters before it. Then blocks 4 and 5 learn with it, or all five blocks. The *learning rate* is the size of the
# steps. In each stage it rises linearly during the first fifth of the steps (*warm-up*), and then falls linearly to
# 0.
#
# The head gets nine tenths because a few dozen batches of fine-tuning do harm. A slow CPU may have 160 seconds left
# for its fit. Of these, the head was given a quarter, half, three quarters or nine tenths, and reached a validation
# accuracy of .928, .934, .9385 and .9385. The 48, 32, 16 or 9 batches of fine-tuning in the rest of the time changed
# this to .928, .9305, .9365 and .938 (one seed, not logged). Where eight epochs take less than a quarter of the
# minutes, the share makes no difference.
#
# The optimizer *Muon* (Jordan, kellerjordan.github.io/posts/muon) makes the update of each convolution's kernel
# *orthogonal*, so that it moves equally far in all directions. The kernel keeps its norm, and a step rotates it by
# about the learning rate, in radians. This is the same for all thirteen kernels, although their scales differ. All
# other weights are updated by Adam, at a twentieth of that rate; in the first stage these are the only ones that
# learn. Fine-tuning first makes the pretrained filters worse before it improves them. With the head alone, the
# validation accuracy was .938. After one pass of all blocks over 54,000 mirrored and shifted images it was .9355 by
# Muon at .01, .924 at .03, and .927 by AdamW at 1e-4 (batches of 128, shifts of two pixels, a quarter of an hour on
# one core, one seed, not logged). After nine passes, rates of .02 to .04 are best.
#
# What the search may choose, and why from this range:
#
# - `features_dropout` (0 to 0.6): many of the 4,608 features are redundant.
# - `head_units` (128 to 1,024, logarithmic): fewer than 128 units cannot represent all features that matter. With
#   more than 1,024, the head would dominate the blocks that are tuned.
# - `dropout` (0.2 to 0.7): the head is where this network overfits.
# - `head_rate` (6e-3 to 6e-2, logarithmic): the rate of the first stage. For Adam this means 3e-4 to 3e-3, on new
#   dense layers after batch normalisation.
# - `fine_rate` (1e-3 to 6e-2, logarithmic): the rate of fine-tuning. Small steps suit filters that need only
#   adjustment; larger ones suit fits with enough passes to recover from them.
# - `tuned_blocks` (2 or 5): fine-tuning either the last two blocks, on kept activations, or all of them. The kept
#   activations are those of unchanged images. If nothing is frozen, each image is also mirrored every other time it
#   is seen, and shifted by up to a pixel (*data augmentation*). That takes nearly twice as long for each image, and
#   pays off in an hour. `fixed` prevents a search from trying it: in a trial of a minute it loses, whatever it would
#   gain later.
# - `batch_size` (128 or 256): either twice as many steps, or somewhat more images in the same minutes.
# - `weight_decay` (5e-5 to 5e-3, logarithmic): each step shrinks every weight except the kernels of convolutions by
#   rate × decay.
# - `label_smoothing` (0 to 0.1): training asks for a probability a little below 1 for the true class and distributes
#   the rest equally over all classes, because shirts, coats and pullovers are sometimes mislabelled or undecidable.


# %%
def recipe(hp):
    """Training with Muon: first the head alone, then with it the last two blocks of VGG16 or all five."""
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
        random_translation=1,
    )


# %% [markdown]
# ## The experiment
#
# `best` holds the best-known value of each hyperparameter. Every search uses these values for its first trial, and
# this file trains with them. On 54,000 images and with one seed, the validation accuracy was .938 after 8 epochs of
# the head alone, which take a minute on 2 cores, in addition to 3 minutes for the activations. After 290 batches of
# fine-tuning the last two blocks, which take four minutes more, it was .940 at a `fine_rate` of .003 and .940 at .01
# (.941 by AdamW at 4e-5). With 6,000 validation images, none of these differences is beyond chance. These runs are
# not logged.
#
# `best_in_an_hour` holds the values that replace some of these when the budget is an hour or more: all blocks learn,
# and there is less dropout, because images that are mirrored and shifted cannot be memorised as easily (.937 instead
# of .9355 after a pass of all blocks).
#
# These values were chosen on a GPU, where the nine passes that take an hour on two cores of a Xeon take one minute.
# The runs used this `build`, Muon and these batches, computed by Keras on JAX (two seeds; not logged). The validation
# accuracy was .955 with these values. In batches of 128 it was .9545 at a rate of .02, .954 at .03 and .04, .950 at
# .01, and .9525 at .06. Changes at a rate of .03: Cutout (a square of 8 pixels in each image is painted over) cost
# .25 points, dropouts of .3 and .5 cost .15, label smoothing of .1 cost .1, lower rates for the first blocks cost .1,
# shifts of two pixels cost nothing. Two alternatives at the same cost, with the border and with the first blocks
# frozen: tuning the last three blocks gave .9475, tuning the last two on mirrored images gave .944.

# %%
EXPERIMENTS = [
    Experiment(
        name="fashion-mnist-vgg16",
        question="How accurate are VGG16's ImageNet features on grey 28-pixel images of clothes, frozen or fine-tuned?",
        comparison="mlp-vs-cnn-vs-vgg16",
        topic=Topic("Three networks for clothes", "Which network recognises clothes best after minutes of training?"),
        dataset=FashionMNIST(),
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
        pretrained="VGG16",
    )
]

# %% [markdown]
# The table lists the layers of the network with these values. Its last two columns are found by building the network
# again, once for images in three colours and once for twice as many classes, and comparing the layers:
#
# - **Colours**: with three colours, `grey_to_rgb` is left out. No weight changes its shape, because VGG16 always
#   receives three colours.
# - **Classes**: only `probabilities` depends on them.

# %%
if __name__ == "__main__":
    table = run.layers(EXPERIMENTS[0], data.spec())
    run.show(table, "layers")

# %% [markdown]
# The next table shows how many weights learn in each stage: those of the layers after the last frozen one (with the
# running statistics of batch normalisation).

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
# This table shows what the search of the published study tried, best first (`reports/published/`). Only the last two
# blocks were tuned. Each row is one trial, a shortened final fit on a part of the images. Computing the activations
# leaves few minutes for trials. So this is a check of the best-known values rather than a search.

# %%
if __name__ == "__main__":
    run.show(run.trials(EXPERIMENTS[0]), "trials")

# %% [markdown]
# ## Training
#
# The first time, the activations of the frozen blocks are computed for all training images, which takes some minutes.
# Later runs read them from disk. Then the speed of this machine is measured on a few batches of each stage, and the
# epochs are planned so that they end with the minutes. A tenth of the training images are kept aside as *validation
# images*. After training, the model is exported and loaded again in a fresh process.

# %%
if __name__ == "__main__":
    trained = [run.train(experiment) for experiment in run.chosen(EXPERIMENTS)]

# %% [markdown]
# ## How it went
#
# The dashed line separates the two stages. Left of it only the head learns, right of it VGG16's blocks learn too: a
# step in the curves at this line is the effect of fine-tuning. Dropout makes the task harder during training than
# during validation, so the training accuracy can be the lower one. Where the training accuracy rises but the
# validation accuracy does not, the network memorises the images (*overfitting*).

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
# The table shows the validation accuracy at the end of each stage, and the minutes it took. Compare the difference
# with the effect of chance: with 6,000 validation images it is about ±.6 points at an accuracy of 94 %.
#
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
# of the two. The matrix shows which class (row) is predicted as which class (column), in percent.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.per_class_bars(), "classes")
        run.show(one.confusion_matrix(), "confusion")
        run.show(one.examples(), "examples")

# %% [markdown]
# ## How well the network copes with shifts
#
# The table shows the accuracy on the first 500 test images (2,000 in the other two notebooks), shifted to the right.
# VGG16's templates slide over the image, but `features` keeps 4 × 4 positions apart, and the head has never seen a
# shifted garment, unless all blocks were tuned. Compare the same table in the other two notebooks.

# %%
if __name__ == "__main__":
    for one in trained:
        run.show(one.when_shifted(images=500), "shifted")

# %% [markdown]
# ## What was found
#
# The tables show the three networks of the published study (`docs/explanation/results.md` says how it was measured),
# and their differences, compared image by image. `p` is the probability of a difference at least this large if both
# networks were equally good.
#
# - Pretrained features are worth a great deal from the beginning: after a minute of training, the head is more
#   accurate than the perceptron becomes in all its time, and has most of the accuracy that the small convolutional
#   network reaches from scratch.
# - They are worth most at the middle depth, where the network represents textures but not yet objects (see the
#   figures under *Why two depths*).
# - Fine-tuning in the remaining minutes had an effect no larger than chance, both in the fit above and in the study.
#   In an hour it pays off, and the more passes fit, the more it brings. Six passes of all blocks, by Muon
#   on mirrored and shifted images, brought .9 points, from .935 to .944 ([.6, 1.3]).
#   Without the border, four passes on a CPU of half the speed brought 1.4 points, from .931 to .945 ([1.0, 1.8]), and
#   twelve passes on a CPU with AVX-512 (fast vector instructions) brought 2.0 points, from .931 to .951 ([1.6, 2.4]).
#   Twelve epochs of the last two blocks, by AdamW, brought half a point, from .9335 to .938 (.46 points [.22, .71];
#   one seed each, the commands are in bench/README.md).
# - Neither in a quarter of an hour nor in an hour has VGG16 a lead beyond chance over the small network of
#   `fashion_mnist_cnn.py`, which has a fraction of the weights and needs a fraction of the time for each image. With
#   sixty thousand images and two cores, pretraining saves time at first, but brings no lead that these test images
#   could show.

# %%
if __name__ == "__main__":
    run.show(run.published("mlp-vs-cnn-vs-vgg16.accuracy"), "published accuracy")
    run.show(run.published("mlp-vs-cnn-vs-vgg16.pairs"), "published differences")
    run.show(run.published("mlp-vs-cnn-vs-vgg16.cost"), "published cost")
