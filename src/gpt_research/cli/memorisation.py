"""`gpt-research memorisation RUN`: how much of what a model writes is copied from its data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gpt_research.base.errors import require
from gpt_research.config import GenerateConfig, require_step

if TYPE_CHECKING:
    from gpt_research.run import Run
    from gpt_research.tracing.memorisation import Memorisation

SHOWN = 3
"""Copied spans that are shown."""


@dataclass(frozen=True)
class MemorisationCommand(GenerateConfig):
    """Let a model write samples, and say how much of them stands in its training data."""

    num_samples: int = 20
    """Samples to write."""
    run: str = ""
    """Run folder, or RUN@STEP for one of its checkpoints. Empty: the newest under runs/."""
    step: str = ""
    """Checkpoint: newest, best (lowest validation loss) or its step. Default: the one that RUN@STEP
    names, else the newest."""
    ema: bool | None = None
    """Take the averaged weights (ema_decay), or with false those of the step. Default: the averaged
    ones if the checkpoint has them."""
    prompt: str = ""
    """Text that each sample continues; empty begins a document."""
    json: bool = False
    """Print one JSON object instead, with all samples."""
    data: str = ""
    """Data set folder. Empty: the one that the run was trained on."""
    index: str = ""
    """Folder of its index. Empty: suffix_array in the folder of the data set."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_step("step", self.step or "newest")
        require(self.max_new_tokens >= 5, "max_new_tokens", self.max_new_tokens, "5 or more")


def run(command: MemorisationCommand) -> int:
    """Write the samples and print what they have copied; return the exit code.

    Raises:
        UserError: as `Run.open` and `Index` do.
    """
    from gpt_research.base import startup
    from gpt_research.run import Run, named_or_newest

    chosen = named_or_newest(command.run, command.step)
    runtime = startup.start(command.device, "fp32")
    opened = Run.open(chosen.folder, runtime.device, chosen.step, command.ema)
    found = measure(opened, command, command.prompt, command.data, command.index)
    if command.json:
        print(json.dumps({"run": str(chosen), "step": opened.step, **found}, ensure_ascii=False))
        return 0
    print(f"{chosen}, step {opened.step:,}, seed {command.seed}:")
    for line in in_words(found):
        print(line)
    return 0


def measure(run: Run, config: GenerateConfig, prompt: str = "", data: str = "", index: str = "") -> dict[str, Any]:
    """Return what samples of a run have copied, and what pieces of the validation split would have,
    as JSON holds it.

    Raises:
        UserError: there is no such data set or index, or the run was trained on other data.
    """
    from gpt_research.base.settings import to_dict
    from gpt_research.data.dataset_tokenizer import check_same_tokens
    from gpt_research.data.shards import Dataset
    from gpt_research.generation.torch_engine import generate
    from gpt_research.tracing.index import Index
    from gpt_research.tracing.memorisation import memorisation, validation_pieces

    dataset = Dataset(data or run.config.data, 1)
    check_same_tokens(dataset, run.tokenizer, run.folder)
    opened, end = Index(dataset, index), run.tokenizer.end_of_text
    settings = GenerateConfig(**{name: getattr(config, name) for name in to_dict(GenerateConfig())})
    samples = generate(run.model, run.tokenizer, prompt, settings, notice=lambda _: None)
    written = [[token for token in sample.tokens if token != end] for sample in samples]
    pieces = validation_pieces(opened, end, len(written), max((len(each) for each in written), default=0), config.seed)
    return {
        "settings": {"prompt": prompt, **to_dict(settings)},
        "samples": _as_json(memorisation(opened, run.tokenizer, written)),
        "validation": _as_json(memorisation(opened, run.tokenizer, pieces)) if pieces else None,
    }


def _as_json(found: Memorisation) -> dict[str, Any]:
    return {
        "count": len(found.samples),
        "n": found.n,
        "new_ngrams": found.new_ngrams,
        "mean_longest": found.mean_longest,
        "longest": found.longest.longest if found.longest else 0,
        "texts": [asdict(sample) for sample in found.samples],
    }


def in_words(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    samples, chance = found["samples"], found["validation"]
    yield _line(f"{samples['count']} samples", samples)
    if chance:
        yield _line(f"{chance['count']} pieces of the validation split, for comparison", chance)
    else:
        yield "The validation split has no piece of that length, so there is none to compare with."
    copied = sorted(samples["texts"], key=lambda text: -text["longest"])[:SHOWN]
    yield "The longest copied spans:"
    for text in copied:
        times = "once" if text["longest_count"] == 1 else f"{text['longest_count']:,} times"
        yield f"  {text['longest']:,} tokens, {times} in training: »{' '.join(text['longest_text'].split())}«"


def _line(what: str, found: dict[str, Any]) -> str:
    new = found["new_ngrams"]
    share = "too short for 5-grams" if new is None else f"{100 * new:.1f}% of their {found['n']}-grams are new"
    spans = f"copied spans of {found['mean_longest']:.1f} tokens on average, {found['longest']:,} at most"
    return f"  {what}: {share}, {spans}"
