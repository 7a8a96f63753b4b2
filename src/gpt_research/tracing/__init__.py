"""Tracing: from a text to the training data that has it, and to the steps that read it.

Modules:
    kernels         loops over tokens and suffix arrays, compiled by numba
    compiled        the same loops, loaded when one is first called
    split_tokens    the tokens of a split as one row
    suffix_array    sorts the suffixes of a split, in memory or in parts that are merged
    index           the index of a data set, as a folder: how it is made and opened
    matches         the longest parts of a text that a data set has
    places          from a position to document, source file and the text around
    losses          the loss of tokens at each checkpoint
    memorisation    how much of some texts is copied from the training split
    trace           `Tracer`: where a text stands, and which steps of a run read it there
"""
