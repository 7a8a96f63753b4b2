"""Tokens a second of `gpt_research.generate` beside Hugging Face `generate`, llama.cpp and
nanoGPT's loop.

    python benchmarks/generation.py --threads 2 --batch 1 16 --rounds 5 --nanogpt PATH --json out.json
    python benchmarks/generation.py --loss RUN_DIR --text FILE      what 16 and 8 bit weights cost, in nats a token

The weights are random, the prompt is one token, and sampling is greedy. The contenders take turns
in each round, so that other load slows all of them. The table has medians over the rounds, and the
median of the ratios of each round. Each contender has a process of its own, because the threads of
one library disturb those of another. nanoGPT reads the whole text again for each token, so its
speed is the mean over a few lengths. llama.cpp runs our export of the same weights, with one
request for each text. "limit" is the speed at which weights, keys and values can be read once for
each step; the speed of memory is measured in the same rounds. MFU is the arithmetic of reading a
token, at half the length of the text, against the peak of fp32 or 16 bits; both its terms are
shown. On a GPU, and on a CPU that is no x86, 8-bit weights are left out, because there is no kernel
for them.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch
from flops import HEADING, flops_of, peak_of

from gpt_research.base import startup
from gpt_research.base.runtime import Runtime
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation.torch_engine import generate
from gpt_research.model.fast.packed import Weights, pack
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import load_model

Run = Callable[[int], float]
"""Takes a batch size; returns the seconds of one step of the batch."""


@dataclass(frozen=True)
class Contender:
    """A program that generates text."""

    run: Run
    weight_bytes: float
    """Bytes of one weight in memory."""
    cache_bytes: int
    """Bytes of one number in the cache of keys and values."""
    ours: str
    """Name of our contender of the same precision, to compare with."""
    machine: Runtime
    """Device and precision of its products."""


class Endless(Tokenizer):
    """A tokenizer without an end-of-text token, so that all contenders write the same number of
    tokens.
    """

    @property
    def end_of_text(self) -> int:
        return -1


def timed(action: Callable[[], object], machine: Runtime) -> float:
    machine.synchronize()
    started_at = time.perf_counter()
    action()
    machine.synchronize()
    return time.perf_counter() - started_at


def ours(config: GPTConfig, machine: Runtime, weights: Weights, tokens: int) -> Run:
    tokenizer = Endless.gpt2()
    torch.manual_seed(0)
    model = GPT(config).to(machine.device).eval()
    packed = functools.lru_cache(maxsize=1)(lambda batch: pack(model, machine, weights, rows=batch))

    def run(batch: int) -> float:
        model = packed(batch)  # the layout depends on the batch
        config = GenerateConfig(max_new_tokens=tokens, temperature=0, num_samples=batch)
        return timed(lambda: generate(model, tokenizer, "\n", config), machine) / tokens

    return run


def hugging_face(config: GPTConfig, machine: Runtime, tokens: int) -> Run:
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = GPT2Config(
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        n_positions=config.block_size,
        vocab_size=config.vocab_size,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = GPT2LMHeadModel(shape).to(machine.device, machine.dtype).eval()

    def run(batch: int) -> float:
        prompt = torch.full((batch, 1), 198, device=machine.device)
        write = lambda: model.generate(  # noqa: E731
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=tokens,
            do_sample=False,
            use_cache=True,
        )
        seconds = timed(write, machine)
        return seconds / tokens

    return run


def nanogpt(config: GPTConfig, machine: Runtime, path: Path, tokens: int) -> Run:
    sys.path.insert(0, str(path))
    from model import GPT as NanoGPT  # type: ignore[import-not-found]
    from model import GPTConfig as NanoConfig

    model = NanoGPT(NanoConfig(config.block_size, config.vocab_size, config.n_layer, config.n_head, config.n_embd, 0.0))
    model = model.to(machine.device).eval()
    points = min(4, tokens)
    lengths = [(2 * i + 1) * tokens // (2 * points) or 1 for i in range(points)]

    def run(batch: int) -> float:
        texts = [torch.full((batch, length), 198, device=machine.device) for length in lengths]
        return statistics.mean(timed(lambda t=text: model.generate(t, 1, top_k=1), machine) for text in texts)

    return run


def memory_speed(machine: Runtime) -> float:
    """Bytes a second that a sum over 256 MB reads."""
    block = torch.ones(64 << 20, device=machine.device)
    return block.nbytes / min(timed(block.sum, machine) for _ in range(3))


def bytes_a_step(config: GPTConfig, batch: int, tokens: int, contender: Contender) -> float:
    """Bytes that a step reads: every matrix once, and the keys and values of each row at half the
    final length.
    """
    matrices = 12 * config.n_layer * config.n_embd**2 + config.padded_vocab_size * config.n_embd
    cached = batch * config.n_layer * 2 * config.n_embd * tokens / 2
    return matrices * contender.weight_bytes + cached * contender.cache_bytes


GGUF_TYPES = {"fp32": ("f32", 4.0), "bf16": ("bf16", 2.0), "fp16": ("f16", 2.0), "int8": ("q8_0", 34 / 32)}
"""llama.cpp's type for each of our precisions, and its bytes per weight."""


def llama_cpp(config: GPTConfig, dtype: str, tokens: int) -> Run:
    from gpt_research.export import gguf
    from gpt_research.generation.llama_cpp import LlamaCpp
    from gpt_research.run import Run as RunFolder

    tokenizer, folder = Tokenizer.gpt2(), tempfile.TemporaryDirectory()
    torch.manual_seed(0)
    source = RunFolder(Path("random"), TrainConfig(model=config), tokenizer, GPT(config), 0, {}, "")
    path = Path(folder.name) / f"{dtype}.gguf"
    gguf.write(path, source, dtype)
    loaded = functools.lru_cache(maxsize=1)(lambda batch: LlamaCpp(path, tokenizer, config.block_size, batch))

    def run(batch: int) -> float:
        llama = loaded(batch)

        def write(slot: int) -> None:
            answer = llama.complete([198], tokens, id_slot=slot, temperature=0, ignore_eos=True)
            assert len(answer["tokens"]) == tokens, f"llama.cpp stopped early in {folder}"

        started_at = time.perf_counter()
        with ThreadPoolExecutor(batch) as pool:
            list(pool.map(write, range(batch)))
        return (time.perf_counter() - started_at) / tokens

    return run


_made = functools.cache(lambda make, *arguments: make(*arguments))


def _run_here(threads: int, batch: int, make: Callable[..., Run], arguments: tuple[object, ...]) -> float:
    torch.set_num_threads(threads)
    run: Run = _made(make, *arguments)
    return run(batch)


def apart(make: Callable[..., Run], *arguments: object) -> Run:
    """Run `make(*arguments)` in a process of its own; return a function that calls the result
    there.
    """
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    threads = torch.get_num_threads()
    return lambda batch: pool.submit(_run_here, threads, batch, make, arguments).result()


def contenders(arguments: argparse.Namespace, config: GPTConfig, device: torch.device) -> dict[str, Contender]:
    """Return the contenders by name."""
    tokens, on_cpu, found = arguments.tokens, device.type == "cpu", {}

    def add(name: str, weight_bytes: float, cache_bytes: int, make: Callable[..., Run], *rest: object) -> None:
        found[name] = Contender(apart(make, config, *rest, tokens), weight_bytes, cache_bytes, mine, machine)

    for precision in arguments.precision:
        if precision == "int8" and not (on_cpu and platform.machine().lower() in ("x86_64", "amd64")):
            print("int8 is left out: its kernels are for x86 CPUs", flush=True)
            continue
        mine, weights = f"ours {precision}", "int8" if precision == "int8" else "same"
        machine = Runtime(device, "fp32" if precision == "int8" else precision)
        dtype, size = GGUF_TYPES[precision]
        add(mine, int(size), 4 if on_cpu else int(size), ours, machine, weights)
        if precision in ("fp32", "bf16"):
            add(f"Hugging Face {precision}", size, int(size), hugging_face, machine)
        if on_cpu and importlib.util.find_spec("xllamacpp") is not None:
            add(f"llama.cpp {dtype}", size, 4, llama_cpp, dtype)
        if arguments.nanogpt and precision == "fp32":
            add("nanoGPT fp32", 4, 0, nanogpt, machine, arguments.nanogpt)
    return found


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Time every contender at every batch size; print a table as it goes and return its rows."""
    machine = startup.start(arguments.device, "fp32")
    config = GPTConfig(n_layer=arguments.n_layer, n_head=arguments.n_head, n_embd=arguments.n_embd, block_size=512)
    field = contenders(arguments, config, machine.device)
    peaks = {each.machine: peak_of(each.machine) for each in field.values()}
    print("\n".join(f"{each.precision}: peak {peak}" for each, peak in peaks.items()))
    reading = flops_of(config).reading(arguments.tokens / 2 / config.block_size)
    rows: list[dict[str, object]] = []
    for batch in arguments.batch:
        seconds: dict[str, list[float]] = {name: [] for name in field}
        speeds = []
        for _ in range(arguments.rounds):
            speeds.append(memory_speed(machine))
            for name, contender in field.items():
                seconds[name].append(contender.run(batch))
        speed = max(speeds)
        print(f"\nbatch {batch}, {arguments.tokens} tokens, memory {speed / 1e9:.1f} GB/s, load {os.getloadavg()[0]}")
        print(f"{'':20}{'tokens/s':>10}{'best':>10}{'of limit':>10}{'ours is':>10}   {HEADING} / 3")
        for name, contender in field.items():
            limit = batch * speed / bytes_a_step(config, batch, arguments.tokens, contender)
            mfu = peaks[contender.machine].mfu(reading, batch / statistics.median(seconds[name]))
            rows.append(row_of(name, batch, limit, seconds[name], seconds[contender.ours], mfu))
    return rows


def row_of(name: str, batch: int, limit: float, theirs: list[float], mine: list[float], mfu: str) -> dict[str, object]:
    """Print and return one line of the table, from the seconds of each round."""
    ratio = statistics.median(their / my for their, my in zip(theirs, mine, strict=True))
    speed, best = batch / statistics.median(theirs), batch / min(theirs)
    print(f"{name:20}{speed:10.1f}{best:10.1f}{speed / limit:10.0%}{ratio:9.2f}x   {mfu}", flush=True)
    return {
        "name": name,
        "batch": batch,
        "tokens_per_s": speed,
        "best_tokens_per_s": best,
        "limit_tokens_per_s": limit,
        "ours_is_times_as_fast": ratio,
        "mfu": mfu,
    }


@torch.inference_mode()
def loss(run_folder: Path, text: Path) -> list[dict[str, object]]:
    """The loss on a text, in nats a token, of each way to keep the weights."""
    machine = startup.start("cpu", "fp32")
    model, tokenizer = load_model(run_folder)
    size = model.config.block_size
    tokens = torch.tensor(tokenizer.encode(text.read_text(encoding="utf-8"))[: 200 * size + 1])
    windows = len(tokens) // size - (len(tokens) % size == 0)
    inputs, targets = tokens[: windows * size].view(-1, size), tokens[1 : windows * size + 1].view(-1, size)
    ways = {
        "fp32": pack(model, machine),
        "fp16": pack(model, Runtime(machine.device, "fp16")),
        "bf16": pack(model, Runtime(machine.device, "bf16")),
        "int8": pack(model, machine, "int8"),
    }
    rows: list[dict[str, object]] = []
    for name, packed in ways.items():
        pairs = zip(inputs.split(8), targets.split(8), strict=True)
        total = sum(packed(x, y).item() for x, y in pairs)
        rows.append({"weights": name, "loss": total / targets.numel(), "tokens": targets.numel()})
        cost = rows[-1]["loss"] - rows[0]["loss"]  # type: ignore[operator]
        print(f"{name:6}{rows[-1]['loss']:10.5f} nats a token {cost:+.5f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", choices=GGUF_TYPES, default=list(GGUF_TYPES))
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    parser.add_argument("--nanogpt", type=Path, help="a clone of nanoGPT")
    parser.add_argument("--n_layer", type=int, default=12)
    parser.add_argument("--n_head", type=int, default=12)
    parser.add_argument("--n_embd", type=int, default=768)
    parser.add_argument("--loss", type=Path, help="a run folder")
    parser.add_argument("--text", type=Path, help="the text for --loss")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows = loss(arguments.loss, arguments.text) if arguments.loss else measure(arguments)
    if arguments.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "tokens": arguments.tokens}
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
