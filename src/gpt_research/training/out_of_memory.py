"""Memory that ran out is the user's to mend, so it is one sentence with a remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from gpt_research.base.errors import UserError

REMEDY_OF_BUILDING = (
    "Weights, gradients and optimizer state must fit before the first step. Make the model smaller, spread it over "
    "several devices with --parallel fsdp, or end what else uses the memory (nvidia-smi shows it for a card)."
)


@contextlib.contextmanager
def out_of_memory_is_the_users(when: str, remedy: str) -> Iterator[None]:
    """Turn the errors of a device or a host without free memory into a `UserError`.

    Args:
        when: follows "Out of memory", such as "with micro_batch 8".
        remedy: a sentence or several.

    Raises:
        UserError: memory ran out in the block.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if isinstance(error, RuntimeError) and "out of memory" not in text and "allocate memory" not in text:
            raise
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise UserError(f"Out of memory {when} ({first_line}). {remedy}") from None
