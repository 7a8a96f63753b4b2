"""Seeds: every random draw has a stream of its own, named by what the draw is for."""

from __future__ import annotations

import hashlib


def seed_for(*key: int | str) -> int:
    """Return the seed of one random stream, a pure function of its key.

    A key names what is drawn, such as (seed, "dropout", step, rank).
    """
    # Python's own hash of a text differs from process to process, so a digest is taken. `repr`
    # keeps ("ab", "c") and ("a", "bc") apart.
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch and numpy both take 63 bits
