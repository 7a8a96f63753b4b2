"""`gpt-research where`: from a token, or from a step of training, back to the source files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from gpt_research.base.errors import UserError, require

if TYPE_CHECKING:
    from gpt_research.config import TrainConfig
    from gpt_research.data.lineage import Origin

DEFAULT_DATA = "data/tokens"


@dataclass(frozen=True)
class WhereCommand:
    """Look up the source of a token of a data set, or of everything that a step of a run read."""

    data: str = ""
    """Data set folder. Empty: that of the run if one is given, else data/tokens."""
    corpus: str = ""
    """Corpus of the token; may be left out if the data set has only one."""
    token: int = 0
    """Number of the token among those of its corpus and split, over all shards in order."""
    split: Literal["train", "val"] = "train"
    """Split of the data set that holds the token."""
    run: str = ""
    """Run folder, to look up a step instead of a token; RUN@STEP names the step too."""
    step: int | None = None
    """Step of that run, counted from 1; every window that it read is shown."""
    json: bool = False
    """Print one JSON object a line instead."""

    def __post_init__(self) -> None:
        names_step = self.step is not None or "@" in self.run
        require(bool(self.run) == names_step, "step", self.step, "given together with --run")


def run(command: WhereCommand) -> int:
    """Print the answer; return the exit code."""
    from gpt_research.data.lineage import Lineage

    if command.run:
        _print_step(command)
        return 0
    lineage = Lineage(command.data or DEFAULT_DATA)
    names = list(lineage.corpora)
    if not command.corpus and len(names) > 1:
        raise UserError(f"{lineage.folder} has several corpora. Name one with --corpus: {', '.join(names)}.")
    origin = lineage.origin(command.corpus or names[0], command.token, command.split)
    print(json.dumps(asdict(origin), ensure_ascii=False) if command.json else in_words(origin))
    return 0


def windows_of_run(config: TrainConfig, step: int, data: str) -> Iterator[list[Origin]]:
    """Yield the documents of each window of a step of a run, as `lineage.windows_of_step` does.

    Raises:
        UserError: the run has no such step, or `data` does not hold a data set that was made here.
    """
    from gpt_research.data.lineage import Lineage, windows_of_step
    from gpt_research.data.shards import Dataset
    from gpt_research.training.inputs import loader_of_run

    if not 1 <= step <= config.max_steps:
        raise UserError(f"step is {step}, but the run has steps 1 to {config.max_steps}.")
    files = Dataset(data, config.model.block_size).train
    yield from windows_of_step(Lineage(data), files, loader_of_run(config, files), step)


def _print_step(command: WhereCommand) -> None:
    """Print the sources of each window of a step of a run."""
    from gpt_research.run import step_of_run
    from gpt_research.settings_history import run_config

    folder, step = step_of_run(command.run, command.step)
    if step is None:  # the @ belongs to the folder's name
        raise UserError("step is None, but it must be given together with --run.")
    config = run_config(folder, step)
    for number, origins in enumerate(windows_of_run(config, step, command.data or config.data)):
        if command.json:
            print(json.dumps({"window": number, "documents": [asdict(o) for o in origins]}, ensure_ascii=False))
            continue
        first = origins[0]
        print(
            f"window {number}: {first.corpus}, token {first.token:,} on ({first.shard}, token {first.token_in_shard:,})"
        )
        for origin in origins:
            print(f"  {origin.source} ({origin.position}), from token {origin.token_in_document:,} of the document on")


def in_words(origin: Origin) -> str:
    """Return an origin as lines for people, with the token between » and «."""
    before, token, after = origin.text
    lines = [
        ("token", f"{origin.token:,} of {origin.corpus}, {origin.split}"),
        ("shard", f"{origin.shard}, token {origin.token_in_shard:,}"),
        (
            "document",
            f"row {origin.row:,} of the shard's index, token {origin.token_in_document:,} of "
            f"{origin.document_tokens:,}",
        ),
        ("source", origin.source),
        ("position", f"{origin.position:,}"),
        ("root", origin.root or "not known"),
        ("sha256", origin.sha256 or "not known: the source is no file of its own"),
    ]
    text = f"{before}»{token}«{after}"
    return "\n".join([*(f"{name:<9} {value}" for name, value in lines), "", text])
