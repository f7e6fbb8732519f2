"""Networks: what they cost, what in them depends on the data, and the weights of the pretrained base."""
