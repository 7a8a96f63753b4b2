"""How many threads of torch an engine generates fastest with: all, or one for a small model.

A small model's products take less time than two threads need to meet. With one thread nothing waits
for others, and the other cores are free for the event loop and for other work.
"""

from __future__ import annotations

import time

import torch

from gpt_research.config import GenerateConfig
from gpt_research.generation.engine import GenerationEngine, Request

SMALL_STEP_S = 0.03
"""A step that takes longer is worth all cores."""
TEXTS, TOKENS = 4, 8
"""What is generated to find out."""


def fastest_threads(engine: GenerationEngine, cores: int) -> int:
    """Return 1 or `cores`. The engine must be idle, and this thread the one that will use it."""
    together = _fastest_step_s(engine, cores)
    if cores == 1 or together > SMALL_STEP_S:
        return cores
    # Alone is also better where both are about as fast.
    return 1 if _fastest_step_s(engine, 1) < 1.1 * together else cores


def _fastest_step_s(engine: GenerationEngine, threads: int) -> float:
    """Return the seconds of the fastest of a few steps."""
    torch.set_num_threads(threads)
    config = GenerateConfig(max_new_tokens=TOKENS, temperature=0)
    prompt = [engine.tokenizer.end_of_text]
    numbers = [engine.add(Request(prompt, config, number)) for number in range(TEXTS)]
    seconds: list[float] = []
    while engine.busy and sum(seconds) < 4 * SMALL_STEP_S:
        started_at = time.perf_counter()
        engine.step()
        seconds.append(time.perf_counter() - started_at)
    for number in numbers:
        engine.cancel(number)
    return min(seconds)
