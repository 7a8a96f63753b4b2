"""Looking inside: what a model attends to, expects and learns, from its own forward pass.

Modules:
    watching     a forward pass that is watched, and in which parts are switched off
    readout      from hidden states to surprise, rank, entropy and the likeliest tokens
    predictions  what a model expects of a text, token by token
    attention    how each head attends
    lens         what a model would predict after each of its blocks
    switching    what changes if heads or blocks are switched off
    checkpoints  the checkpoints of runs, kept open as long as there is room
    learning     when a run learnt a text
    validation   the loss on each document of the validation split, and at each position
"""
