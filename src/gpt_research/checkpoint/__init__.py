"""Checkpoints: tensors and small values in files, whole or not there."""
