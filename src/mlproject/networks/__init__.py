"""Networks: their cost, the layers that depend on the data, and the weights of the pretrained base."""
