"""How much is compiled follows from the length of the run, the depth of the model and the card."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from gpt_research.base import runtime as runtimes
from gpt_research.base import startup
from gpt_research.base.peak_flops import stated_flops
from gpt_research.base.settings import find_config, read_yaml
from gpt_research.config import TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import plan_execution
from gpt_research.training.compilation import Work, seconds_of_run
from gpt_research.training.inputs import TrainingData
from gpt_research.training.loop import Trainer
from gpt_research.training.reporter import Reporter

CARD = runtimes.Runtime(torch.device("cuda", 0), "bf16")


@pytest.fixture(autouse=True)
def h100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(runtimes.Runtime, "device_memory", lambda self: 80 << 30)
    monkeypatch.setattr(runtimes.Runtime, "missing_for_compile", lambda self: None)


def preset(name: str, **settings: object) -> TrainConfig:
    return dataclasses.replace(read_yaml(TrainConfig, find_config(name)), **settings)  # type: ignore[arg-type]


def compiled(config: TrainConfig, runtime: runtimes.Runtime = CARD) -> str:
    return plan_execution(config, runtime).compiled


def test_a_run_that_is_over_in_seconds_is_not_compiled() -> None:
    assert compiled(preset("demo")) == "none"
    assert compiled(preset("tiny-cpu")) == "none"
    assert compiled(preset("gpt2-124m", max_steps=10)) == "none"


def test_a_short_run_is_compiled_block_by_block_and_a_long_one_whole() -> None:
    assert compiled(preset("gpt2-124m", max_steps=150)) == "blocks"
    assert compiled(preset("gpt2-124m")) == "whole"
    # Of two models that compute for the same time, the deeper one takes longer to compile whole.
    deep = GPTConfig(n_layer=48, n_embd=768, n_head=12, block_size=512)
    shallow = dataclasses.replace(deep, n_layer=3, n_embd=3072)
    config = preset("gpt2-124m", max_steps=100, micro_batch=64)
    assert compiled(dataclasses.replace(config, model=deep)) == "blocks"
    assert compiled(dataclasses.replace(config, model=shallow)) == "whole"


def test_what_is_chosen_takes_the_least_time_of_all_that_is_possible() -> None:
    for steps in (1, 30, 100, 300, 1000, 20_000):
        for layers in (2, 12, 48):
            config = preset("gpt2-124m", max_steps=steps)
            config = dataclasses.replace(config, model=dataclasses.replace(config.model, n_layer=layers))
            with torch.device("meta"):
                flops = GPT(config.model).flops_per_token() * 8 * config.model.block_size
            takes = seconds_of_run(Work(flops, layers, passes=64 * steps, peak_flops=stated_flops(CARD)))
            assert takes[plan_execution(config, CARD).compiled] == min(takes.values())


def test_a_small_model_is_compiled_if_its_run_is_long() -> None:
    # Its FLOPs are nothing, but the card waits for the host, which launches fewer kernels then.
    assert compiled(preset("demo", max_steps=1_000_000)) == "whole"


def test_several_processes_compile_blocks_at_most() -> None:
    two = dataclasses.replace(CARD, world_size=2)
    assert compiled(preset("gpt2-124m"), two) == "blocks"
    assert compiled(preset("demo", max_steps=10, micro_batch=4), two) == "none"


def test_the_user_has_the_last_word_on_whether_but_not_on_how() -> None:
    assert compiled(preset("gpt2-124m", compile=False)) == "none"
    assert compiled(preset("gpt2-124m", deterministic=True)) == "none"
    assert compiled(preset("gpt2-124m", deterministic=True, compile=True)) == "whole"
    assert compiled(preset("demo", compile=True)) == "blocks"
    cpu = runtimes.Runtime(torch.device("cpu"), "fp32")
    assert compiled(preset("gpt2-124m"), cpu) == "none"
    assert compiled(preset("gpt2-124m", compile=True), cpu) == "blocks"


def test_the_reason_is_given_in_a_few_words() -> None:
    assert plan_execution(preset("demo"), CARD).compiled_because == (
        "its steps take about 2 s, and compiling would take longer than it saves"
    )
    assert plan_execution(preset("gpt2-124m"), CARD).compiled_because == (
        "about 26 s of compiling for a run of about 3 hours, by formula"
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute", "ignore::DeprecationWarning")  # the compiler's own
def test_a_sample_compiles_nothing_while_other_ranks_wait(
    tiny_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_block = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_block(self, backend="eager"))
    monkeypatch.setattr(runtimes.Runtime, "missing_for_compile", lambda self: None)
    data = TrainingData.open(tiny_run)
    config = dataclasses.replace(tiny_run, model=data.model, compile=True)
    trainer = Trainer(config, startup.start("cpu", "fp32"), data, Reporter())
    trainer.train_step.take_step(0)
    frames = torch._dynamo.utils.counters["frames"]
    before = dict(frames)
    assert before["total"] > 0
    Path(config.out).mkdir()
    trainer.write_sample(1)
    assert dict(frames) == before
    assert "--- step 1 ---" in (Path(config.out) / "samples.txt").read_text(encoding="utf-8")
    torch.compiler.reset()
