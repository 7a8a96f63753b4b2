"""A bound for the kernels that are kept for products on a CPU.

For some products, such as those in bf16, oneDNN compiles a kernel for each number of rows that it
meets, and keeps it, half a megabyte each. By default it keeps 1,024, and PyTorch's layer above it,
ideep, as many again in each thread that computes. Texts have all lengths, so a process that reads
many would grow by half a gigabyte.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# Five layers of a model with all batches up to 32 rows, and as many kernels for longer texts. To
# compile one anew takes a few tenths of a millisecond.
CAPACITIES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "256"}


def bound(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the bounds for this process, unless the user has. It must not have computed yet, because
    the libraries read them at the first product.
    """
    for name, capacity in CAPACITIES.items():
        environment.setdefault(name, capacity)
