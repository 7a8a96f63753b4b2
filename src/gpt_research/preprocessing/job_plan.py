"""The plan of a preprocessing run: the tasks, and every setting that decides the output.

`plan.make_plan` builds it once, and each stage loads it from the work folder. It depends on the
input and the settings alone, never on the number of workers, so the output does not depend on that
number either. This module knows nothing about how a corpus is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gpt_research.preprocessing.document import ReadOptions, Unit


@dataclass(frozen=True)
class Task:
    """Consecutive units of one corpus."""

    corpus: str
    number: int
    """Index among the tasks of its corpus; its shards carry this number."""
    units: list[Unit]

    @property
    def size(self) -> int:
        """Bytes on disk of its units."""
        return sum(unit.size for unit in self.units)


@dataclass(frozen=True)
class JobPlan:
    """What a run reads and how; everything that decides the output."""

    corpora: dict[str, str]
    """The command line's NAME=PATH of each corpus, by name."""
    tasks: list[Task]
    options: dict[str, Any]
    """The fields of `PreprocessConfig` that decide the output, and the hashes of plugins if there
    are any."""
    benchmarks: list[str]
    """The folders of the benchmarks whose text is looked for."""
    plugins: list[str] = field(default_factory=list)
    """Plugin files that each process runs before its first task, because a plugin may add a
    reader."""

    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    """Numbers of files that the reader of each corpus does not take, by suffix."""

    @property
    def read_options(self) -> ReadOptions:
        return ReadOptions(**{name: self.options[name] for name in ReadOptions.__dataclass_fields__})

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON holds it. What is empty in most plans is not mentioned."""
        # The round trip turns tuples into lists, so that a plan equals itself after it was written
        # and read.
        fields = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in fields.items() if value or name not in ("plugins", "left_out")}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> JobPlan:
        """Return the plan that `as_json` returned these fields of."""
        tasks = [Task(t["corpus"], t["number"], [Unit(**u) for u in t["units"]]) for t in fields["tasks"]]
        return cls(
            fields["corpora"],
            tasks,
            fields["options"],
            fields["benchmarks"],
            fields.get("plugins", []),
            fields.get("left_out", {}),
        )

    @property
    def digest(self) -> str:
        """A hash of everything that decides the output, except the contents of the source files."""
        # The options hold the hashes of the plugins; where their files lie does not matter.
        decides = self.as_json().keys() - {"plugins", "left_out"}
        fields = {name: value for name, value in self.as_json().items() if name in decides}
        return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]
