"""What one run of an experiment came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["done", "diverged", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What a run came to. A number is None if it is not known."""

    seed: int
    horizon: float
    folder: str
    """Run folder, from that of the experiment."""
    state: State
    why: str
    """Why it did not end well; empty if it did."""
    steps: int
    tokens: int
    seconds: float
    """Time of training, evaluations and saves with it."""
    tokens_per_s: float | None
    """Median speed of the steps alone."""
    loss: float | None
    """Validation loss of the last step, in nats a token, over all corpora."""
    bits_per_byte: float | None
    corpora: Mapping[str, Mapping[str, float]]
    """The two by corpus."""
    weights_sha256: str
