"""Texts of a small language that a small model can learn."""

from __future__ import annotations

import random


def make_text(seed: int, sentences: int) -> str:
    """Return text with a grammar: learnable, and another one for every seed."""
    rng = random.Random(seed)
    people, things = (
        ["the king", "a fool", "my lord", "the queen", "Romeo"],
        ["crown", "sword", "letter", "horse"],
    )
    verbs = ["takes", "gives", "loves", "hates", "breaks"]
    lines = [
        f"{rng.choice(people)} {rng.choice(verbs)} the {rng.choice(things)} {rng.randrange(1000)}."
        for _ in range(sentences)
    ]
    return "\n".join(lines)
