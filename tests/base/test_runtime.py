"""Device, precision and compiler are chosen by what the machine has; what it lacks is said.

The machines are made up: torch's answers about cards are replaced.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest
import torch

from gpt_research.base import machine, startup
from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.training.assembly import plan_execution

CARD = runtimes.Runtime(torch.device("cuda", 0), "bf16")


def put_in_cards(monkeypatch: pytest.MonkeyPatch, count: int, capability: tuple[int, int] = (9, 0)) -> None:
    answers = {
        "is_available": lambda: count > 0,
        "device_count": lambda: count,
        "get_device_capability": lambda device=None: capability,
        "get_device_name": lambda device=None: "a card",
        # torch counts emulation by default, so every card has bf16 then.
        "is_bf16_supported": lambda including_emulation=True: including_emulation or capability >= (8, 0),
        "set_device": lambda device: None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((7, 0), "fp16"), ((6, 1), "fp32")],
)
def test_auto_is_the_fastest_type_of_the_card(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_cards(monkeypatch, 1, capability)
    runtime = startup.start()
    assert (str(runtime.device), runtime.precision) == ("cuda:0", precision)
    if capability < (8, 0):
        with pytest.raises(UserError, match=r"precision is bf16, but a card has none\. Use fp16\."):
            startup.start(precision="bf16")


def test_each_process_of_a_machine_needs_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_cards(monkeypatch, 2)
    find = startup._find_device
    assert [str(find(name, 1, 2)) for name in ("auto", "cuda")] == ["cuda:1", "cuda:1"]
    for name in ("auto", "cuda"):
        with pytest.raises(
            UserError, match=r"shows 2 CUDA devices, and process 2 of .* needs number 2\. Start one process a card"
        ):
            find(name, 2, 3)
    with pytest.raises(UserError, match=r'device is "cuda:1", but 2 processes need a card each\. Use --device cuda\.'):
        find("cuda:1", 0, 2)
    assert str(find("cuda:1", 0, 1)) == "cuda:1"


@pytest.mark.parametrize(
    ("cuda", "says"),
    [("13.0", r"built for CUDA 13\.0, cannot use it\. Update the driver .*whl/cu126"), (None, "is built for CPUs")],
)
def test_a_card_that_torch_cannot_use_is_named_with_its_driver(
    cuda: str | None, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_in_cards(monkeypatch, 0)

    def is_available() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(machine, "PROC", tmp_path)
    version = tmp_path / "driver" / "nvidia" / "version"
    version.parent.mkdir(parents=True)
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 2023\nGCC version: 12.2.0\n"
    )
    with pytest.warns(UserWarning, match=rf"driver 535\.104\.05.*{says}"):
        assert startup.start().device.type == "cpu"
    version.unlink()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert startup.start().device.type == "cpu", "a machine without a card says nothing"


def test_the_driver_of_wsl2_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 551.86\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert machine.nvidia_driver() == "551.86"


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_what_the_compiler_lacks_is_found_before_it_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put_in_cards(monkeypatch, 1)
    cpu = dataclasses.replace(CARD, device=torch.device("cpu"))
    config = TrainConfig(micro_batch=8)
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(runtimes.Runtime, "device_memory", lambda self: 80 << 30)
    assert CARD.missing_for_compile() is None
    assert plan_execution(config, CARD).compiled == "whole"
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    for runtime in (CARD, cpu):
        assert "Python's headers are missing" in str(runtime.missing_for_compile())
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    assert "no C compiler" in str(CARD.missing_for_compile())
    assert "no C++ compiler" in str(cpu.missing_for_compile())
    assert plan_execution(config, CARD).compiled == "none"
    with pytest.raises(
        UserError, match=r"compile is true, but torch\.compile cannot work here: there is no C compiler"
    ):
        plan_execution(dataclasses.replace(config, compile=True), CARD)
    put_in_cards(monkeypatch, 1, (6, 1))
    assert "a card has less" in str(CARD.missing_for_compile())
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    assert "Triton is not installed" in str(CARD.missing_for_compile())


def test_a_card_holds_as_many_logits_as_its_memory_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_cards(monkeypatch, 1)
    monkeypatch.setattr(runtimes.Runtime, "missing_for_compile", lambda self: None)

    def chunk(gib: int, micro_batch: int, compile: bool) -> int:
        monkeypatch.setattr(runtimes.Runtime, "device_memory", lambda self: gib << 30)
        return plan_execution(TrainConfig(micro_batch=micro_batch, compile=compile), CARD).loss_chunk

    assert chunk(80, 64, True) == 0, "3.3 GB of bf16 logits, on a card of 80 GiB"
    # 12 bytes of each of 50,304 entries are held without the compiler.
    assert chunk(80, 32, False) == 0
    assert chunk(80, 64, False) == (10 << 30) // (12 * 50304) // 256 * 256
    assert chunk(8, 8, False) == (1 << 30) // (12 * 50304) // 256 * 256


def test_macos_counts_memory_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import resource

    monkeypatch.setattr(machine, "PROC", tmp_path)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert machine.peak_memory() >= used * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert used <= machine.peak_memory() < used * 2


DDP = """
import os, warnings
warnings.simplefilter("error")
os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
import torch, torch.distributed as dist
from gpt_research.base.runtime import Runtime
from gpt_research.model_config import GPTConfig
from gpt_research.model.gpt import GPT
from gpt_research.training.execution import ExecutionPlan
from gpt_research.training.parallel import place
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=8, vocab_size=16))
plan = ExecutionPlan("ddp", 1, False, 1, 1, 0, 8)
ddp = place(model, plan, Runtime(torch.device("cpu"), "fp32"), 0).for_training
ddp(*torch.zeros(2, 1, 8, dtype=torch.long)).backward()
"""


def test_ddp_starts_without_a_warning() -> None:
    done = subprocess.run([sys.executable, "-c", DDP], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
