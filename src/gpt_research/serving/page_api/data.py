"""The data that a run was trained on: corpora, documents, search, and the steps that read them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import saved_steps
from gpt_research.data.documents import Document
from gpt_research.data.readings import Stretch
from gpt_research.data.search import LONGEST, search
from gpt_research.run_reference import RunReference
from gpt_research.serving.disconnects import WhileConnected
from gpt_research.serving.errors import ApiError
from gpt_research.serving.models import Models, ServedModel
from gpt_research.serving.page_api.asking import answer, listed, number
from gpt_research.serving.page_api.run_data import OpenDocuments, RunData, data_of, named_corpus, open_documents
from gpt_research.training.metrics import METRICS
from gpt_research.training.run_readings import Part, RunReadings

router = APIRouter(prefix="/api/data", tags=["page"], route_class=WhileConnected)
MOST_READS = 200_000
"""Windows of a span over all passes that are looked up at once."""
SEARCH_S = 1.0
SPLITS = ("train", "val")
_one_reader = threading.Lock()
"""Held while steps are looked up, because a loader keeps what it has computed."""

# Handlers that only read some files are no coroutines, so they run in threads of their own and do
# not wait for analyses.

Corpus = Annotated[str, Query(max_length=200)]
Split = Literal["train", "val"]
Offset = Annotated[int, Query(ge=0, lt=2**62)]


@dataclass(frozen=True)
class Asked:
    """A document that is asked for."""

    run: ServedModel
    opened: OpenDocuments
    document: Document


def asked_document(
    models: Models, run: str = "", corpus: Corpus = "", split: Split = "train", number: Offset = 0
) -> Asked:
    """Find a document by its number.

    Raises:
        ApiError: there is none, or the data set of the run is not there.
    """
    model = models.find_run(run)
    opened = open_documents(model.folder)
    return Asked(model, opened, opened.one(corpus, split, number))


AskedDocument = Annotated[Asked, Depends(asked_document)]


@router.get("")
def about(models: Models, run: str = "") -> Response:
    """Return what the data set holds, and which views of it are there."""
    model = models.find_run(run)
    data = data_of(model.folder)
    shown = data.state in ("ok", "differs")
    documents = {"ok": shown, "why": "" if shown else data.why}
    card = _card(data)
    return answer(
        {
            "run": model.name,
            "folder": str(data.folder),
            "state": data.state,
            "why": data.why,
            "fingerprint": data.fingerprint,
            "tokens": {split: sum(m.count(split) for _, m in data.corpora.values()) for split in SPLITS},
            "views": {
                "card": {"ok": card is not None, "why": "" if card else data.why or "The data set has no data card."},
                "documents": documents,
                "search": documents,
                "steps": {"ok": data.state == "ok", "why": data.why},
                "validation": _validation_view(data),
                "trace": _trace_view(data),
            },
            "corpora": _corpora(model.folder, data),
        }
    )


@router.get("/card")
def card(models: Models, run: str = "") -> Response:
    """Return the data card in Markdown."""
    model = models.find_run(run)
    data = data_of(model.folder)
    path = _card(data)
    if path is None:
        why = data.why or f"{data.folder} has no data card."
        raise ApiError(404, why, param="run", code="data_missing")
    markdown = path.read_text(encoding="utf-8", errors="replace")
    return answer({"run": model.name, "markdown": markdown, "corpora": _corpora(model.folder, data)})


@router.get("/documents")
def documents(
    models: Models,
    run: str = "",
    corpus: Corpus = "",
    split: Split = "train",
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Literal["order", "longest", "shortest"] = "order",
    source: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Return some documents of a corpus."""
    model = models.find_run(run)
    opened = open_documents(model.folder)
    corpus = named_corpus(opened.documents, corpus)
    found, total = opened.documents.page(corpus, split, offset, limit, sort, source)
    where = {"run": model.name, "corpus": corpus, "split": split, "total": total, "offset": offset}
    return answer({**where, "documents": [opened.described(document) for document in found]})


@router.get("/document")
def document(asked: AskedDocument, offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=4096)] = 1024) -> Response:
    """Return some tokens of a document, and where it came from."""
    opened, found = asked.opened, asked.document
    offset = min(offset, found.tokens)
    shards = opened.documents.shards(found.corpus, found.split)
    first = sum(shard.tokens for shard in shards[: found.shard]) + found.start
    origin = opened.lineage.origin(found.corpus, first, found.split)
    return answer(
        {
            **opened.described(found),
            "root": origin.root,
            "sha256": origin.sha256,
            "shard": origin.shard,
            "first_token": first,
            "offset": offset,
            "pieces": listed(opened.tokenizer, opened.documents.tokens(found, offset, limit).tolist()),
            "more": offset + limit < found.tokens,
        }
    )


@router.get("/reads")
def reads(
    asked: AskedDocument,
    first: Offset = 0,
    last: Annotated[int | None, Query(ge=0)] = None,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Return the steps that read a document, or some tokens of it."""
    found = asked.document
    last = found.tokens if last is None else min(last, found.tokens)
    if first >= last:
        raise ApiError(400, f"The tokens {first:,} to {last:,} are none of the document's.", param="first")
    if found.split == "val":
        why = "Training never reads the validation split."
        empty = {"reads": [], "never_read": [[first, last]], "total": 0, "offset": 0, "steps_taken": None}
        return answer({"run": asked.run.name, **empty, "why": why})
    asked.opened.data.require(steps=True)
    readings = open_readings(asked.run.folder)
    context = readings.dataset.block_size
    passes = 1 + sum(
        int(part.loader.order.passes(len(part.steps) * part.loader.samples_per_step)[found.corpus])
        for part in readings.parts
    )
    if (windows := passes * ((last - first) // context + 2)) > MOST_READS:
        message = f"{windows:,} windows may have held these tokens. Ask for fewer tokens with first and last."
        raise ApiError(400, message, param="last")
    with _one_reader:
        [seen] = readings.of([Stretch(found.corpus, found.shard, found.start + first, found.start + last)])
    shown = [
        {
            "step": each.step,
            "pass": each.epoch,
            "first": first + each.first,
            "last": first + each.last,
            "whole": each.last - each.first == last - first,
        }
        for each in seen[offset : offset + limit]
    ]
    return answer(
        {
            "run": asked.run.name,
            "steps_taken": readings.last_step,
            "total": len(seen),
            "offset": offset,
            "reads": shown,
            "never_read": _gaps([(first + each.first, first + each.last) for each in seen], first, last),
            "why": " ".join(readings.unknown),
        }
    )


@router.get("/search")
def find(
    models: Models,
    q: Annotated[str, Query(min_length=1, max_length=LONGEST)],
    run: str = "",
    corpus: Corpus = "",
    split: Literal["", "train", "val"] = "",
    exact_case: Annotated[bool, Query(alias="case-sensitive")] = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    cursor: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Return places where a text stands in the data."""
    begun = time.perf_counter()
    model = models.find_run(run)
    opened = open_documents(model.folder)
    corpora = [named_corpus(opened.documents, corpus)] if corpus else list(opened.documents.corpora)
    places = [
        (name, part, shard)
        for name in corpora
        for part in SPLITS
        if split in ("", part)
        for shard in range(len(opened.documents.shards(name, part)))
    ]
    found = search(
        opened.documents,
        opened.tokenizer,
        opened.pattern(q, exact_case=exact_case),
        places,
        cursor=_cursor(cursor, len(places)),
        limit=limit,
        seconds=SEARCH_S,
    )
    matches = [
        {
            "corpus": match.document.corpus,
            "split": match.document.split,
            "number": match.document.number,
            "source": match.document.source,
            "token": match.token,
            "before": match.before,
            "match": match.match,
            "after": match.after,
        }
        for match in found.matches
    ]
    return answer(
        {
            "run": model.name,
            "q": q,
            "matches": matches,
            "cursor": "{}-{}".format(*found.cursor) if found.cursor else None,
            "searched": number(found.searched, 4),
            "milliseconds": round(1000 * (time.perf_counter() - begun), 1),
        }
    )


def open_readings(run: Path) -> RunReadings:
    """Return when the run read what; it is looked up again once it has taken more steps."""
    metrics = run / METRICS
    written = metrics.stat().st_mtime_ns if metrics.is_file() else 0
    return _readings(run, written, tuple(saved_steps(run)), data_of(run).fingerprint)


@lru_cache(maxsize=4)
def _readings(run: Path, written: int, steps: tuple[int, ...], fingerprint: str) -> RunReadings:
    return RunReadings.open(RunReference(run))


def _card(data: RunData) -> Path | None:
    # A corpus that is named by itself has the card of its data set beside it.
    for folder in (data.folder, data.folder.resolve().parent):
        if (folder / "data_card.md").is_file():
            return folder / "data_card.md"
    return None


def _corpora(run: Path, data: RunData) -> list[dict[str, Any]]:
    """Return the corpora of a data set: what was read, dropped and kept, and how often it was
    trained on.
    """
    shares: dict[str, tuple[float, float]] = {}
    parts: Sequence[Part] = ()
    if data.state == "ok":
        # What is wrong with the shards is said where they are read.
        with contextlib.suppress(UserError):
            parts = open_readings(run).parts
        for part in parts:
            order = part.loader.order
            read = order.passes(len(part.steps) * part.loader.samples_per_step)
            for quota, (name, passes) in zip(order.quota.tolist(), read.items(), strict=True):
                shares[name] = quota / int(order.quota.sum()), passes + shares.get(name, (0.0, 0.0))[1]
    found = []
    for name, (_, manifest) in data.corpora.items():
        weight, times = shares.get(name, (None, None))
        sizes = {
            split: {
                "tokens": manifest.count(split),
                "documents": manifest.count(split, "documents"),
                "bytes": manifest.count(split, "bytes"),
                "shards": len(manifest.splits.get(split, [])),
            }
            for split in SPLITS
        }
        found.append(
            {
                "name": name,
                "reader": manifest.reader,
                "licence": manifest.licence,
                "documents_read": manifest.documents_read,
                "drops": manifest.drops,
                "sources": len(manifest.sources),
                "weight": number(weight),
                "passes": number(times),
                **sizes,
            }
        )
    return found


def _validation_view(data: RunData) -> dict[str, Any]:
    if data.state not in ("ok", "differs"):
        return {"ok": False, "why": data.why}
    empty = not any(manifest.count("val") > 1 for _, manifest in data.corpora.values())
    return {"ok": not empty, "why": "The data set has no validation split." if empty else ""}


def _trace_view(data: RunData) -> dict[str, Any]:
    if data.state not in ("ok", "foreign"):
        return {"ok": False, "why": data.why}
    has_index = (data.folder / "suffix_array" / "index.json").is_file()
    make = hints.command("index", data.folder)
    return {"ok": has_index, "why": "" if has_index else f"{data.folder} has no index yet. Make it with: {make}"}


def _gaps(held: Sequence[tuple[int, int]], first: int, last: int) -> list[list[int]]:
    """Return the parts of tokens `first` to `last` that no window held."""
    if not held:
        return [[first, last]]
    changes = np.zeros(last - first + 1, np.int64)
    begins, ends = np.array(held).T - first
    np.add.at(changes, begins, 1)
    np.add.at(changes, ends, -1)
    unread = np.concatenate([[False], np.cumsum(changes)[:-1] == 0, [False]])
    edges = np.flatnonzero(unread[1:] != unread[:-1]) + first
    return edges.reshape(-1, 2).tolist()


def _cursor(text: str, places: int) -> tuple[int, int]:
    """Return where a search goes on.

    Raises:
        ApiError: 400, the text is no cursor of this search.
    """
    if not text:
        return 0, 0
    shard, _, token = text.partition("-")
    if not (shard.isdecimal() and token.isdecimal() and int(shard) < places):
        raise ApiError(400, "This cursor is of no search. Leave it out to begin.", param="cursor")
    return int(shard), int(token)
