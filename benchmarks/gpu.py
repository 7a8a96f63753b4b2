"""Everything that is worth knowing of a card, in one command of at most ten minutes.

    python benchmarks/gpu.py [--minutes 9] [--out FOLDER]

Measured, the most telling first, until the time is over; what was left out is named at the end:

- training of the preset gpt2-124m on random tokens, 262,144 a step: uncompiled, compiled block by
  block, and compiled as a whole, with 8 to 128 sequences at once, with the logits of the loss whole
  or in chunks;
- a profile of the fastest: how long the card worked, and on what;
- generation in 16 bits with 1, 16 and 64 texts at once;
- nanoGPT's model and loop beside ours, in turns, with `--nanogpt PATH`.

Each row is printed and kept in FOLDER when it is measured: `table.md` is ready for RESULTS.md, and
`rows.json` has it as numbers. The rows of one way to compile share a process; if it dies, as for
want of memory, the next row has a new one. `--device cpu --tiny` tries the script in some minutes
where there is no card.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch
from flops import HEADING, Flops, Peak, flops_of, peak_of

from gpt_research.base import machine, startup
from gpt_research.base.peak_flops import measured_flops
from gpt_research.base.runtime import Runtime
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.estimate.probe import RandomBatches
from gpt_research.generation.torch_engine import generate
from gpt_research.model.fast.packed import pack
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.step import TrainStep

TINY = GPTConfig(n_layer=2, n_head=2, n_embd=64, block_size=64, vocab_size=50257)
SECONDS = 4.0
"""How long a row is timed, after its warm-up."""
WARM_UP = 2
"""Steps: the first compiles, the second finds the allocator's pool filled."""
PROFILED = 2


@dataclass(frozen=True)
class Row:
    """How steps of training are taken."""

    how: str
    """uncompiled, blocks or whole."""
    micro_batch: int
    loss_chunk: int | None = None
    """None: what training chooses."""
    residual: str = "fp32"
    """Type of the residual stream."""

    @property
    def name(self) -> str:
        chunk = {None: "", 0: ", logits whole"}.get(self.loss_chunk, f", logits in chunks of {self.loss_chunk}")
        residual = "" if self.residual == "fp32" else f", residual stream in {self.residual}"
        return f"{'compiled ' * (self.how != 'uncompiled')}{self.how}, {self.micro_batch} sequences{chunk}{residual}"


def rows_of(sizes: Sequence[int], chunk: int, precision: str) -> list[Row]:
    """Return the rows of training, the most telling first."""
    middle = sorted(sizes, key=lambda size: abs(size - 64))
    by_how = {how: [Row(how, size) for size in middle] for how in ("whole", "blocks", "uncompiled")}
    best = by_how["whole"][0]
    rows = [best, *([dataclasses.replace(best, residual="bf16")] if precision == "bf16" else [])]
    rows += [*by_how["whole"][1:], dataclasses.replace(best, loss_chunk=0), dataclasses.replace(best, loss_chunk=chunk)]
    for index in range(len(sizes)):
        rows += [by_how["blocks"][index], by_how["uncompiled"][index]]
    return rows


def model_of(tiny: bool) -> GPTConfig:
    return TINY if tiny else GPTConfig()


def step_of(row: Row, runtime: Runtime, tiny: bool) -> TrainStep:
    model = model_of(tiny)
    tokens = row.micro_batch * model.block_size * 2 if tiny else TrainConfig().tokens_per_step
    config = TrainConfig(
        model=model, micro_batch=row.micro_batch, tokens_per_step=tokens, loss_chunk=row.loss_chunk,
        compile=row.how != "uncompiled", residual_precision=row.residual,  # type: ignore[arg-type]
    )  # fmt: skip
    batches, plan = RandomBatches(model, row.micro_batch), plan_execution(config, runtime)
    step = build_step(config, dataclasses.replace(plan, compiled=row.how == "whole"), runtime, batches, TrainStep)
    if row.how == "blocks":  # as with several processes, and where the run is short
        for block in step.model.blocks:
            block.compile()
        step.model.loss = torch.compile(step.model.loss)
    return step


def train(row: Row, runtime: Runtime, tiny: bool) -> dict[str, Any]:
    """Time the steps of a row."""
    torch._dynamo.reset()
    began = time.perf_counter()
    step = step_of(row, runtime, tiny)
    runtime.synchronize()
    number = 0
    for number in range(WARM_UP):
        step.take_step(number)
        runtime.synchronize()
    ready = time.perf_counter()
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    while sum(times) < (1.0 if tiny else SECONDS):
        number += 1
        before = time.perf_counter()
        step.take_step(number)
        runtime.synchronize()
        times.append(time.perf_counter() - before)
    return {
        "tokens_per_s": step.plan.tokens_per_step / statistics.median(times),
        "best": step.plan.tokens_per_step / min(times),
        "memory_gb": runtime.peak_memory() / 1e9,
        "start_s": ready - began,
        "steps": len(times),
        "loss_chunk": step.plan.loss_chunk,
        "micro_steps": step.plan.micro_steps,
    }


def profile(row: Row, runtime: Runtime, tiny: bool) -> dict[str, Any]:
    """Return on what a card spends its time in two steps, and the share of the time that it works."""
    from torch.profiler import ProfilerActivity, profile

    step = step_of(row, runtime, tiny)
    for number in range(WARM_UP):
        step.take_step(number)
    runtime.synchronize()
    on_gpu = runtime.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as recorded:
        began = time.perf_counter()
        for number in range(PROFILED):
            step.take_step(WARM_UP + number)
        runtime.synchronize()
        seconds = time.perf_counter() - began
    kinds: dict[str, float] = dict.fromkeys(
        ("products", "attention", "optimizer and clipping", "copies", "the rest"), 0.0
    )
    kernels = []
    for event in recorded.key_averages():
        spent = (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
        is_kernel = not on_gpu or event.device_type == torch.autograd.DeviceType.CUDA
        if spent and is_kernel:
            kinds[kind_of(event.key)] += spent
            kernels.append((spent, event.count, event.key[:90]))
    working = sum(kinds.values())
    return {
        "row": row.name,
        "working": working / seconds,
        "launches_a_pass": sum(count for _, count, _ in kernels) / PROFILED / step.plan.micro_steps,
        "kinds": {kind: spent / working for kind, spent in kinds.items()},
        "kernels": [
            {"share": spent / working, "count": count, "name": name}
            for spent, count, name in sorted(kernels)[::-1][:15]
        ],
    }


def kind_of(kernel: str) -> str:
    """Return what a kernel does, by the words in its name."""
    words = {
        "attention": ("flash", "fmha", "attention", "sdpa", "cudnn_generated"),
        "products": ("gemm", "nvjet", "cutlass", "xmma", "mm_", "::mm", "addmm", "cublas"),
        "optimizer and clipping": ("multi_tensor_apply", "adam", "foreach", "lpnorm"),
        "copies": ("memcpy", "memset", "copy_"),
    }
    return next((kind for kind, parts in words.items() if any(part in kernel.lower() for part in parts)), "the rest")


class Endless(Tokenizer):
    """A tokenizer without an end-of-text token, so that every text is of full length."""

    @property
    def end_of_text(self) -> int:
        return -1


def write(batch: int, runtime: Runtime, tiny: bool) -> dict[str, Any]:
    """Time greedy generation from one token; the first time shows what a user waits for."""
    tokens = 16 if tiny else 256
    model, tokenizer = GPT(model_of(tiny)).to(runtime.device).eval(), Endless.gpt2()
    packed = pack(model, runtime, rows=batch)
    config = GenerateConfig(max_new_tokens=min(tokens, model.config.block_size - 1), temperature=0, num_samples=batch)
    times = []
    for _ in range(4):
        runtime.synchronize()
        began = time.perf_counter()
        generate(packed, tokenizer, "\n", config)
        runtime.synchronize()
        times.append(time.perf_counter() - began)
    written = batch * config.max_new_tokens
    return {
        "tokens_per_s": written / statistics.median(times[1:]),
        "first_s": times[0],
        "tokens": config.max_new_tokens,
    }


def child(arguments: argparse.Namespace) -> None:
    """Measure what standard input asks for; print a line of JSON for each."""
    runtime = startup.start(arguments.device, arguments.precision)
    for line in sys.stdin:
        task, what = json.loads(line)
        print(json.dumps(TASKS[task](what, runtime, arguments.tiny)), flush=True)
        if runtime.device.type == "cuda":
            torch.cuda.empty_cache()


TASKS = {
    "about": lambda what, runtime, tiny: about_device(runtime),
    "train": lambda what, runtime, tiny: train(Row(**what), runtime, tiny),
    "profile": lambda what, runtime, tiny: profile(Row(**what), runtime, tiny),
    "write": write,
}


class Worker:
    """The process that measures. A new one comes if it dies, or if it is still at work at the end of
    the time.
    """

    def __init__(self, arguments: argparse.Namespace, ends_at: float) -> None:
        self.arguments, self.ends_at = arguments, ends_at
        self.process: subprocess.Popen[str] | None = None
        self.errors = arguments.out / "errors.txt"

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.ends_at - time.monotonic()

    def ask(self, task: str, what: object) -> dict[str, Any]:
        """Return the answer; {"failed": reason} if there is none."""
        self.process = process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(max(1.0, self.left), process.kill)
        timer.start()
        with contextlib.suppress(BrokenPipeError):  # it has died; the answer is empty then
            process.stdin.write(json.dumps([task, what]) + "\n")
            process.stdin.flush()
        answer = next((line for line in process.stdout if line.startswith("{")), "")
        timer.cancel()
        if answer:
            return json.loads(answer)
        self.close()
        said = self.errors.read_text(errors="replace").strip().splitlines()
        return {"failed": "no time was left" if self.left <= 0 else (said or ["it ended without a word"])[-1][:200]}

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--child", "--device", self.arguments.device]
        command += ["--precision", self.arguments.precision, *(["--tiny"] if self.arguments.tiny else [])]
        # Nothing is compiled at first, so "to the second step" is what a user waits for once.
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(self.arguments.out / "compiled")}
        with open(self.errors, "w") as errors:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Report:
    """Prints lines, and keeps them and the numbers in the folder at once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lines, self.numbers = folder, [], {}  # type: ignore[var-annotated]

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)
        (self.folder / "table.md").write_text("\n".join(self.lines) + "\n", encoding="utf-8")

    def keep(self, name: str, value: object) -> None:
        self.numbers[name] = value
        (self.folder / "rows.json").write_text(json.dumps(self.numbers, indent=1) + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace) -> None:
    """Measure all, the most telling first, until the time is over."""
    began = time.monotonic()
    arguments.out.mkdir(parents=True, exist_ok=True)
    worker, report = Worker(arguments, began + 60 * arguments.minutes), Report(arguments.out)
    model, left_out = model_of(arguments.tiny), []
    flops = flops_of(model)
    about = worker.ask("about", None)
    if "failed" in about:
        sys.exit(f"Nothing can be measured: {about['failed']}")
    peak = Peak(about["peak"], about["peak_source"])
    report.keep("about", about)
    card = f"**{about['name']}**, {about['memory_gb']:.0f} GB, driver {about['driver']}"
    versions = f"torch {about['torch']}, Python {platform.python_version()}"
    report.say(f"{card}, {versions}, {about['cores']:g} cores, {time.strftime('%Y-%m-%d')}.")
    report.say(f"{about['precision']}: peak {peak}; a matrix product reaches {about['product'] / 1e12:,.2f} TFLOP/s.")
    shape = f"{model.n_layer} layers, {model.n_embd} wide, context {model.block_size}"
    report.say(f"{shape}: {flops.weights / 1e9:.3f} + {flops.attention / 1e9:.3f} GFLOP a token.\n")
    report.say(f"| training | tokens/s, median (best) | {HEADING} | GB | to the second step, s |")
    report.say("| --- | ---: | ---: | ---: | ---: |")
    found: dict[str, dict[str, Any]] = {}
    rows, how = rows_of(arguments.micro_batch, arguments.loss_chunk, about["precision"]), ""
    # Generation and the profile need a quarter of the time.
    for row in rows:
        if worker.left < 0.25 * 60 * arguments.minutes:
            left_out.append(row.name)
            continue
        if row.how != how:
            worker.close()  # another way to compile starts with nothing compiled
        how = row.how
        answer = found[row.name] = worker.ask("train", dataclasses.asdict(row))
        report.keep("training", found)
        if "failed" in answer:
            report.say(f"| {row.name} | failed: {answer['failed']} | | | |")
            continue
        speed = answer["tokens_per_s"]
        report.say(f"| {row.name} | {speed:,.0f} ({answer['best']:,.0f}) | {peak.mfu(flops, speed)} | "
                   f"{answer['memory_gb']:.1f} | {answer['start_s']:.0f} |")  # fmt: skip
    worker.close()
    _written(worker, report, peak, flops, model, left_out)
    _profiled(worker, report, found, rows, left_out)
    worker.close()
    if arguments.nanogpt:
        _beside_nanogpt(worker, report, arguments, left_out)
    if left_out:
        report.say(f"\nNo time was left for: {'; '.join(left_out)}.")
    report.say(f"\nMeasured in {(time.monotonic() - began) / 60:.1f} minutes by `python benchmarks/gpu.py`.")


def _written(worker: Worker, report: Report, peak: Peak, flops: Flops, model: GPTConfig, left_out: list[str]) -> None:
    report.say(f"\n| texts at once | tokens/s | {HEADING} / 3 | first call, s |\n| ---: | ---: | ---: | ---: |")
    found = {}
    for batch in (1, 16, 64):
        if worker.left < 0.1 * 60 * worker.arguments.minutes:
            left_out.append(f"generation of {batch}")
            continue
        answer = found[batch] = worker.ask("write", batch)
        report.keep("generation", found)
        if "failed" in answer:
            report.say(f"| {batch} | failed: {answer['failed']} | | |")
            continue
        reading = flops.reading(answer["tokens"] / 2 / model.block_size)
        speed = answer["tokens_per_s"]
        report.say(f"| {batch} | {speed:,.0f} | {peak.mfu(reading, speed)} | {answer['first_s']:.2f} |")


def _profiled(
    worker: Worker, report: Report, found: dict[str, dict[str, Any]], rows: list[Row], left_out: list[str]
) -> None:
    measured = [row for row in rows if "tokens_per_s" in found.get(row.name, {})]
    if not measured or worker.left < 10:
        left_out.append("the profile")
        return
    fastest = max(measured, key=lambda row: found[row.name]["tokens_per_s"])
    answer = worker.ask("profile", dataclasses.asdict(fastest))
    report.keep("profile", answer)
    if "failed" in answer:
        report.say(f"\nThe profile failed: {answer['failed']}")
        return
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in answer["kinds"].items())
    report.say(f"\nProfile of {fastest.name}: the device works {answer['working']:.0%} of the time, with "
               f"{answer['launches_a_pass']:.0f} launches a pass. Of its work: {kinds}.\n")  # fmt: skip
    report.say("| share | launches | kernel |\n| ---: | ---: | --- |")
    for kernel in answer["kernels"]:
        report.say(f"| {kernel['share']:.1%} | {kernel['count']} | `{kernel['name'].replace('|', '/')}` |")


def _beside_nanogpt(worker: Worker, report: Report, arguments: argparse.Namespace, left_out: list[str]) -> None:
    """Let nanoGPT's loop and ours take turns, by `train_step.py`."""
    script = Path(__file__).with_name("train_step.py")
    command = [sys.executable, str(script), "--nanogpt", str(arguments.nanogpt), "--device", arguments.device]
    command += ["--config", "small" if arguments.tiny else "gpt2-124m", "--rounds", "3", "--no-compile"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, worker.left))
    except subprocess.TimeoutExpired:
        left_out.append("nanoGPT beside ours")
        return
    report.say(said.stdout if said.returncode == 0 else f"\nnanoGPT beside ours failed: {said.stderr[-300:]}")


def about_device(runtime: Runtime) -> dict[str, Any]:
    peak = peak_of(runtime)
    return {
        "name": runtime.device_name,
        "precision": runtime.precision,
        "memory_gb": runtime.device_memory() / 1e9,
        "driver": machine.nvidia_driver() or "none",
        "torch": torch.__version__,
        "cores": machine.usable_cores(),
        "peak": peak.flops,
        "peak_source": peak.source,
        "product": measured_flops(runtime, seconds=1.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--micro_batch", type=int, nargs="+", default=[8, 32, 64, 128])
    parser.add_argument("--loss_chunk", type=int, default=8192, help="tokens of a chunk, for the row with chunks")
    parser.add_argument("--nanogpt", type=Path, help="a clone of nanoGPT")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and short times, to try the script")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
