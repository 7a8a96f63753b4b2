"""Our server beside llama.cpp's, on the same exported model at equal precision.

    python benchmarks/serving.py --run RUN_DIR --precision fp32 bf16 --clients 1 8 32 --rounds 3
    python benchmarks/serving.py --shape gpt2 --precision bf16 --tokens 64
    python benchmarks/serving.py --run RUN_DIR --slow 500          500 slow clients beside 8 others
    python benchmarks/serving.py --run RUN_DIR --soak 600          memory under load, in seconds

Each server is a process of its own, with as many threads as there are cores. The servers take turns
in each round, and only the one whose turn it is works. Clients send the same prompts, ask for
greedy text, and each sends its next request once it has the answer. They are one process that only
counts, so that it takes little of the cores. The table has medians over the rounds, and the median
of the ratios of each round: tokens a second of all clients together, with whole answers and with
streams, and the time to the first text of a stream.

With --shape gpt2 the model has GPT-2's shape and random weights. llama.cpp keeps keys and values in
fp32, as our server does on a CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch

from gpt_research.base.settings import write_yaml
from gpt_research.checkpoint.files import Checkpoint
from gpt_research.checkpoint.saver import save_checkpoint
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.config import TrainConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

GGUF_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "q8_0"}
TEXT = "the king and queen of england speak to thee, my lord, in love and war; what news from rome"
COMPLETION_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')


@dataclass(frozen=True)
class Address:
    """Where a server listens, and its process."""

    port: int
    pid: int


@dataclass(frozen=True)
class Answered:
    """One answer."""

    tokens: int
    first_s: float
    """Seconds to the first byte of a body."""


def random_run(folder: Path) -> Path:
    """Write a run of GPT-2's shape with random weights."""
    torch.manual_seed(0)
    model, tokenizer = GPT(GPTConfig()), Tokenizer.gpt2()
    folder.mkdir(parents=True)
    write_yaml(TrainConfig(data=str(folder / "no_data")), folder / "config.yaml")
    tokenizer.save(folder / "tokenizer.json")
    state = {"lineage": {"tokenizer": tokenizer.fingerprint}}
    save_checkpoint(folder, Checkpoint(1, model_tensors(model), {}, state), keep_last=1)
    return folder


@contextlib.contextmanager
def our_server(run: Path, precision: str) -> Iterator[Address]:
    weights = ["--weights", "int8"] if precision == "int8" else ["--precision", precision]
    command = [sys.executable, "-m", "gpt_research", "serve", str(run), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen([*command, *weights], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.search(r"127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise SystemExit("Our server did not start.")
        yield Address(int(match[1]), process.pid)
    finally:
        process.terminate()
        process.wait()


def run_llama(path: str, tokenizer: Path, block_size: int, slots: int, started: multiprocessing.SimpleQueue) -> None:
    from gpt_research.generation.llama_cpp import LlamaCpp

    llama = LlamaCpp(Path(path), Tokenizer.load(tokenizer), block_size, slots)
    started.put(llama._server.listening_address)
    time.sleep(1e6)


@contextlib.contextmanager
def llama_server(run: Path, precision: str, clients: int) -> Iterator[Address]:
    from gpt_research.export.gguf_of_run import gguf_of_run

    file = gguf_of_run(run, GGUF_TYPES[precision], "newest", None, notice=lambda text: print(text, file=sys.stderr))
    context = multiprocessing.get_context("spawn")
    started = context.SimpleQueue()
    arguments = (str(file.path), run / "tokenizer.json", file.config.block_size, clients, started)
    process = context.Process(target=run_llama, args=arguments)
    process.start()
    try:
        assert process.pid is not None
        yield Address(int(started.get().rpartition(":")[2]), process.pid)
    finally:
        process.terminate()
        process.join()


async def ask(port: int, *, stream: bool, **fields: object) -> Answered:
    """Send a request, and read the answer without taking it apart."""
    content = {"stream": stream, **({"stream_options": {"include_usage": True}} if stream else {}), **fields}
    body = json.dumps(content).encode()
    started_at = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    status = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in status.partition(b"\r\n")[0]:
        raise SystemExit(f"{status!r} {await reader.read()!r}")
    parts = [await reader.read(1 << 16)]
    first_s = time.perf_counter() - started_at
    while part := await reader.read(1 << 16):
        parts.append(part)
    writer.close()
    counts = COMPLETION_TOKENS.findall(b"".join(parts))
    if not counts:
        raise SystemExit(f"An answer has no usage: {b''.join(parts)[-300:]!r}")
    return Answered(int(counts[-1]), first_s)


async def load(port: int, clients: int, tokens: int, requests: int, *, stream: bool) -> tuple[float, float]:
    """Return tokens a second of all clients together, and the median time to the first text."""

    async def client(number: int) -> list[Answered]:
        rng = random.Random(number)
        prompts = [" ".join(rng.choices(TEXT.split(), k=10)) for _ in range(requests)]
        return [await ask(port, stream=stream, prompt=p, max_tokens=tokens, temperature=0) for p in prompts]

    started_at = time.perf_counter()
    answers = [a for own in await asyncio.gather(*map(client, range(clients))) for a in own]
    seconds = time.perf_counter() - started_at
    return sum(a.tokens for a in answers) / seconds, statistics.median(a.first_s for a in answers)


def compare(run: Path, precision: str, clients: int, options: argparse.Namespace) -> dict[str, float]:
    """Let both servers take turns; return the medians."""
    found: dict[str, list[float]] = {}
    with our_server(run, precision) as ours, llama_server(run, precision, clients) as theirs:
        for port in (ours.port, theirs.port):  # both load and warm up
            asyncio.run(load(port, clients, 16, 1, stream=False))
        for turn in range(options.rounds):
            servers = [("ours", ours.port), ("llama.cpp", theirs.port)]
            for name, port in servers if turn % 2 else reversed(servers):
                for kind, stream in (("whole", False), ("stream", True)):
                    rate, first_s = asyncio.run(load(port, clients, options.tokens, options.requests, stream=stream))
                    found.setdefault(f"{name} {kind}", []).append(rate)
                    if stream:
                        found.setdefault(f"{name} first ms", []).append(1000 * first_s)
    ratios = {
        f"ratio {kind}": statistics.median(
            a / b for a, b in zip(found[f"ours {kind}"], found[f"llama.cpp {kind}"], strict=True)
        )
        for kind in ("whole", "stream")
    }
    return {name: statistics.median(values) for name, values in found.items()} | ratios


def resident_mb(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024  # type: ignore[index]


def slow_clients(run: Path, precision: str, count: int, options: argparse.Namespace) -> None:
    """Show what slow clients cost eight others, and when they are closed."""
    with our_server(run, precision) as ours:
        asyncio.run(load(ours.port, 8, 16, 1, stream=True))
        alone = asyncio.run(load(ours.port, 8, options.tokens, options.requests, stream=True))
        memory = resident_mb(ours.pid)
        started_at = time.perf_counter()
        slow = [socket.create_connection(("127.0.0.1", ours.port)) for _ in range(count)]
        for connection in slow:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
        beside = asyncio.run(load(ours.port, 8, options.tokens, options.requests, stream=True))
        print(f"8 clients: {alone[0]:.0f} tokens/s alone, {beside[0]:.0f} beside {count} slow clients")
        print(f"first text: {1000 * alone[1]:.1f} ms alone, {1000 * beside[1]:.1f} ms beside them")
        grown = resident_mb(ours.pid) - memory
        for connection in slow:
            while connection.recv(4096):
                pass
        print(f"memory: {grown:+.1f} of {memory:.0f} MB; all closed after {time.perf_counter() - started_at:.1f} s")


def soak(run: Path, precision: str, seconds: float) -> None:
    """Load the server with requests of all kinds, and show its memory over time."""

    async def client(port: int, number: int, until: float) -> int:
        rng, done = random.Random(number), 0
        while time.monotonic() < until:
            asked = {
                "prompt": " ".join(rng.choices(TEXT.split(), k=rng.randint(1, 20))),
                "max_tokens": rng.randint(1, 200),
                "n": rng.randint(1, 3),
                "logprobs": rng.choice([None, 0, 5]),
                "echo": rng.random() < 0.2,
            }
            with contextlib.suppress(TimeoutError):  # some leave in the middle
                limit = rng.choice([0.05, 60, 60, 60])
                await asyncio.wait_for(ask(port, stream=rng.random() < 0.5, **asked), limit)
            done += 1
        return done

    async def all_clients(server: Address) -> None:
        until = time.monotonic() + seconds
        clients = [asyncio.ensure_future(client(server.port, number, until)) for number in range(8)]
        for part in range(11):
            await asyncio.sleep(max(0, until - seconds * (10 - part) / 10 - time.monotonic()))
            print(f"{seconds * part / 10:6.0f} s {resident_mb(server.pid):8.1f} MB", flush=True)
        print(f"{sum(await asyncio.gather(*clients)):,} requests")

    with our_server(run, precision) as server:
        asyncio.run(load(server.port, 8, 16, 1, stream=True))
        asyncio.run(all_clients(server))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--shape", choices=["gpt2"])
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=GGUF_TYPES)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=96, help="tokens of an answer")
    parser.add_argument("--requests", type=int, default=4, help="requests of each client in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow", type=int, default=0)
    parser.add_argument("--soak", type=float, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        run = options.run or random_run(Path(scratch) / "gpt2")
        if options.slow:
            slow_clients(run, options.precision[0], options.slow, options)
        elif options.soak:
            soak(run, options.precision[0], options.soak)
        else:
            print(
                "| precision | clients | ours whole | llama.cpp | ratio | ours stream | llama.cpp | ratio | first ms |"
            )
            print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
            for precision in options.precision:
                for clients in options.clients:
                    f = compare(run, precision, clients, options)
                    cells = [f"{f['ours whole']:,.0f}", f"{f['llama.cpp whole']:,.0f}", f"{f['ratio whole']:.2f}"]
                    cells += [f"{f['ours stream']:,.0f}", f"{f['llama.cpp stream']:,.0f}", f"{f['ratio stream']:.2f}"]
                    firsts = f"{f['ours first ms']:.1f} / {f['llama.cpp first ms']:.1f}"
                    print(f"| {precision} | {clients} | {' | '.join([*cells, firsts])} |", flush=True)


if __name__ == "__main__":
    main()
