"""Opens a served model to generate from: its weights are laid out for the running batch."""

from __future__ import annotations

from gpt_research.base.runtime import Runtime
from gpt_research.generation.torch_engine import TorchEngine
from gpt_research.model.fast.packed import Weights, pack
from gpt_research.run import load_model
from gpt_research.serving.models import ServedModel


def open_engine(model: ServedModel, machine: Runtime, weights: Weights, most_running: int) -> TorchEngine:
    """Return an engine for a checkpoint.

    Args:
        most_running: the most samples that it generates at a time.

    Raises:
        UserError: as `Run.open` does, or this machine has no kernel for the weights.
    """
    whole, tokenizer = load_model(model.folder, machine.device, str(model.step), model.ema)
    packed = pack(whole, machine, weights, rows=min(most_running, 8), use_up=True)
    return TorchEngine(
        packed, tokenizer, max_rows=most_running, description=f"{machine.precision} on {machine.device_name}"
    )
