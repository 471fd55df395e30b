"""Losses, to be minimised: pure functions of tensors, and in `terms` of views, which methods are made of.

Shapes everywhere: logits (B, T, V) already stand at the answer positions, `logits[:, t]` predicting `labels[:, t]`;
labels (B, T) hold -100 where an answer is shorter than T. A mean over tokens is taken within each answer first and
over the answers afterwards, so a batch split into micro-batches or over processes has the same gradient; `mean` takes
another. KL divergences carry their direction in the name.
"""
