"""Chooses how much of a model is compiled, so that a run takes the least time from start to end.

Compiling costs seconds before the first step, and compiled steps are faster. The whole model at
once makes the fastest steps and takes longer the deeper it is; block by block, all blocks share one
compilation. A short run is over sooner if nothing is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.training.execution import Compilation, Parallel

COMPILE_S = {"none": (0.0, 0.0), "blocks": (8.0, 0.0), "whole": (2.0, 2.0)}
"""Seconds of compiling: once, and for each layer. Measured without a card, for one of capability
9.0, on one core of a server: 7.7 s block by block and 25 s for 12 layers at once."""
DEVICE_TIME = {"none": 1.4, "blocks": 1.03, "whole": 1.0}
"""Time of a pass on the device, as multiples. Reckoned from the bytes that its kernels move on an
H100 (docs/training.md), not measured on a card."""
HOST_S = {"none": 0.8e-3, "blocks": 0.8e-3, "whole": 0.5e-3}
"""Seconds in which the host launches the kernels of one layer, forward and backward; a small model
waits for it. Measured without a card, so the driver's share is missing."""
MFU = 0.4
"""Share of its peak that a card reaches in compiled steps of a model that fills it."""
UNKNOWN_CARD = 100e12
"""FLOP/s of a card whose peak is not known."""


@dataclass(frozen=True)
class Work:
    """The passes of a whole run on one device."""

    flops: float
    """Of one pass, forward and backward."""
    layers: int
    passes: int
    peak_flops: float
    """FLOP/s of the device; 0 if they are not known."""


def choose_compilation(
    asked_for: bool | None, work: Work, runtime: Runtime, parallel: Parallel, *, deterministic: bool = False
) -> tuple[Compilation, str]:
    """Return how much to compile, and in a few words why.

    Raises:
        UserError: it is asked for and cannot work.
    """
    missing = runtime.missing_for_compile()
    if asked_for and missing is not None:
        raise UserError(f"compile is true, but torch.compile cannot work here: {missing}. Or leave --compile out.")
    if asked_for is False:
        return "none", "compile is false"
    if runtime.device.type != "cuda":
        # Compiled steps take about the same time on a CPU, and a compiled loss is slower there.
        return ("blocks", "compile is true") if asked_for else ("none", "only a GPU gains by it")
    if missing is not None:
        return "none", missing
    if deterministic and not asked_for:
        # Inductor chooses some kernels by their time, so two processes may round differently.
        return "none", "deterministic is true"
    takes = seconds_of_run(work)
    possible: list[Compilation] = ["none", "blocks", "whole"]
    if asked_for:
        possible.remove("none")
    # With gradients to exchange, those of one block travel while the next block is computed.
    if parallel != "none":
        possible.remove("whole")
    best = min(possible, key=lambda compilation: takes[compilation])
    once, per_layer = COMPILE_S[best]
    cost = once + per_layer * work.layers
    if best == "none":
        return best, f"its steps take about {takes['none']:.0f} s, and compiling would take longer than it saves"
    return best, f"about {cost:.0f} s of compiling for a run of about {_in_words(takes[best] - cost)}, by formula"


def seconds_of_run(work: Work) -> dict[Compilation, float]:
    """Return how long the whole run takes, compiling included, by formula, for each way."""
    on_device = work.flops / (MFU * (work.peak_flops or UNKNOWN_CARD))
    ways: tuple[Compilation, ...] = ("none", "blocks", "whole")
    return {
        way: COMPILE_S[way][0]
        + COMPILE_S[way][1] * work.layers
        + work.passes * max(DEVICE_TIME[way] * on_device, HOST_S[way] * work.layers)
        for way in ways
    }


def _in_words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.0f} hours"
