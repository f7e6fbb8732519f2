"""Training: one fit of one network, from its batches to its checkpoints."""
