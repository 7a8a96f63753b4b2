"""Recordings of what a GPU computes (CUDA graphs), and what cannot be recorded.

A recording repeats the operations on the same memory. It cannot look at a number to decide what
comes next, so nothing in it may make the program wait for the device.
Source: PyTorch's notes on CUDA semantics, "CUDA Graphs".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Compute = Callable[[], torch.Tensor]
Record = Callable[[Compute], Compute]
"""Takes a computation without carrying it out; returns what carries it out, on the same memory."""


class NotRecordableError(RuntimeError):
    """An operation makes the program wait for the device, or its shapes depend on numbers."""


class Recorder:
    """Turns computations into ones that are recorded when they are called for the second time.

    The first call carries out one operation after another. It lets libraries load kernels and
    allocate memory, which they must not do in a recording, and it finds what cannot be recorded. So
    a text of one token costs no recording.
    """

    def __init__(self, record: Record | None) -> None:
        """Make a recorder; without `record` every call carries out one operation after another."""
        self._record = record

    def recordable(self, compute: Compute) -> Compute:
        """Return a function that does what `compute` does."""
        carry_out, calls = compute, 0

        def call() -> torch.Tensor:
            nonlocal carry_out, calls
            calls += 1
            if self._record is None or calls > 2:
                return carry_out()
            try:
                if calls == 1:
                    with NothingWaits():
                        return compute()
                carry_out = self._record(compute)
            except RuntimeError as error:  # of PyTorch or CUDA, while it records, or `NotRecordableError`
                self._record = None
                reason = str(error).partition("\n")[0]
                warnings.warn(f"A token takes longer here, because its step cannot be recorded: {reason}", stacklevel=2)
            return carry_out()

        return call


class NothingWaits(TorchDispatchMode):
    """A context in which an operation raises `NotRecordableError` if a recording cannot hold it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace != "prim":
            # Inside inference mode, operations that consist of others arrive whole.
            with self:
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
            raise NotRecordableError(f"{func} makes the program wait for the device")
        result = func(*args, **kwargs)
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        # A number on the host may take part in an operation, because it is passed by value.
        if len({x.device.type for x in tensors if copies or x.dim()}) > 1:
            raise NotRecordableError(f"{func} copies between the host and the device")
        return result


def recorder(device: torch.device) -> Recorder:
    """Return a recorder that records CUDA graphs if the device has them."""
    return Recorder(cuda_graphs(device) if device.type == "cuda" else None)


def cuda_graphs(device: torch.device) -> Record:
    """Return a function that records CUDA graphs, which share their memory.

    So only one of them may run at a time, and a result is valid until the next one runs.
    """
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)

    def record(compute: Compute) -> Compute:
        graph = torch.cuda.CUDAGraph()
        # The outer stream is current again even if the recording fails. Other threads, such as
        # that of a data loader, may use the GPU meanwhile.
        with (
            torch.cuda.stream(torch.cuda.current_stream(device)),
            torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
        ):
            result = compute()

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay

    return record
