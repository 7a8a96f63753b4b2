"""Generation beside a card: its host code runs here, records CUDA graphs, and never waits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation import static_step
from gpt_research.generation.draws import Draw, Drawing
from gpt_research.generation.engine import Request
from gpt_research.generation.recording import Compute, Record, Recorder, cuda_graphs
from gpt_research.generation.torch_engine import TorchEngine
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

SETTINGS = [
    GenerateConfig(temperature=0),
    GenerateConfig(),
    GenerateConfig(top_p=0.9),
    GenerateConfig(top_k=0, top_p=0.9, min_p=0.1, repetition_penalty=1.2),
]
# What is not part of a step: the two results are no numbers, because no kernel computes here.
NO_RESULT = Draw(5, -1.0)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of times that each recording was replayed."""
    counts: list[int] = []

    def counting(record: Record) -> Record:
        def record_and_count(compute: Compute) -> Compute:
            replay, number = record(compute), len(counts)
            counts.append(0)

            def count() -> torch.Tensor:
                counts[number] += 1
                return replay()

            return count

        return record_and_count

    def drawn(drawing: Drawing, logits: torch.Tensor) -> list[Draw]:
        return [NO_RESULT] * len(logits)

    monkeypatch.setattr(static_step, "recorder", lambda device: Recorder(counting(cuda_graphs(device))))
    monkeypatch.setattr(static_step, "_draw", lambda row, result: NO_RESULT)
    monkeypatch.setattr(Drawing, "draw", drawn)
    yield counts
    torch.cuda.empty_cache()


def never_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the computation of a step raise if it waits for the card."""
    step = static_step.DeviceRows.step

    def checked(*arguments: object) -> torch.Tensor:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(*arguments)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(static_step.DeviceRows, "step", checked)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # not every wait is found
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_token_is_one_replay(
    settings: GenerateConfig,
    dtype: torch.dtype,
    positions: str,
    replayed: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_waiting(monkeypatch)
    tokenizer = Tokenizer.gpt2()
    config = GPTConfig(n_layer=2, n_head=2, n_embd=64, block_size=400, positions=positions)
    engine = TorchEngine(GPT(config, seed=0).eval().to("cuda", dtype), tokenizer)
    for number, prompt in enumerate(([198], [198] * 20)):
        engine.add(Request(prompt, settings, number, logprobs=3 * number))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="A token takes longer here")
        for _ in range(1 + 199):
            engine.step()
        assert replayed == [198]
        engine.add(Request([198] * 300, settings))
        for _ in range(20):
            engine.step()
    assert len(replayed) == 2
    assert replayed[1] == 18
    for id in range(3):
        engine.cancel(id)
    assert not engine.busy


def test_few_recordings_at_a_time_are_enough(replayed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_step, "MOST_RECORDINGS", 1)
    # The first recording then holds memory of cuBLAS, which outlives it.
    torch._C._cuda_clearCublasWorkspaces()
    tokenizer = Tokenizer.gpt2()
    engine = TorchEngine(GPT(GPTConfig(n_layer=1, n_head=2, n_embd=64), seed=0).eval().to("cuda"), tokenizer)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="A token takes longer here")
        for number in range(4):  # so many that the row of one that leaves stays, and the memory too
            engine.add(Request([198], GenerateConfig(max_new_tokens=10_000), number))
        for settings in SETTINGS * 2:
            id = engine.add(Request([198], settings))
            for _ in range(5):
                engine.step()
            engine.cancel(id)
            for _ in range(5):
                engine.step()
    assert len(replayed) > len(SETTINGS)
