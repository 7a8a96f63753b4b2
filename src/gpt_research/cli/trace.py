"""`gpt-research trace RUN "text"`: where the training data has a text, and which steps read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpt_research.base.errors import require

if TYPE_CHECKING:
    from gpt_research.tracing.losses import CheckpointLoss
    from gpt_research.tracing.trace import Dated, Place, Span, Trace

MOST_STEPS = 6
"""Steps of a place that are listed for people; the others are counted."""


@dataclass(frozen=True)
class TraceCommand:
    """Find where the training data has a text, and which steps of a run read it there."""

    run: str = ""
    """Run folder, or RUN@STEP for what it had read by then. Empty: the newest under runs/."""
    query: str = ""
    """Text to look for; it may also be given behind the run, without a flag. - reads it from
    standard input."""
    spans: int = 5
    """Spans to show, those with the most tokens first."""
    places: int = 3
    """Places to show of each."""
    losses: bool = True
    """Compute the loss of the longest span with each checkpoint that is kept."""
    json: bool = False
    """Print one JSON object instead, with all spans."""
    data: str = ""
    """Data set folder. Empty: the one that the run was trained on."""
    index: str = ""
    """Folder of its index. Empty: suffix_array in the folder of the data set."""

    def __post_init__(self) -> None:
        require(self.query != "", "query", self.query, 'the text to look for: trace RUN "a text"')
        require(self.spans >= 1, "spans", self.spans, "1 or more")
        require(self.places >= 1, "places", self.places, "1 or more")


def run(command: TraceCommand) -> int:
    """Print where the text stands and when it was read; return the exit code.

    Raises:
        UserError: as `Tracer.open` and `Tracer.trace` do.
    """
    import sys

    from gpt_research.cli.prompt import read_prompt
    from gpt_research.run import named_or_newest
    from gpt_research.tracing.losses import losses_at_checkpoints
    from gpt_research.tracing.trace import Tracer

    text = read_prompt(command.query, sys.stdin.buffer)
    tracer = Tracer.open(named_or_newest(command.run), command.data, command.index)
    trace = tracer.trace(text, limit=command.places)
    best = trace.longest
    losses = []
    if command.losses and best is not None:
        folder, last_step = tracer.reference.folder, tracer.readings.last_step
        losses = losses_at_checkpoints(folder, *tracer.in_context(best), last_step)
    if command.json:
        found = trace.as_json() | {
            "losses": [vars(loss) for loss in losses],
            "losses_of": [best.start, best.stop] if best is not None and losses else None,
        }
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for line in in_words(trace, command.spans, losses):
        print(line)
    return 0


def in_words(trace: Trace, spans: int, losses: Sequence[CheckpointLoss] = ()) -> Iterator[str]:
    """Yield the lines that people read, the longest spans first."""
    if not trace.spans:
        yield f"No two tokens of the text stand together in the data of {trace.run}."
    by_length = sorted(trace.spans, key=lambda span: (-len(span.tokens), span.start))
    for number, span in enumerate(by_length[:spans]):
        yield from _span(span, trace.last_step)
        if number == 0 and losses:
            yield from _losses(span, losses)
        yield ""
    if len(by_length) > spans:
        yield f"{len(by_length) - spans} shorter spans are not shown (--spans {len(by_length)}, or --json)."
    yield from trace.remarks


def _span(span: Span, last_step: int) -> Iterator[str]:
    whole = f"{len(span.tokens)} token{'s' * (len(span.tokens) != 1)}, characters {span.start:,} to {span.stop:,}"
    yield f"{_shown(span.text)}  ({whole})"
    yield f"  in training {_times(span.count)}, in validation {_times(span.validation_count)}"
    for place in span.places:
        yield from _place(place, last_step)
    if span.count > len(span.places):
        yield f"  ... and {span.count - len(span.places):,} places more"
    for place in span.validation_places[:1]:
        yield f"  validation: {_where(place)}"
    if span.validation_count > 1:
        yield f"  ... and {span.validation_count - 1:,} more in validation"


def _place(place: Place, last_step: int) -> Iterator[str]:
    yield f"  {_where(place)}"
    yield f"    {_shown(place.before[-60:], place.after[:60])}"
    whole = [reading for reading in place.readings if reading.is_whole]
    parts = [reading for reading in place.readings if not reading.is_whole]
    if whole:
        yield f"    read whole at step {_steps(whole)}"
    if parts:
        yield "    no window held it whole in " + ("these passes" if whole else "any pass") + ", only parts:"
        yield from (f"      {_shown(reading.text)} at step {_steps([reading])}" for reading in parts[:MOST_STEPS])
        if len(parts) > MOST_STEPS:
            yield f"      ... and {len(parts) - MOST_STEPS:,} parts more"
    if not place.readings:
        yield f"    not read by step {last_step:,}"


def _where(place: Place) -> str:
    source = f"{place.source} ({place.position})" if place.source else "unknown file"
    return f"{place.corpus}: {source}, byte {place.byte:,} of the document ({place.split} token {place.token:,})"


def _steps(readings: Sequence[Dated]) -> str:
    """Return steps with the checkpoints around the first."""
    listed = ", ".join(f"{reading.step:,}" for reading in readings[:MOST_STEPS])
    more = f" and {len(readings) - MOST_STEPS:,} more" if len(readings) > MOST_STEPS else ""
    first = readings[0]
    before = "the start" if first.checkpoint_before is None else f"checkpoint {first.checkpoint_before:,}"
    after = "no later checkpoint" if first.checkpoint_after is None else f"checkpoint {first.checkpoint_after:,}"
    between = f"between {before} and {after}" if first.checkpoint_after is not None else f"after {before}, with {after}"
    return f"{listed}{more} ({'the first ' if len(readings) > 1 else ''}{between})"


def _losses(span: Span, losses: Sequence[CheckpointLoss]) -> Iterator[str]:
    read = sorted({r.step for place in span.places for r in place.readings if r.is_whole})
    yield "  loss of the span at the first of these places, in nats a token:"
    for number, loss in enumerate(losses):
        before = losses[number - 1].step if number else -1
        steps = [step for step in read if before < step <= loss.step]
        mark = f"   <- read at step {', '.join(f'{step:,}' for step in steps[:MOST_STEPS])}" if steps else ""
        yield f"    checkpoint {loss.step:>8,}   {loss.loss:8.4f}{mark}"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count:,} times")


def _shown(*parts: str) -> str:
    """Return a text on one line within quotation marks; between two parts stands the span."""
    return "»" + " … ".join(" ".join(part.split()) if len(parts) > 1 else repr(part)[1:-1] for part in parts) + "«"
