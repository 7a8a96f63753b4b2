"""What compressors need for a text, as a report shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Compressed:
    """What one compressor needs, in bits for each byte of validation text."""

    name: str
    alone: float
    given: float
    """Given the training text."""


@dataclass(frozen=True)
class Measured:
    """What the compressors need for the validation text of a data set."""

    rows: list[Compressed]
    training_bytes: int
    """Bytes of training text that they were given, and those that there are."""
    all_training_bytes: int
    validation_bytes: int
    all_validation_bytes: int
