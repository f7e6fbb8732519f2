"""Networks: their cost, the layers that depend on the data, and the pretrained ones.

* `contract` says what a network of an experiment has to keep to.
* `cost` counts multiply-adds, memory and speed.
* `explain` finds the layers that depend on the number of colours and of classes, and `walk` lists the layers of a network.
* `applications` makes the networks of `keras.applications`, and `pretrained` finds their weights.
"""
