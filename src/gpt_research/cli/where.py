"""`gpt-research where`: the way back from a token, or from a step of training, to the files that were read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.base.settings import read_yaml
from gpt_research.commands import WhereCommand
from gpt_research.config import TrainConfig
from gpt_research.data.lineage import Lineage, Place, windows_of_step

DEFAULT_DATA = "data/tokens"


def run(command: WhereCommand) -> int:
    """Print the answer; return the exit code."""
    if command.run:
        return _run_step(command)
    lineage = Lineage(command.data or DEFAULT_DATA)
    names = list(lineage.corpora)
    if not command.corpus and len(names) > 1:
        raise UserError(f"{lineage.folder} has several corpora. Name one with --corpus: {', '.join(names)}.")
    place = lineage.place(command.corpus or names[0], command.token, command.split)
    print(json.dumps(asdict(place), ensure_ascii=False) if command.json else told(place))
    return 0


def _run_step(command: WhereCommand) -> int:
    """Print what each window of a step of a run was cut from."""
    config = read_yaml(TrainConfig, Path(command.run) / "config.yaml")
    for number, places in enumerate(windows_of_step(config, command.step, command.data or config.data)):
        if command.json:
            print(json.dumps({"window": number, "documents": [asdict(p) for p in places]}, ensure_ascii=False))
            continue
        first = places[0]
        print(
            f"window {number}: {first.corpus}, token {first.token:,} on ({first.shard}, token {first.token_in_shard:,})"
        )
        for place in places:
            print(f"  {place.source} ({place.position}), from token {place.token_in_document:,} of the document on")
    return 0


def told(place: Place) -> str:
    """Say a place in lines for people, the token between » and «."""
    before, token, after = place.text
    lines = [
        ("token", f"{place.token:,} of {place.corpus}, {place.split}"),
        ("shard", f"{place.shard}, token {place.token_in_shard:,}"),
        (
            "document",
            f"row {place.row:,} of the shard's index, token {place.token_in_document:,} of {place.document_tokens:,}",
        ),
        ("source", place.source),
        ("position", f"{place.position:,}"),
        ("root", place.root or "not known"),
        ("sha256", place.sha256 or "not known: the source is no file of its own"),
    ]
    text = f"{before}»{token}«{after}"
    return "\n".join([*(f"{name:<9} {value}" for name, value in lines), "", text])
