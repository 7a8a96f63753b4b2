"""Kernels for products of many shapes take bounded memory in every process of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt_research.base import kernel_caches, startup

TESTS = Path(__file__).parents[1]
PRODUCTS = """
import sys
import torch
from allocated import allocated_bytes
from gpt_research.base import startup

startup.start("cpu")
weight = torch.ops.mkldnn._reorder_linear_weight(torch.zeros(40, 24), 8)
before = allocated_bytes()
for rows in range(1, 501):
    torch.ops.mkldnn._linear_pointwise(torch.zeros(rows, 24), weight, None, "none", [], "")
print(allocated_bytes() - before)
"""


def test_products_with_all_numbers_of_rows_take_bounded_memory() -> None:
    own = {name: value for name, value in os.environ.items() if name not in kernel_caches.CAPACITIES}
    own["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(Path(startup.__file__).parents[2])])
    found = subprocess.run(
        [sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True, env=own, timeout=120
    )
    # 500 kernels take 290 MB.
    assert int(found.stdout) < 200e6


def test_a_users_own_bound_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = kernel_caches.CAPACITIES
    for name in kernel_caches.CAPACITIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(first, "64")
    startup.start("cpu")
    assert os.environ[first] == "64"
    assert all(os.environ[name] == kernel_caches.CAPACITIES[name] for name in others)
