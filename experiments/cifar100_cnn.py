# %% [markdown]
# # Do fine labels teach a network more than coarse ones?
#
# Every image of CIFAR-100 has two labels: one of 100 *fine* classes (maple, oak, ...) and one of 20 *superclasses*,
# each of which consists of five fine classes (trees, ...). Suppose that only the superclass is wanted. We can train a
# network on the 20 coarse labels. Or we can train it on the 100 fine labels and replace each predicted class by its
# superclass. The second network has to learn more from the same images, but each of its labels also says more about
# the image.
#
# Two experiments train the same network in these two ways: `cifar100-coarse-cnn` and `cifar100-fine-cnn`. Both use
# the same objects for network, training, search space and best-known values. Both also set the same images aside, and
# plan their epochs from the same measurement of the machine's speed. This makes them a fair pair; together they form
# the comparison `coarse-vs-fine`.
#
# What to expect: with all images and its full training schedule, a Wide ResNet reaches the same accuracy on the
# superclasses either way, 85.04 % with coarse labels and 85.05 % with fine ones. With a fifth of the images, fine
# labels win: 71.51 % against 68.99 % (Chen et al., arXiv 1901.07012; `TOPIC` below has their other figures). A
# ResNet-18 classifies 75.6 % of the test images correctly by fine class after 200 epochs
# (github.com/weiaicunzai/pytorch-cifar100). The networks in this file train for minutes.
#
# This file is used in three ways. The tuner imports it to get `build`, `recipe` and `EXPERIMENTS`. Jupytext converts
# it to a notebook. The command `python experiments/cifar100_cnn.py` runs it as a program. The code under
# `if __name__ == "__main__":` runs only in the notebook and in the program.

# %%
from dataclasses import replace

# mlproject comes before Keras, because it sets environment variables that TensorFlow reads when it is imported.
from mlproject import evaluation, plots, program
from mlproject.datasets import CIFAR100
from mlproject.experiment import Experiment
from mlproject.layers import max_and_mean, probabilities, raw_images, residual_groups, standardised, whitened
from mlproject.recipe import Recipe, Stage
from mlproject.report.figures import dumbbells
from mlproject.topic import Topic

import keras
import numpy as np
import pandas as pd
from keras import layers
from scipy import stats

# %% [markdown]
# ## The data
#
# CIFAR-100 (Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009) contains colour photographs of
# 32 × 32 pixels, equally many of each class. The network learns from the training images. The test images are used
# only once, at the end, so that the score says how well the network classifies photographs it has never seen. The
# last line of the table is the accuracy of always predicting the same class. A network that has learnt anything must
# exceed it.

# %%
if __name__ == "__main__":
    run = program.ExperimentScript(minutes=8)
    data = run.load(CIFAR100(), "fine")
    picture = plots.samples(data.train_images, data.train_labels, data.class_names, data.superclasses, "CIFAR-100")
    run.show(picture, "data")
    run.show(program.facts(data), "facts")

# %% [markdown]
# The picture shows one image of each class; each row is a superclass. Some superclasses share a look (flowers,
# trees), others only an idea (*vehicles 2* contains a rocket and a lawn mower). Both facts matter below.
#
# ## The network, layer by layer
#
# A *convolution* slides small templates (its *kernel*) over the whole image, so that it recognises a wheel wherever
# the wheel is. At each position, each template gives one number, which is large where the image matches the template.
# The grid of one template's numbers is called a *channel*. Below, shapes are written as height × width × channels,
# and `w` stands for the hyperparameter `width`. The structure is taken from NAVIER-STOKED, the fastest network we
# know of for these classes (github.com/AIDDA-Institute/CIFAR-100-speedrun: 75.2 % after 8.75 epochs; an *epoch* is
# one pass over all training images). Here all widths are multiples of a single number, `w`.
#
# 1. `images` takes the 32 × 32 × 3 bytes as they are stored.
# 2. `standardise` (shape unchanged) shifts and scales each colour to mean 0 and standard deviation 1, using the
#    statistics of the training images. It is part of the model, so whoever loads the model need not do it separately.
# 3. `whiten` (32 × 32 × 3 to 31 × 31 × 24): neighbouring pixels are nearly alike, and so are the three colours of one
#    pixel. This convolution transforms each patch of 2 × 2 pixels into twelve uncorrelated numbers, all with standard
#    deviation 1 (*whitening*), and adds their negatives. These numbers represent brightness, colour contrasts and
#    edges. The kernel is computed from the training images and does not change during training (it is *frozen*).
#    Without whitening, the first layers would have to learn this transformation themselves, in steps whose size is
#    dictated by the direction with the largest variance. `whiten_silu`, the activation after it, weakens values
#    below 0. Nothing is lost by that, because the negatives keep them.
# 4. `down1` (31 × 31 × 24 to 15 × 15 × w) consists of four layers:
#    - `down1_conv` is a convolution with `w` templates, each of which covers 3 × 3 pixels in 24 channels.
#    - `down1_pool` is a *max-pooling*: it keeps the largest of four neighbouring values. It matters that there is an
#      edge, but less exactly where. Without pooling, all following layers would cost four times as much. It comes
#      directly after the convolution because the next two layers would cost more than the convolution itself on a map
#      of 31 × 31 (this order is from Jordan's airbench, arXiv 2404.00498).
#    - `down1_norm` is *batch normalisation* (Ioffe & Szegedy, arXiv 1502.03167): it brings each channel to mean 0 and
#      standard deviation 1 over the batch of images. Without it, the learning rate would have to be much lower.
#    - The *activation* makes the network non-linear. Without it, two convolutions in a row would be equivalent to
#      one.
#
#    From here on, the convolutions pad the image with zeros beyond its border (*same* padding), so that only pooling
#    makes it smaller. Pooling leaves out an odd last row and column: 31 becomes 15.
# 5. `pair1` (shape unchanged): two convolutions of 1 × 1 with `w` channels between them mix the channels at each
#    position. A *shortcut* (residual connection) bypasses them: their result is added to their input (He et al.,
#    arXiv 1512.03385). Without the shortcut, each layer would have to pass on everything that the later layers need;
#    with it, the pair only has to learn a correction. Templates of 3 × 3 would cost nine times as much here, where
#    the image is still large.
# 6. `down2`, `pair2` (15 × 15 × w to 7 × 7 × 4w) recognise parts: eyes, wheels, leaves. The pair has templates of
#    3 × 3 and 1 × 1, with 3w channels between them.
# 7. `down3`, `pair3` (7 × 7 × 4w to 3 × 3 × 12w) recognise whole objects. The first convolution has templates of
#    2 × 2, the pair has templates of 3 × 3 with 8w channels between them. A template of 2 × 2 fits into a row of
#    seven pixels at six positions, which pooling combines in three pairs. A seventh position, half of it beyond the
#    border, would be left out by pooling anyway. The network is wide only where the image is small, because width is
#    cheap there and a hundred classes need many features.
# 8. `head` (3 × 3 × 12w to 24w) takes each channel's maximum (is the feature present at all?) and its mean (how much
#    of it is there?). Flattening would instead give 108w numbers that also say where a feature is, so the last layer
#    would have to learn each feature separately for each position. The network could then also not process images of
#    another size, which training needs (see below).
# 9. `scale` (shape unchanged) makes these numbers seven times smaller. The scores of the classes then start near 0
#    and change less in each step. Without it, the last layer becomes confident before there are any useful features.
# 10. `probabilities` (24w to 20 or 100) computes one score for each class. *Softmax* turns the scores into positive
#     numbers that add up to 1.
#
# Initially, all convolutions except `whiten` pass their first channels on unchanged (*Dirac initialisation*); their
# remaining templates are random. A deep network then starts as one that preserves the image. With random weights
# alone it would scramble the image nine times, once in each convolution.


# %%
def build(hp, spec):
    """The network: from uint8 images (n, *spec.shape) to class probabilities (n, spec.classes)."""
    width = hp.Int("width", 32, 64, step=16)
    activation = hp.Choice("activation", ["relu", "silu"])
    images = raw_images(spec)
    x = whitened(standardised(images, spec), spec)
    x = layers.Activation(activation, name=f"whiten_{activation}")(x)
    x = residual_groups(x, width, activation)
    return keras.Model(images, probabilities(max_and_mean(x, "head"), spec, scaled=True), name="cifar_cnn")


# %% [markdown]
# ## How it learns
#
# The network processes the images in batches. For each batch, the *loss* (cross-entropy, which is high where the
# network was confident and wrong) determines the direction in which each weight should move. Plain gradient descent
# moves the weights mostly along the few directions to which the loss is most sensitive. The optimizer *Muon* (Jordan,
# kellerjordan.github.io/posts/muon) makes the update of each convolution's kernel *orthogonal*, so that it moves
# equally far in all directions. *Momentum* adds part of the previous updates to each new one, so that updates that
# contradict each other cancel out. The few weights that are not kernels of convolutions are updated by Adam, at .05
# times Muon's learning rate. The *learning rate* is the size of the steps. It rises linearly during the first quarter
# of the steps (*warm-up*), while the weights are still random. Then it falls linearly to 0, so that the weights
# settle in the last steps.
#
# Training begins with small images, of 21 pixels for the first 15 % of the steps and of 24 pixels up to half of the
# steps, and ends with the full 32 (*progressive resizing*). The small images take 43 and 56 % of the time of
# full-size images, and are sufficient for learning the rough structure of an image. The sizes are those of
# NAVIER-STOKED, except for one pixel: with 20 pixels, `down3` would lose a row. Each image is also shifted at random
# by up to two pixels, and mirrored every other time it is seen (*data augmentation*). To the network these are new
# photographs of the same object.
#
# What the search may choose, and why from this range:
#
# - `width` (32, 48 or 64 channels; multiples of 16, because oneDNN, TensorFlow's library for computing on CPUs,
#   processes 16 channels at a time): the cost grows with the square of the width, so a wider network pays off only
#   with more minutes.
# - `activation` (relu replaces negative values by 0; silu does so smoothly, as x times its sigmoid): silu learns more
#   in an epoch, relu completes more epochs in the same time.
# - `learning_rate` (0.05 to 0.4, logarithmic): the rate of Muon. Muon keeps the norm of each kernel constant, so a
#   rate of .1 rotates a kernel by up to 6 degrees in a step. If the rate is too low, the minutes are wasted; if it is
#   too high, the weights never settle.
# - `weight_decay` (5e-4 to 2e-2, logarithmic): each step shrinks the weights outside the convolutions by
#   rate × decay. The kernels of convolutions keep their norm instead.
# - `label_smoothing` (0 to 0.3): training asks for a probability a little below 1 for the true class and distributes
#   the rest equally over all classes, because the classes of one superclass overlap.
# - `batch_size` (128, 256, 512): smaller batches give more steps, which matters when there are few epochs. Larger
#   batches use two cores better, and share the cost of making an update orthogonal among more images.
# - `erase` (0 to 12 pixels): the side of a square that is painted over at a random position in each image (*Cutout*,
#   DeVries & Taylor, arXiv 1708.04552; the field `cutout` of the recipe), so that no class depends on a single
#   detail. It is meant for fits that see the images so often that they memorise them: in an hour, the network with
#   coarse labels reaches .97 accuracy on its training images, even with such squares.


# %%
def recipe(hp):
    """Training with Muon on mirrored and shifted images, with or without Cutout; the first steps use small images."""
    return Recipe(
        stages=(Stage("training", hp.Float("learning_rate", 0.05, 0.4, sampling="log"), max_epochs=60),),
        batch_size=hp.Choice("batch_size", [128, 256, 512]),
        optimizer="muon",
        weight_decay=hp.Float("weight_decay", 5e-4, 2e-2, sampling="log"),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.3, step=0.05),
        warmup=0.25,
        flip=True,
        random_translation=2,
        cutout=hp.Int("erase", 0, 12, step=4),
        progressive_resizing=((0.15, 21 / 32), (0.5, 24 / 32)),
    )


# %% [markdown]
# ## The experiments
#
# `best` holds the best-known value of each hyperparameter. Every search uses these values for its first trial, and
# this file trains with them. The longer a fit is, the lower its best learning rate. In two and a half minutes, which
# allow 2.4 passes over the images, a rate of .2 is better than .1. In eight minutes, which allow eight passes, .1 is
# better. With the coarse labels and Cutout, the best rate in that time is .08 (accuracy .691 at .02, .756 at .04,
# .784 at .08, .763 at .2; one seed each, not logged; the *seed* determines all random numbers, such as the initial
# weights). At .2, the training accuracy even falls while the rate is near its peak.
#
# Eight passes with the fine labels gave a validation accuracy of .6996 (the accuracy on *validation images*, which
# are part of the training images but are kept out of training). The following changes, one at a time and with three
# seeds each, changed it by this many percentage points: no mirroring: −.9; relu: −1.1; a rate of .07: −.35, of .14:
# −.5, of .2: −1.8; a weight decay of 1e-2: −.4; no shifts: −.3; Cutout with squares of 4 pixels: −.25; batches of 512
# at 1.4 times the rate: ±0; label smoothing of .1 or .3: ±0; shifts of one pixel, or a warm-up in a tenth of the
# steps: +.2. So none of these changes is an improvement beyond chance. (These runs used this `build`, Muon and these
# batches, computed by Keras on JAX on a GPU; `bench/README.md` has the table.)
#
# Earlier, single changes were compared in fits of two and a half minutes with the fine labels at a rate of .2, where
# the validation accuracy was .607: pairs without shortcut: −3.3 points; no `scale`: −2.4; no small images: −2.1; no
# label smoothing: −2.0; `whiten` learnt instead of computed: −1.8; relu: −.8; width 48: −6.6 (one seed each, so a
# difference of one point can be chance; `bench/README.md` has the whole table and its command). Two more changes were
# measured after three epochs and not logged: Adam's rate at .02 times Muon's instead of .05 gave −.8 points, at .1 no
# change. With two seeds each, gelu (another smooth activation) instead of silu gave +.4 and −.7 points; Lookahead
# (which regularly averages the weights with earlier ones; Zhang et al., arXiv 1907.08610, with the schedule of
# Jordan's airbench) gave +.4 and −1.2 points. Both were left out. The coarse labels were not tried in these fits.
#
# `best_in_an_hour` holds the values that replace some of these when the budget is an hour or more. The width is that
# of NAVIER-STOKED. It costs four times as much, but in 54 minutes the network still sees all images 22 times. With as
# many passes, the same GPU, batches of 512 and the fine labels, the validation accuracy was .7655 at a rate of .2
# (two seeds), .758 at .12 and .761 at .28. With Cutout (8 pixels) it was .757 at .2, .759 at .12, .749 at .28 and
# .731 at .4 (one seed each). With the coarse labels, no rates were compared over an hour. On a CPU that has only AVX2
# (an older and slower set of vector instructions than AVX-512), an hour's budget allowed eight passes at .2. Test
# accuracy was .740 with the fine labels and .8235 with the coarse ones (bench/README.md).

# %%
TOPIC = Topic(
    title="Fine and coarse labels",
    question="Do fine labels teach a network more about the superclasses than coarse labels?",
    published={
        "training images": ["20%", "40%", "60%", "80%", "100%"],
        "coarse": [68.99, 77.90, 81.74, 83.33, 85.04],
        "fine": [71.51, 79.11, 81.92, 83.24, 85.05],
    },
    source=(
        "Accuracy on the superclasses of a Wide ResNet, trained in full on parts of CIFAR-100: Chen et al., 2018, "
        "https://arxiv.org/abs/1901.07012, and their notebook, https://github.com/cmu-enyac/Label-Granularity"
    ),
)
COARSE = Experiment(
    name="cifar100-coarse-cnn",
    question="How well does the network predict the 20 superclasses when it is trained on their labels only?",
    comparison="coarse-vs-fine",
    topic=TOPIC,
    dataset=CIFAR100(),
    labels="coarse",
    build=build,
    recipe=recipe,
    best={
        "width": 32,
        "activation": "silu",
        "learning_rate": 0.1,
        "weight_decay": 4e-3,
        "label_smoothing": 0.2,
        "batch_size": 256,
        "erase": 0,
    },
    best_in_an_hour={"width": 64, "batch_size": 512, "learning_rate": 0.2},
)
FINE = replace(
    COARSE,
    name="cifar100-fine-cnn",
    labels="fine",
    question=(
        "How well does the network predict the 100 fine classes, and does training on their labels make it better at "
        "predicting the 20 superclasses?"
    ),
)
EXPERIMENTS = [COARSE, FINE]

# %% [markdown]
# ## Which layers depend on the colours, and which on the classes
#
# The table lists the layers of the network with these values. Its last two columns are found by building the network
# again, once for grey images and once for twice as many classes, and comparing the layers:
#
# - **Colours**: the templates of `whiten` have 2 × 2 × *colours* weights, and there are 8 × *colours* templates: one
#   for each number of a patch and one for its negative. So `down1_conv` has 9 × 8 × *colours* weights for each of its
#   channels. `standardise` has one mean and one standard deviation for each colour. All layers after `down1_conv` see
#   only channels, so they do not depend on the colours.
# - **Classes**: `probabilities` has 24w weights and a bias for each class. No layer before it depends on the number
#   of classes.
#
# The number of parameters of a convolution is pixels of a template × channels before × channels after, whatever the
# size of the image: a template has nine pixels if it is 3 × 3, four if it is 2 × 2.

# %%
if __name__ == "__main__":
    table = run.layers(FINE, data.spec())
    run.show(table, "layers")

# %% [markdown]
# So the two networks of this file differ in their last layer only:

# %%
if __name__ == "__main__":
    coarse_table = run.layers(COARSE, replace(data.spec(), classes=len(data.superclass_names)))
    pair = coarse_table[["layer", "parameters"]].merge(
        table[["layer", "parameters"]], on="layer", suffixes=(" coarse", " fine")
    )
    total = pd.DataFrame([{"layer": "all layers"} | pair.drop(columns="layer").sum().to_dict()])
    run.show(pd.concat([pair[pair["parameters coarse"] != pair["parameters fine"]], total]), "difference")

# %% [markdown]
# These tables show what the searches of the published study tried, best first (`reports/published/`): first with the
# fine labels, then with the coarse ones. Each row is one trial. A trial is a shortened final fit: it lasts about a
# minute, uses a part of the images, and makes fewer passes over them (`bench/README.md` explains why). Its accuracy
# is therefore far below that of the final fit, and only the order of the trials counts. No trial beats the best-known
# values by more than chance, so the final fits used the best-known values (column `refitted`). A network of width 64
# in batches of 512 has made only about forty steps when its trial ends. What it reaches in an hour can be found out
# only by longer fits.

# %%
if __name__ == "__main__":
    run.show(run.trials(FINE), "trials fine")
    run.show(run.trials(COARSE), "trials coarse")

# %% [markdown]
# ## Training
#
# First, the speed of this machine is measured on a few batches. From that the number of epochs is planned, the same
# for both networks, so that the learning rate reaches 0 when the minutes end. A tenth of the training images are kept
# aside as *validation images*, also the same for both. After training, each model is exported and loaded again in a
# fresh process.

# %%
if __name__ == "__main__":
    trained = {experiment.labels: run.train(experiment) for experiment in run.chosen(EXPERIMENTS)}

# %% [markdown]
# ## How it went
#
# The left panel shows the accuracy, the right one the loss. Validation images always have the full size. In the first
# half of training the training images are smaller, so to the network the validation images look enlarged, and the
# validation curve can be low and jump. As the learning rate falls to 0, both curves settle; most of the last points
# of accuracy are gained there. It is no mistake if the training accuracy is below the validation accuracy: training
# images are shifted and mirrored, and they are counted while the network is still learning. Where the training
# accuracy rises but the validation accuracy does not, the network memorises the images (*overfitting*). In a few
# minutes this hardly happens.

# %%
if __name__ == "__main__":
    for one in trained.values():
        run.show(one.learning_curves(), f"curves {one.experiment.labels}")

# %% [markdown]
# ## What the networks learnt
#
# The networks are now evaluated on the test images, for the first and only time. `low` and `high` are the 95 %
# confidence interval of the accuracy (Wilson's score interval): how much the result could differ by chance with other
# test images. The interval does not include the effect of the random start, which is .2 to .3 points on this data set
# (Jordan, arXiv 2304.01910). The two rows cannot be compared yet: guessing one of 20 classes is easier than guessing
# one of 100.

# %%
if __name__ == "__main__":
    run.show(pd.DataFrame([one.score() for one in trained.values()]), "score")

# %% [markdown]
# The figures show the scores of each class. *Precision* is the share of the images predicted to be, say, a maple that
# are maples. *Recall* is the share of the maples that are predicted to be maples. F1 is the harmonic mean of the two.
# Each fine class has 100 test images, so a recall of 75 % can be off by 8 points by chance alone.

# %%
if __name__ == "__main__":
    for one in trained.values():
        run.show(one.per_class_bars(), f"classes {one.experiment.labels}")

# %% [markdown]
# Each matrix shows which class (row) is predicted as which class (column). In the matrix of the fine classes, the
# squares along the diagonal are the superclasses: a confusion inside a square is an error for the fine class, but not
# for its superclass.

# %%
if __name__ == "__main__":
    for one in trained.values():
        run.show(one.confusion_matrix(), f"confusion {one.experiment.labels}")
        run.show(one.examples(), f"examples {one.experiment.labels}")

# %% [markdown]
# ## Coarse against fine
#
# Which network distinguishes the 20 superclasses better? To compare both on one scale, the predictions of the fine
# network are aggregated to superclasses in two ways. The first takes the superclass of the most probable fine class
# (*argmax*). The second adds up the five probabilities of each superclass and takes the superclass with the largest
# sum (*sum*). The sum also uses the information of an undecided network: if it hesitates between maple and oak, both
# count as *trees*. Both networks predict the same images, so they are compared image by image. `p` is the p-value of
# the exact McNemar test: how often a difference at least this large would arise by chance if both networks were
# equally good.

# %%
if __name__ == "__main__" and len(trained) == 2:
    coarse, fine = trained["coarse"], trained["fine"]
    truth, superclass_of = coarse.data.test_labels, fine.data.superclass_of
    sums = evaluation.aggregate_by_sum(fine.probabilities, superclass_of)
    correct = {
        "coarse labels": coarse.correct,
        "fine labels, argmax": evaluation.aggregate_by_argmax(fine.probabilities, superclass_of) == truth,
        "fine labels, sum": sums.argmax(axis=1) == truth,
    }
    scores = [{"trained on": name, "accuracy on superclasses": hits.mean()} for name, hits in correct.items()]
    run.show(pd.DataFrame(scores), "coarse against fine")
    differences = [
        {"trained on": name} | evaluation.paired_difference(hits, coarse.correct)
        for name, hits in correct.items()
        if name != "coarse labels"
    ]
    run.show(pd.DataFrame(differences), "difference from coarse labels")

# %% [markdown]
# The same comparison for each superclass: F1 of the network trained on coarse labels, of the one trained on fine
# labels (sum), and the difference, largest first.

# %%
if __name__ == "__main__" and len(trained) == 2:
    by_sum = evaluation.per_class(truth, sums.argmax(axis=1), coarse.data.class_names)
    superclasses = pd.DataFrame({"superclass": by_sum["class"], "coarse": coarse.per_class["f1"], "fine": by_sum["f1"]})
    superclasses["difference"] = superclasses["fine"] - superclasses["coarse"]
    run.show(superclasses.sort_values("difference", ascending=False), "superclasses")

# %% [markdown]
# ## Which fine classes are easier than their superclass, and why?
#
# The figure compares the F1 of each fine class (trained on fine labels) with the F1 of its superclass (trained on
# coarse labels). On the left are the classes furthest above their superclass, on the right those furthest below.

# %%
if __name__ == "__main__" and len(trained) == 2:
    ranked = fine.per_class.merge(
        coarse.per_class[["class", "f1"]], left_on="superclass", right_on="class", suffixes=("", " of superclass")
    )[["class", "superclass", "f1", "f1 of superclass"]]
    picture = dumbbells(
        ranked.rename(columns={"f1": "first", "f1 of superclass": "second"}),
        ("fine class (trained on fine labels)", "its superclass (trained on coarse labels)"),
        ("Fine class easier than its superclass", "Fine class harder than its superclass"),
        "F1 of a fine class and of its superclass",
        fine.title,
    )
    run.show(picture, "easier and harder")

# %% [markdown]
# **Hypothesis.** A fine class has a lower F1 than its superclass when it looks like the other classes in that
# superclass (boy and girl, maple and oak): confusing them is an error for the fine class but not for the superclass.
# A fine class has a higher F1 when it looks distinctive (a skunk among the medium mammals), while the other classes
# lower the F1 of the superclass.
#
# If this is true, then a class falls further below its superclass the larger the share of its errors is that stay
# inside the superclass. The table is sorted by the difference in F1; `inside` is that share. The last table has
# Spearman's rank correlation between the two (−1: they rank the classes in exactly opposite order, 0: no relation),
# and `p`, the probability of a correlation at least this strong if there were no relation.

# %%
if __name__ == "__main__" and len(trained) == 2:
    wrong = ~fine.correct
    inside = superclass_of[fine.predictions] == superclass_of[fine.data.test_labels]
    ranked["difference"] = ranked["f1"] - ranked["f1 of superclass"]
    ranked["errors"] = np.bincount(fine.data.test_labels[wrong], minlength=len(ranked))
    ranked["inside"] = np.bincount(fine.data.test_labels[wrong & inside], minlength=len(ranked)) / ranked[
        "errors"
    ].clip(1)
    run.show(ranked.sort_values("difference", ascending=False), "ranked")
    rank = stats.spearmanr(ranked["inside"], ranked["difference"])
    run.show(pd.DataFrame([{"rank correlation": rank.statistic, "p": rank.pvalue}]), "hypothesis")

# %% [markdown]
# ## What was found
#
# The tables below are those of the published study (`docs/explanation/results.md` says how it was measured). The
# tables above are from a fit without a search, on nine tenths of the images. In both, the network trained on fine
# labels predicts the correct superclass more often than the network trained on coarse labels, with the same images
# and the same number of steps. The tables give the size of the difference and its uncertainty. So with few epochs,
# the additional information in fine labels is worth more than having fewer classes to distinguish. This agrees with
# the gain of the Wide ResNet on a fifth of the images, and does not contradict its tie with all images and a full
# schedule. With an hour for each experiment, a network twice as wide was also better with fine labels: by 1.5 points
# with sums [.8, 2.1] (bench/README.md).
#
# Summing the probabilities is, if anything, better than taking the most probable class: it leads by half a point in
# the hour and in the fit above, and by about as much in the study. In the fit above and in the study the skunk is
# furthest above its superclass. Girl, boy, man and woman are the four classes furthest below in the study, and four
# of the five furthest below in the fit. Most of their errors are confusions with other people, as the hypothesis
# predicts. But this is one cause among others. In the fit above, the otter is far below its superclass with most of its
# errors outside it, and the bear with nearly all of them: both look like animals of other superclasses. The rank
# correlation above is far from −1.

# %%
if __name__ == "__main__":
    run.show(run.published("coarse-vs-fine.generalised"), "published accuracy")
    run.show(run.published("coarse-vs-fine.generalised-pairs"), "published differences")
