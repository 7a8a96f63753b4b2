"""What makes a step fast on a CPU changes nothing that it computes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest
import torch

from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.base.settings import write_yaml
from gpt_research.cli.command_line import main
from gpt_research.config import TrainConfig
from gpt_research.estimate.probe import RandomBatches
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.step import TrainStep

CPU = runtimes.Runtime(torch.device("cpu"), "bf16")
MODEL = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=32, vocab_size=300)


def gradients(runtime: runtimes.Runtime, **settings: object) -> dict[str, torch.Tensor]:
    config = TrainConfig(model=MODEL, micro_batch=2, tokens_per_step=128, **settings)  # type: ignore[arg-type]
    torch.manual_seed(0)
    step = build_step(config, plan_execution(config, runtime), runtime, RandomBatches(MODEL, 2), TrainStep)
    step.accumulate(0)
    return {name: p.grad for name, p in step.model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # the compiler's own
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.slow
def test_compiled_blocks_give_the_plain_gradient(precision: runtimes.Precision) -> None:
    runtime = dataclasses.replace(CPU, precision=precision)
    exact = gradients(dataclasses.replace(CPU, precision="fp32"), compile=False)
    plain, compiled = (gradients(runtime, compile=compiled) for compiled in (False, True))
    for name, tensor in exact.items():
        error = (compiled[name] - tensor).norm() / tensor.norm()
        assert error <= 1.2 * (plain[name] - tensor).norm() / tensor.norm() + 1e-4, name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_rounded_stream_gives_nearly_the_same_gradient(checkpointing: bool) -> None:
    exact = gradients(dataclasses.replace(CPU, precision="fp32"))
    plain = gradients(CPU)
    rounded = gradients(CPU, residual_precision="bf16", gradient_checkpointing=checkpointing)
    for name, tensor in exact.items():
        assert not torch.equal(rounded[name], plain[name]), name
        assert (rounded[name] - tensor).norm() <= 0.1 * tensor.norm(), name


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_only_a_run_in_bf16_may_round_its_stream(precision: runtimes.Precision) -> None:
    with pytest.raises(UserError, match=rf"residual_precision is bf16, but precision is {precision}"):
        gradients(dataclasses.replace(CPU, precision=precision), residual_precision="bf16")


def test_on_a_cpu_the_logits_are_held_whole_only_where_they_are_small() -> None:
    config = TrainConfig(model=MODEL, micro_batch=2, tokens_per_step=128)
    assert plan_execution(config, CPU).loss_chunk == 0
    assert plan_execution(dataclasses.replace(TrainConfig(), micro_batch=1), CPU).loss_chunk == 512
    assert plan_execution(dataclasses.replace(TrainConfig(), loss_chunk=7), CPU).loss_chunk == 7
    assert plan_execution(TrainConfig(), dataclasses.replace(CPU, precision="fp16")).loss_chunk == 0
    assert plan_execution(config, CPU).compiled == "none"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_memory_that_was_freed_is_not_asked_for_again() -> None:
    code = (
        "import resource, torch\n"
        "from gpt_research.base import machine\n"
        "machine.keep_freed_memory()\n"
        "faults = []\n"
        "for _ in range(20):\n"
        "    torch.ones(16 << 20)\n"
        "    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)\n"
        # The heap grows for some rounds until it has room; then ten rounds may not ask for even one
        # tensor's pages.
        "assert faults[-1] - faults[9] < 16 << 10, faults\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_memory_that_was_freed_between_small_tensors_goes_back() -> None:
    code = (
        "import torch\n"
        "from gpt_research.base import machine\n"
        "machine.return_freed_memory()\n"
        "torch.ones(8 << 20)\n"  # malloc would learn from this one to keep the others
        "machine.forget_peak()\n"
        "before = machine.peak_memory()\n"
        "small = []\n"
        "for _ in range(20):\n"
        "    large = [torch.ones(1 << 20) for _ in range(6)]\n"
        "    small.append(torch.ones(1 << 17))\n"
        "    del large\n"
        "machine.forget_peak()\n"
        "held = machine.peak_memory() - before\n"
        "assert held < 16 << 20, held\n"  # the small ones are 10 MiB
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_settings_pass_few_places_on_their_way_to_the_first_step(tiny_run: TrainConfig, tmp_path: Path) -> None:
    """Each function that is handed the settings of a run may decide something by them, so there are
    few.
    """
    write_yaml(tiny_run, tmp_path / "run.yaml")
    taking: dict[str, None] = {}
    returning: dict[str, None] = {}

    def watch(frame: FrameType, event: str, value: object) -> None:
        code = frame.f_code
        if "gpt_research" not in code.co_filename or code.co_name in ("__post_init__", "<lambda>"):
            return
        place = f"{Path(code.co_filename).stem}.{code.co_name}"
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if event == "call" and any(isinstance(frame.f_locals.get(name), TrainConfig) for name in arguments):
            taking[place] = None
        elif event == "return" and isinstance(value, TrainConfig):
            returning[place] = None
        if event == "return" and code.co_name == "take_step":
            sys.setprofile(None)

    sys.setprofile(watch)
    try:
        assert main(["train", "--config", str(tmp_path / "run.yaml"), "--max_steps", "1"]) == 0
    finally:
        sys.setprofile(None)
    assert "assembly.plan_execution" in taking
    assert len(taking) <= 20, "\n".join(taking)
    assert len(returning) <= 5, list(returning)
