"""What a CPU needs to be fast; tests compare each piece with a plain reference.

Modules:
    attention  causal attention in blocks
    loss       cross-entropy in chunks, so that not all logits are held at once
    norms      the division of RMS-norm
    packed     weights in layouts that are fast for generation, and in int8
"""
