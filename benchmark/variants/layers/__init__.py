"""Layers that torch has not: normalizations of feature maps [N, C, H, W], and reparametrizations of weights.

A fully connected network's hidden units are maps of 1 x 1, so each layer here serves both families.
"""
