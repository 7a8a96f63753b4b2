"""The settings of preprocessing: a frozen dataclass with a docstring and a default for each field.

A field is a flag of `gpt-research preprocess` and a key of its YAML file by the same name. This
module imports no numpy, so that help and errors come at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gpt_research.base.errors import require
from gpt_research.preprocessing.document import ReadOptions

SMALLEST_TASK = 8 << 20
"""Bytes on disk that a task reads at least, unless there are fewer or `tasks` is set."""


@dataclass(frozen=True)
class PreprocessConfig(ReadOptions):
    """Turn corpora into token shards."""

    corpora: list[str] = field(default_factory=list)
    """NAME=PATH of each corpus. Empty: the folders under data/raw/, or else the demo corpus."""
    out: str = "data/tokens"
    """Data set folder to write."""
    tokenizer: str = "gpt2"
    """gpt2, train (a byte-pair tokenizer from this text), char (each character of this text is a
    token), or a tokenizer.json."""
    vocab_size: int = 50257
    """Entries of the tokenizer if it is trained."""
    val_fraction: float = 0.005
    """Share of the documents for validation; a hash of each document chooses them."""
    seed: int = 1337
    """Another seed chooses other documents for validation."""
    workers: int = 0
    """Processes at a time; 0 takes one for each core. The output does not depend on it."""
    tasks: int = 0
    """Pieces of work; 0 chooses by size. Decides the number of shards of a corpus."""
    min_characters: int = 20
    """Shorter documents are left out."""
    filters: dict[str, Any] | list[Any] | str = ""
    """Filters of the texts, in order: gopher_quality, gopher_repetition, c4, fineweb, bad_words,
    language, or those of plugins; --filters.NAME for one corpus. See docs/filters.md."""
    language: str = ""
    """Keep documents in these languages (en, or de,fr), before other filters; empty keeps all."""
    language_score: float = 0.65
    """Least score, between 0 and 1, of the languages that --language keeps."""
    near_duplicates: bool = True
    """Leave out each document that shares most of its text with an earlier one (MinHash)."""
    contamination: Literal["report", "drop"] = "report"
    """What to do with documents that overlap a benchmark: count them, or leave them out."""
    benchmarks: str = ""
    """Folder of the benchmarks whose text is looked for in the documents; empty looks for none."""
    strict: bool = False
    """Stop at the first damaged piece of input instead of setting it aside."""
    dry_run: bool = False
    """Show what would be read: reader, field of the text, first document, size. Write nothing."""
    executor: Literal["local", "slurm", "ray"] = "local"
    """Where tasks run: on processes of this machine, or on a cluster with a shared file system."""
    slurm_partition: str = ""
    """Partition for --executor slurm."""
    slurm_time: str = "12:00:00"
    """Time limit of a job for --executor slurm."""
    slurm_options: str = ""
    """More flags for sbatch, such as "--account=abc --mem-per-cpu=4G"."""
    wait: bool = False
    """With --executor slurm: wait for the jobs, with a progress bar, instead of ending at once."""

    def __post_init__(self) -> None:
        require(0 <= self.val_fraction < 1, "val_fraction", self.val_fraction, "at least 0 and below 1")
        for name in ("workers", "tasks", "min_characters"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 <= self.language_score <= 1, "language_score", self.language_score, "between 0 and 1")
        require(
            257 <= self.vocab_size <= 2**24,
            "vocab_size",
            self.vocab_size,
            "257 (256 bytes and an end) or more",
        )
