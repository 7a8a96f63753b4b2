"""Inductor writes the code of an H100 here, and no card is needed: `make test-traced`.

`build_card.py` makes torch's CUDA build believe in a card. All host code runs as it would beside
one: torch allocates and launches, and Inductor writes its kernels. Only the kernels themselves do
nothing, so all numbers are 0 and no time means anything.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from traced_steps import Graph, NoKernel, Recording

FOLDER = Path(__file__).parent
CARD = Path(sysconfig.get_paths()["platlib"], "nvidia/cu13/lib/libcard.so")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    set_up = torch.version.cuda is not None and CARD.is_file()
    reason = "needs torch's CUDA build and a card that is not there; make test-traced sets both up"
    for item in items:
        if FOLDER in item.path.parents:
            # The compiler's own warnings.
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute"))
            if not set_up:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Recording]:
    """What Inductor compiles. Triton gets nothing of it, because that takes most of the time."""
    from torch._inductor import config
    from torch._inductor.async_compile import AsyncCompile
    from torch._inductor.graph import GraphLowering
    from torch._inductor.scheduler import ExternKernelSchedulerNode, NopKernelSchedulerNode

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_LIBCUDA_PATH", str(CARD.parent))
    recorded = Recording()
    compile_to_module: Callable[[GraphLowering], Any] = GraphLowering.compile_to_module

    def compile_and_record(self: GraphLowering) -> Any:
        module = compile_to_module(self)
        nodes = [node for node in self.scheduler.nodes if not isinstance(node, NopKernelSchedulerNode)]
        written = [node for node in nodes if not isinstance(node, ExternKernelSchedulerNode)]
        moved = sum(node.get_read_write_buffers_sizes() for node in written)
        recorded.graphs.append(Graph(len(written), len(nodes) - len(written), int(moved)))
        return module

    monkeypatch.setattr(GraphLowering, "compile_to_module", compile_and_record)
    monkeypatch.setattr(AsyncCompile, "triton", lambda self, *arguments, **settings: NoKernel())
    # A graph out of a cache would not be recorded.
    with config.patch(fx_graph_cache=False), torch._functorch.config.patch(enable_autograd_cache=False):
        recorded.clear()
        yield recorded
        recorded.clear()
    torch.cuda.empty_cache()
