"""Tokens a second that loaders hand out on one core, side by side in one run.

    python benchmarks/dataloader.py --tokens 200000000 --rounds 5 --json out.json

Contenders, all over the same file of uint16 tokens: ours; batches at random places of a memory map,
as nanoGPT draws them; torch's DataLoader over a data set of windows; and a bare gather of windows
at places known beforehand, which is what is left when nothing is shuffled, mixed or checked. They
take turns within each round; medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import numpy as np
import torch

from gpt_research.data.loader import DataLoader
from gpt_research.data.shards import Dataset, gather

Draw = Callable[[int], object]


def ours(dataset: Dataset, batch: int) -> Draw:
    loader = DataLoader(dataset.train, {}, samples_per_step=64 * batch, micro_batch=batch, seed=1, vocab_size=50257)
    return lambda i: loader.batch(i // 64, i % 64)


def bare_gather(dataset: Dataset, batch: int) -> Draw:
    (files,) = dataset.train.values()
    T, tokens = files.block_size, files.arrays[0]
    starts = np.random.default_rng(0).permutation(files.num_windows)[: 4096 * batch] * T

    def draw(i: int) -> object:
        first = i * batch % (len(starts) - batch)
        return gather([(tokens, s) for s in starts[first : first + batch].tolist()], T)

    return draw


def random_places(dataset: Dataset, batch: int) -> Draw:
    """A memory map opened for each batch, random starts, one tensor for tokens and one for
    targets.
    """
    path, T = dataset.folder / "train.bin", dataset.block_size

    def draw(i: int) -> object:
        data = np.memmap(path, dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - T, (batch,)).tolist()
        tokens = torch.stack([torch.from_numpy(data[s : s + T].astype(np.int64)) for s in starts])
        targets = torch.stack([torch.from_numpy(data[s + 1 : s + 1 + T].astype(np.int64)) for s in starts])
        return tokens, targets

    return draw


class Windows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """One window an item, for torch's DataLoader."""

    def __init__(self, dataset: Dataset) -> None:
        (files,) = dataset.train.values()
        self.tokens, self.block_size, self.length = files.arrays[0], files.block_size, files.num_windows

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        start = index * self.block_size
        return torch.from_numpy(self.tokens[start : start + self.block_size + 1].astype(np.int64))


def torch_loader(dataset: Dataset, batch: int) -> Draw:
    def forever() -> Iterator[torch.Tensor]:
        while True:
            yield from torch.utils.data.DataLoader(Windows(dataset), batch_size=batch, shuffle=True)

    batches = forever()
    return lambda i: next(batches)


CONTENDERS: dict[str, Callable[[Dataset, int], Draw]] = {
    "ours": ours,
    "bare gather": bare_gather,
    "random places (nanoGPT's way)": random_places,
    "torch DataLoader": torch_loader,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=int, default=200_000_000)
    parser.add_argument("--block_size", type=int, default=512)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tokens = np.random.default_rng(0).integers(0, 50257, arguments.tokens, dtype=np.uint16)
        tokens.tofile(Path(folder) / "train.bin")
        dataset = Dataset(folder, arguments.block_size)
        for batch in arguments.batch:
            speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
            draws = {name: make(dataset, batch) for name, make in CONTENDERS.items()}
            for _ in range(arguments.rounds):
                for name, draw in draws.items():
                    speeds[name].append(measure(draw, batch * arguments.block_size, arguments.seconds))
            print(f"\nbatch {batch}, context {arguments.block_size}, {arguments.tokens / 1e6:.0f}M tokens, one core")
            base = statistics.median(speeds["ours"])
            for name, values in speeds.items():
                median = statistics.median(values)
                print(f"  {name:32}{median / 1e6:8.0f} M tokens/s   ours is {base / median:6.2f}x")
            results[str(batch)] = {name: statistics.median(values) for name, values in speeds.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(draw: Draw, tokens: int, seconds: float) -> float:
    """Return tokens a second of processor time, so that a busy machine does not count."""
    begun, i = time.process_time(), 0
    while time.process_time() - begun < seconds:
        draw(i)
        i += 1
    return i * tokens / (time.process_time() - begun)


if __name__ == "__main__":
    main()
