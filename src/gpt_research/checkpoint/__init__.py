"""Checkpoints: tensors and small values in files, whole or not there.

Modules:
    files    names, files and verification; `load_newest` finds where a run resumes
    choice   which checkpoint all ranks load
    average  the mean of several checkpoints' weights
    saver    writing, on a thread, by one process or by several
    weights  the tensors of a module: the rows to save, and the rows to restore
"""
