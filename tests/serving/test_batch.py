"""The thread of the batch: fair admission, handovers, and faults that end texts but not itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gpt_research.config import GenerateConfig
from gpt_research.generation.engine import Piece, Request, Sample
from gpt_research.serving import batch as batch_module
from gpt_research.serving.batch import Batch, Job
from gpt_research.serving.errors import ApiError


class Counting:
    """An engine whose samples are tokens 0, 1, 2, ...; it notes what joins and runs at a step."""

    block_size, description, tokenizer = 2000, "", None

    def __init__(self) -> None:
        self._ids = itertools.count()
        self.running: dict[int, tuple[Request, list[int]]] = {}
        self.joined: list[int] = []
        self.sizes: list[int] = []
        self.rows: list[int] = []
        self.before_step: Callable[[], None] = lambda: None

    @property
    def busy(self) -> bool:
        return bool(self.running)

    def add(self, request: Request) -> int:
        self.running[id := next(self._ids)] = request, []
        self.joined.append(len(request.prompt))
        return id

    def cancel(self, id: int) -> None:
        self.running.pop(id, None)

    def step(self) -> list[Piece]:
        self.before_step()
        self.sizes.append(sum(len(request.prompt) for request, drawn in self.running.values() if not drawn))
        self.rows.append(len(self.running))
        pieces = []
        for id, (request, drawn) in list(self.running.items()):
            drawn.append(len(drawn))
            sample = None
            if len(drawn) == request.settings.max_new_tokens:
                sample = Sample("x" * len(drawn), drawn, [0.0] * len(drawn), "length")
                del self.running[id]
            pieces.append(Piece(id, "x", [drawn[-1]], [0.0], [], False, sample))
        return pieces


def asked(length: int = 1, tokens: int = 3) -> Request:
    return Request([0] * length, GenerateConfig(max_new_tokens=tokens))


def in_batch(test: Callable[[Batch], Coroutine[Any, Any, None]], **limits: int) -> None:
    async def run() -> None:
        batch = Batch(**limits)
        batch.start()
        try:
            await asyncio.wait_for(test(batch), 20)
        finally:
            batch.close()

    # In a thread of its own, because Playwright leaves an event loop in the thread of the tests.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(run())).result()


async def pieces_of(job: Job) -> list[tuple[int, Piece]]:
    with job:
        return [entry async for fresh in job for entry in fresh]


def test_more_samples_than_places_are_written_in_turn() -> None:
    async def test(batch: Batch) -> None:
        engine = Counting()
        jobs = [batch.submit(engine, [asked(1 + i, tokens=300)] * 2, streamed=False) for i in range(5)]
        found = await asyncio.gather(*map(pieces_of, jobs))
        assert engine.joined == [1 + i // 2 for i in range(10)]  # in order
        assert max(engine.rows) == 3
        for pieces in found:
            assert sorted(index for index, piece in pieces if piece.sample is not None) == [0, 1]
        assert (batch.in_flight, batch.running, batch.tokens) == (0, 0, 3000)

    in_batch(test, most_running=3)


def test_long_prompts_join_a_few_at_a_time_but_each_joins() -> None:
    async def test(batch: Batch) -> None:
        engine = Counting()
        lengths = [700, 700, 10, 1500, 5]
        jobs = [batch.submit(engine, [asked(length, tokens=30)], streamed=False) for length in lengths]
        await asyncio.gather(*map(pieces_of, jobs))
        assert sorted(engine.joined) == sorted(lengths)
        assert all(size <= batch_module.TOKENS_TO_JOIN or size == 1500 for size in engine.sizes)

    in_batch(test)


def test_a_fault_of_the_engine_ends_its_texts_and_the_next_ones_are_written() -> None:
    async def test(batch: Batch) -> None:
        engine, well = Counting(), Counting()

        def fail() -> None:
            engine.before_step = lambda: None
            raise RuntimeError("out of memory")

        engine.before_step = fail
        failing = batch.submit(engine, [asked()] * 2, streamed=True)
        other = batch.submit(well, [asked()], streamed=True)
        with pytest.raises(RuntimeError, match="out of memory"):
            await pieces_of(failing)
        assert len(await pieces_of(other)) == 3
        assert len(await pieces_of(batch.submit(engine, [asked()], streamed=True))) == 3
        assert batch.in_flight == 0

    in_batch(test)


def test_a_fault_of_our_own_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(batch: Batch) -> None:
        engine = Counting()
        hand_over = batch._generator._hand_over

        def fail() -> None:
            batch._generator._hand_over = hand_over  # type: ignore[method-assign]
            raise KeyError("ours")

        batch._generator._hand_over = fail  # type: ignore[method-assign]
        with pytest.raises(KeyError):
            await pieces_of(batch.submit(engine, [asked()], streamed=True))
        assert not engine.running
        assert len(await pieces_of(batch.submit(engine, [asked()], streamed=True))) == 3

    in_batch(test)


def test_work_between_two_steps_returns_raises_and_is_dropped_with_its_caller() -> None:
    async def test(batch: Batch) -> None:
        job = batch.submit(Counting(), [asked(tokens=1000)], streamed=False)
        assert await batch.call(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await batch.call(lambda: 1 // 0)
        done: list[int] = []
        dropped = asyncio.ensure_future(batch.call(done.append, 1))
        await asyncio.sleep(0)
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        await pieces_of(job)
        assert batch._called == 0

    in_batch(test)


def test_a_stopped_batch_refuses() -> None:
    async def test(batch: Batch) -> None:
        await batch.stop(0)
        with pytest.raises(ApiError, match="being stopped"):
            batch.submit(Counting(), [asked()], streamed=False)

    in_batch(test)
