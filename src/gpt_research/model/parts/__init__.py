"""The parts of a model, each in several kinds; `variants` has their tables.

Modules:
    attention     heads, groups of heads, norms of queries and keys
    costs         FLOPs of weights
    feed_forward  the network between attention layers, and its activations
    norms         LayerNorm, RMSNorm
    positions     learned, sinusoidal, rotary, ALiBi, none
"""
