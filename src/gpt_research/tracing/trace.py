"""Traces a text: the longest parts of it that the data has, where, and when they were read.

A part that is found is an exact copy, token for token. That it was read before the model wrote it
does not show that it is why.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.data.dataset_tokenizer import check_same_tokens
from gpt_research.data.lineage import roots_of
from gpt_research.data.readings import Reading, Stretch
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.run_reference import RunReference, run_reference
from gpt_research.tracing.index import Index, SplitIndex
from gpt_research.tracing.matches import Found, longest_parts, tokens_of
from gpt_research.tracing.places import Located, locate
from gpt_research.training.run_readings import RunReadings

LOOKED_AT = 64
"""Places of a part of which it is computed when they were read, to find the first of them."""

FIRST_WORDS = 16
"""Tokens of the data that are traced when a run is opened."""


@dataclass(frozen=True)
class Dated:
    """A step that read a place, or a part of it."""

    step: int
    """Counted from 1."""
    row: int
    """The row of the window among the sequences of the step."""
    epoch: int
    """The pass over the corpus, counted from 0."""
    text: str
    """What the window held of the span."""
    is_whole: bool
    """False if no window of this pass held the whole span, so that it was read in parts."""
    in_window: int
    """The place of the first of these tokens in the window."""
    checkpoint_before: int | None
    """The last checkpoint that is kept from before the step; None if there is none."""
    checkpoint_after: int | None
    """The first one that is kept from after the step; None if there is none yet."""


@dataclass(frozen=True)
class Place(Located):
    """A place of a span in the data set."""

    split: str
    root: str
    """File or folder that the corpus was read from; empty if the data set does not say."""
    shard: int
    token_in_shard: int
    readings: list[Dated]
    """When the run read it, in the order of steps; none for the validation split."""


@dataclass(frozen=True)
class Span:
    """A part of the text that the data has, and that lies in no longer one."""

    start: int
    stop: int
    """Its characters in the text, from `start` to before `stop`."""
    text: str
    tokens: list[int]
    """One of the ways in which the data writes the text; a place may hold another one."""
    count: int
    """How often the training split has it."""
    validation_count: int
    places: list[Place]
    """Some of the places in the training split, those that were read first before the others."""
    validation_places: list[Place]


@dataclass(frozen=True)
class Trace:
    """Where the data has the parts of a text, and when a run read them."""

    text: str
    tokens: list[int]
    """Of the whole text."""
    token_texts: list[str]
    run: str
    last_step: int
    """The last step of the run that is looked at."""
    spans: list[Span]
    """By their place in the text."""
    remarks: list[str]
    """What is not known, or was left out."""

    @property
    def longest(self) -> Span | None:
        """The span with the most tokens."""
        return max(self.spans, key=lambda span: len(span.tokens), default=None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Tracer:
    """A run with the index of its data, opened for any number of texts."""

    reference: RunReference
    tokenizer: Tokenizer
    readings: RunReadings
    index: Index
    roots: dict[str, str]

    @classmethod
    def open(cls, run: RunReference | Path | str, data: str = "", index: str = "") -> Tracer:
        """Open a run, up to its checkpoint if one is named, and the index of its data set. What
        questions need besides, such as machine code, is loaded here too.

        Args:
            data: where the data set lies; empty if it is where the run found it.
            index: where its index lies; empty if it is in the folder of the data set.

        Raises:
            UserError: there is no such run, data set or index, or they do not belong together.
        """
        reference = run if isinstance(run, RunReference) else run_reference(run)
        readings = RunReadings.open(reference, data)
        tokenizer = Tokenizer.load(reference.folder / "tokenizer.json")
        check_same_tokens(readings.dataset, tokenizer, reference.folder)
        index_of_data = Index(readings.dataset, index)
        opened = cls(reference, tokenizer, readings, index_of_data, roots_of(readings.dataset.folder))
        # The first question takes a second more than others, so it is asked here.
        train = index_of_data.train.text
        if words := tokenizer.decode(train.tokens(0, min(FIRST_WORDS, train.count))):
            opened.trace(words)
        return opened

    def trace(self, text: str, *, before: str | None = None, limit: int = 5, minimum: int = 2) -> Trace:
        """Return the parts of a text that the data has.

        Args:
            before: what stands before the text, which decides its first tokens; None if that is not
                known.
            limit: places that are returned of each span and split.
            minimum: tokens of the shortest span, unless it is the whole text.

        Raises:
            UserError: the text is empty, or the vocabulary cannot write it.
        """
        text = self.tokenizer.prepared(text)
        plain = text.encode("utf-8", "replace")
        if not plain:
            raise UserError("The text to trace is empty.")
        variants = tokens_of(text, self.tokenizer, before)
        found = longest_parts(variants, self.index)
        found = [part for part in found if len(part.ids) >= minimum or (part.start, part.stop) == (0, len(plain))]
        # The same bytes may stand there as several sequences of tokens.
        by_bytes: dict[tuple[int, int], list[Found]] = {}
        for part in found:
            by_bytes.setdefault((part.start, part.stop), []).append(part)
        candidates = [self._candidates(parts) for parts in by_bytes.values()]
        # All are looked up at once, because most of the time goes by passes over the data.
        read = iter(self.readings.of([self._stretch(*place) for places in candidates for place in places]))
        checkpoints = saved_steps(self.reference.folder)
        spans = [
            self._span(plain, parts, [(*place, next(read)) for place in places], limit, checkpoints)
            for parts, places in zip(by_bytes.values(), candidates, strict=True)
        ]
        return Trace(
            text=text,
            tokens=variants[0].ids.tolist(),
            token_texts=[self.tokenizer.decode([token]) for token in variants[0].ids.tolist()],
            run=str(self.reference),
            last_step=self.readings.last_step,
            spans=spans,
            remarks=self._remarks(spans),
        )

    def in_context(self, span: Span) -> tuple[list[int], int]:
        """Return the tokens of a span at its first place behind those that stand before it there,
        and the first of them that these predict.

        Before it stands what the window held in which a step first read it whole. If none did, or
        the span is of the validation split, it is its document, as far as the context holds it.
        """
        place = (span.places or span.validation_places)[0]
        split = self.index.train if span.places else self.index.val
        whole = next((reading for reading in place.readings if reading.is_whole), None)
        lead = self.readings.dataset.block_size + 1 - place.length if whole is None else whole.in_window
        # With shuffle_documents, what stood before the document was another one in each pass.
        shuffled = any(part.loader.shuffle_documents for part in self.readings.parts)
        lead = min(lead, place.token_in_document if whole is None or shuffled else place.token_in_shard)
        array, start = split.text.files[place.corpus].arrays[place.shard], place.token_in_shard
        tokens = array[start - max(0, lead) : start + place.length].astype(int).tolist()
        return tokens, max(1, lead)

    def _candidates(self, parts: Sequence[Found]) -> list[tuple[int, Found]]:
        """Return the places of a span in the training split that are looked at, by position."""
        split = self.index.train
        return [
            (position, part)
            for part in parts
            for position in split.places(part.train.first, min(part.train.last, part.train.first + LOOKED_AT)).tolist()
        ]

    def _stretch(self, position: int, part: Found) -> Stretch:
        text = self.index.train.text
        shard, inside = text.place(position)
        return Stretch(*text.shards[shard], inside, inside + len(part.ids))

    def _span(
        self,
        plain: bytes,
        parts: Sequence[Found],
        read: Sequence[tuple[int, Found, list[Reading]]],
        limit: int,
        checkpoints: Sequence[int],
    ) -> Span:
        start, stop = parts[0].start, parts[0].stop
        # A character of several bytes belongs to a span if its last byte does.
        first, last = (len(plain[:byte].decode("utf-8", "ignore")) for byte in (start, stop))
        return Span(
            start=first,
            stop=last,
            text=plain.decode("utf-8", "replace")[first:last],
            tokens=list(parts[0].ids),
            count=sum(part.train.count for part in parts),
            validation_count=sum(part.val.count for part in parts),
            places=self._train_places(read, limit, checkpoints),
            validation_places=[
                self._place(self.index.val, position, part, [])
                for part in parts
                for position in self.index.val.places(
                    part.val.first, min(part.val.last, part.val.first + limit)
                ).tolist()
            ][:limit],
        )

    def _train_places(
        self, read: Sequence[tuple[int, Found, list[Reading]]], limit: int, checkpoints: Sequence[int]
    ) -> list[Place]:
        """Return the places that were read first, with the steps that read them."""
        never = self.readings.last_step + 1
        order = sorted(read, key=lambda each: (each[2][0].step if each[2] else never, each[0]))
        found = []
        for position, part, of_place in order[:limit]:
            dated = [
                Dated(
                    step=reading.step,
                    row=reading.row,
                    epoch=reading.epoch,
                    text=self.tokenizer.decode(part.ids[reading.first : reading.last]),
                    is_whole=reading.last - reading.first == len(part.ids),
                    in_window=reading.in_window,
                    checkpoint_before=_before(checkpoints, reading.step),
                    checkpoint_after=_after(checkpoints, reading.step),
                )
                for reading in of_place
            ]
            found.append(self._place(self.index.train, position, part, dated))
        return found

    def _place(self, split: SplitIndex, position: int, part: Found, readings: list[Dated]) -> Place:
        located = locate(split, position, len(part.ids), self.tokenizer)
        shard, inside = split.text.place(position)
        return Place(
            **vars(located),
            split=split.text.split,
            root=self.roots.get(located.corpus, ""),
            shard=split.text.shards[shard][1],
            token_in_shard=inside,
            readings=readings,
        )

    def _remarks(self, spans: Sequence[Span]) -> list[str]:
        remarks = list(self.readings.unknown)
        if any(span.count > LOOKED_AT for span in spans):
            remarks.append(
                f"Of a span with more than {LOOKED_AT} places, only {LOOKED_AT} were looked at to find those that were "
                "read first."
            )
        places = [place for span in spans for place in [*span.places, *span.validation_places]]
        if any(not place.source for place in places):
            remarks.append("Another program prepared the data set, so it does not say which file a document came from.")
        return remarks


def _before(checkpoints: Sequence[int], step: int) -> int | None:
    earlier = bisect.bisect_left(checkpoints, step)
    return checkpoints[earlier - 1] if earlier else None


def _after(checkpoints: Sequence[int], step: int) -> int | None:
    later = bisect.bisect_left(checkpoints, step)
    return checkpoints[later] if later < len(checkpoints) else None
