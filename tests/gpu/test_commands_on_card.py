"""What a user does with a run is the same on a card: resume, generate, evaluate, measure."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from rank_launcher import train_on_ranks
from steps import MODEL

from gpt_research.base import startup
from gpt_research.base.peak_flops import measured_flops, stated_flops
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.cli import command_line as cli
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.estimate import micro_batch
from gpt_research.generation.torch_engine import generate
from gpt_research.model.gpt import GPT
from gpt_research.run import load_model
from gpt_research.training.loop import train
from gpt_research.training.metrics import read_metrics


def losses(config: TrainConfig, name: str = "loss") -> list[float]:
    return [line[name] for line in read_metrics(Path(config.out)) if name in line]


@pytest.fixture
def plain_run(tiny_run: TrainConfig) -> TrainConfig:
    """A run without dropout, whose draws are another on each device."""
    model = dataclasses.replace(tiny_run.model, dropout=0.0)
    return dataclasses.replace(tiny_run, model=model, micro_batch=2, compile=False)


@pytest.mark.parametrize("there_first", [True, False], ids=["card to CPU", "CPU to card"])
def test_a_run_goes_on_on_the_other_device(plain_run: TrainConfig, device: str, there_first: bool) -> None:
    whole = dataclasses.replace(plain_run, out=plain_run.out + "-whole")
    train(whole)
    first, second = ("cpu", device) if not there_first else (device, "cpu")
    train(dataclasses.replace(plain_run, device=first), until=6)
    saved, loaded = (model_tensors(load_model(plain_run.out, where)[0]) for where in (first, second))
    assert all(torch.equal(tensor.cpu(), loaded[name].cpu()) for name, tensor in saved.items())
    train(dataclasses.replace(plain_run, device=second))
    assert losses(plain_run) == pytest.approx(losses(whole), rel=2e-3)
    assert losses(plain_run, "val_loss") == pytest.approx(losses(whole, "val_loss"), rel=2e-3)


@pytest.mark.parametrize("samples", [1, 3])
def test_greedy_text_is_that_of_a_cpu(device: str, samples: int, dataset_folder: Path) -> None:
    tokenizer = Tokenizer.load(dataset_folder / "tokenizer.json")
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(3)
    model = GPT(dataclasses.replace(MODEL, vocab_size=tokenizer.vocab_size)).eval()
    # Larger than new weights are, so that no two tokens are almost as likely.
    for parameter in model.parameters():
        parameter.data.mul_(3.0)
    # Longer than the context, which then slides; prompts of many lengths share a batch.
    settings = GenerateConfig(temperature=0, max_new_tokens=2 * MODEL.block_size, num_samples=samples)
    prompts = ["A", "The king of all the sea.", "And then\n", "x" * 60]
    texts = [
        [sample.text for sample in generate(model.to(where), tokenizer, prompts, settings, notice=lambda _: None)]
        for where in ("cpu", device)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == len(prompts)


def test_a_run_is_evaluated_alike(plain_run: TrainConfig, device: str, tmp_path: Path) -> None:
    train(plain_run)
    results = []
    for number, where in enumerate(("cpu", device)):
        path = tmp_path / f"{number}.json"
        command = ["evaluate", plain_run.out, "--device", where, "--precision", "fp32", "--json", str(path)]
        assert cli.main(command) == 0
        results.append(json.loads(path.read_text()))
    one, two = (result["corpora"] for result in results)
    assert one.keys() == two.keys() != set()
    for name in one:
        assert one[name]["loss"] == pytest.approx(two[name]["loss"], rel=1e-3)


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_cards_learn_what_one_learns(plain_run: TrainConfig, device: str, how: str, precision: str) -> None:
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("there is one card only")
    config = dataclasses.replace(plain_run, device=device, precision=precision, max_steps=8)
    alone, both = (dataclasses.replace(config, out=f"{config.out}-{n}") for n in (1, 2))
    both = dataclasses.replace(both, parallel=how)
    train_on_ranks((alone, 1, 8), (both, 2, 8))
    tolerance = {"fp32": 1e-3, "bf16": 1e-2}[precision]
    for name in ("loss", "grad_norm", "val_loss"):
        assert losses(both, name) == pytest.approx(losses(alone, name), rel=tolerance), name


def test_the_micro_batch_is_measured_and_the_memory_given_back(
    plain_run: TrainConfig, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batch, "AUTO_SECONDS", 3.0)
    said: list[str] = []
    config = dataclasses.replace(plain_run, device=device, micro_batch="auto", tokens_per_step=1024)
    number = micro_batch.resolve_micro_batch(config, said.append).micro_batch
    assert number in (1, 2, 4, 8, 16, 32)
    assert f"micro_batch auto: {number} of" in said[0]
    if device == "cuda":
        assert torch.cuda.memory_allocated() < 100e6


def test_the_doctor_finds_the_device_well(device: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["doctor", "--json", "--out", str(tmp_path), "--compile_seconds", "120"]) == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert not [row for row in rows.values() if "could not be read" in row["found"] or row["unusable"]]
    if device == "cuda":
        assert torch.cuda.get_device_name(0) in rows["GPU 0"]["found"]
        assert "gpt2-124m" in rows["GPU 0"]["means"]
        assert "driver" in rows or torch.version.hip
    assert "TFLOP/s" in rows["precision"]["found"]
    assert "math" in rows["attention"]["found"]


def test_the_peak_of_the_table_is_not_passed(card: str) -> None:
    for precision in ("fp32", "bf16", "fp16"):
        if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            continue
        runtime = startup.start(card, precision)
        stated, measured = stated_flops(runtime), measured_flops(runtime, seconds=1.0)
        if not stated:
            pytest.skip(f"{runtime.device_name} is not in the table: {measured / 1e12:.0f} TFLOP/s in {precision}")
        assert 0.3 * stated < measured < 1.05 * stated, precision


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute")  # the compiler's own
def test_a_run_of_the_command_trains_compiled(
    plain_run: TrainConfig, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With every default that a user gets: precision, compilation, chunks of the loss."""
    command = ["train", "--data", plain_run.data, "--out", plain_run.out, "--device", device]
    model = {"n_layer": 2, "n_head": 2, "n_embd": 64, "block_size": 64}
    settings = {**{f"model.{name}": value for name, value in model.items()}, "micro_batch": 4, "tokens_per_step": 512}
    settings |= {"max_steps": 30, "warmup_steps": 2, "log_interval": 10, "eval_tokens": 256, "learning_rate": 3e-3}
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    assert cli.main(command) == 0
    found = losses(plain_run)
    assert found[-1] < found[0]
    assert all(0 < value <= 1 for value in losses(plain_run, "mfu"))


def test_a_deterministic_run_that_was_stopped_is_the_run(
    plain_run: TrainConfig, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["verify-resume", "--data", plain_run.data, "--out", plain_run.out, "--device", device, "--steps", "4"]
    settings = {"model.n_layer": 2, "model.n_head": 2, "model.n_embd": 32, "model.block_size": 32, "micro_batch": 4}
    settings |= {"tokens_per_step": 256, "warmup_steps": 2}
    command += ["--deterministic", *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
    assert cli.main(command) == 0
    assert "EQUAL" in capsys.readouterr().out
