"""What one token of generation asks of a GPU: launches, read-backs and copies, with recorded steps
and without.

    python benchmarks/launches.py
    python benchmarks/launches.py --batch 8 --unequal --top_p 0.9

A model with few rows is as fast as the program can launch its operations, so these are counted, by
running the engine's own code on the CPU. A launch is an operation that is neither a view nor the
allocation of memory; some take more than one kernel on a GPU, and attention is counted as the one
operation that it is in PyTorch's fused kernels. A recorded step (a CUDA graph) is one launch, and
"inside it" are the operations that the GPU carries out by itself. On a machine with a GPU,
`benchmarks/generation.py --device cuda` measures the tokens a second.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpt_research.base import wait_policy

wait_policy.choose()  # before torch is loaded

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpt_research.config import GenerateConfig
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.generation import static_step
from gpt_research.generation.engine import Request
from gpt_research.generation.recording import Compute, Recorder
from gpt_research.generation.torch_engine import TorchEngine
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

READ_BACKS = ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")
NO_KERNEL = ("empty", "new_empty", "empty_like", "detach", "alias", "lift_fresh", "_unsafe_view", "_local_scalar_dense")


class Counts(TorchDispatchMode):
    """Counts operations under the name that is current: "launches" or "inside it"."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.numbers = "launches", Counter[str]()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Count what follows as part of a recording, which is one launch."""
        self.numbers["launches"] += 1
        before, self.name = self.name, "inside it"
        yield
        self.name = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if func is torch.ops.aten.dropout.default and not args[2]:
            return args[0]  # without a mode like this one, PyTorch passes the tensor on
        with self:  # in inference mode, operations that consist of others arrive whole
            whole = func.decompose(*args, **kwargs)
        if whole is not NotImplemented:
            return whole
        if not (func.is_view or func.overloadpacket.__name__ in NO_KERNEL):
            self.numbers[self.name] += 1
        return func(*args, **kwargs)


class Copies(TorchFunctionMode):
    """Counts values that the program asks for, and tensors that it sends to the device."""

    def __init__(self, numbers: Counter[str]) -> None:
        super().__init__()
        self.numbers = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        self.numbers["read-backs"] += name in READ_BACKS
        self.numbers["sent"] += name == "to" and any(isinstance(x, torch.device) for x in args)
        return func(*args, **(kwargs or {}))


def count(model: GPT, tokenizer: Tokenizer, requests: list[Request], *, static: bool, tokens: int) -> dict[str, float]:
    """Return the counts of a token, the mean over `tokens` steps of the whole batch."""
    counts = Counts()

    def record(compute: Compute) -> Compute:
        def replay() -> torch.Tensor:
            with counts.inside():
                return compute()

        return replay

    static_step.recorder = lambda device: Recorder(record)  # stands for CUDA graphs
    engine = TorchEngine(model, tokenizer, static=static)
    for request in requests:
        engine.add(request)
    for _ in range(4):  # the prompt, the first steps, and the recording
        engine.step()
    with Copies(counts.numbers), counts:
        for _ in range(tokens):
            engine.step()
    return {name: counts.numbers[name] / tokens for name in ("launches", "inside it", "read-backs", "sent")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--unequal", action="store_true", help="prompts of different lengths")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that are counted")
    for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"):
        default = getattr(GenerateConfig, name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    for name, default in (("n_layer", 12), ("n_head", 12), ("n_embd", 768)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = vars(parser.parse_args())
    shape = {name: arguments.pop(name) for name in ("n_layer", "n_head", "n_embd")}
    batch, unequal, tokens = (arguments.pop(name) for name in ("batch", "unequal", "tokens"))
    settings = GenerateConfig(max_new_tokens=tokens + 9, **arguments)
    tokenizer = Tokenizer.gpt2()
    model = GPT(GPTConfig(block_size=512, vocab_size=tokenizer.vocab_size, **shape), seed=0).eval()
    with torch.no_grad():
        model.head.weight[tokenizer.end_of_text] = 0  # so that no text ends early
    requests = [Request([198] * (1 + row * unequal), settings, row) for row in range(batch)]
    print(f"{shape['n_layer']} layers of {shape['n_embd']}, {batch} texts{' of unequal lengths' * unequal}, {settings}")
    print(f"{'a token of all texts':32}{'launches':>10}{'inside it':>11}{'read-backs':>12}{'sent':>8}")
    for static, name in ((False, "one operation after another"), (True, "recorded")):
        found = count(model, tokenizer, requests, static=static, tokens=tokens)
        values = (f"{found[name]:.2f}".rstrip("0").rstrip(".") for name in found)
        print(f"{name:32}" + "".join(f"{value:>{width}}" for value, width in zip(values, (10, 11, 12, 8), strict=True)))


if __name__ == "__main__":
    main()
