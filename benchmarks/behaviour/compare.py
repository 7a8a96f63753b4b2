"""Two files of fingerprints side by side."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def compare(first: Path, second: Path, passed_over: Sequence[str]) -> int:
    """Print what two files of fingerprints differ in; return 1 where they differ in anything."""
    one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (first, second))
    for name in ("made_on", "start_runs"):
        if one[name] != other[name]:
            print(f"Careful: {name} is not the same: {one[name]} and {other[name]}")
    stages = [stage for stage in one["stages"] if stage in other["stages"]]
    left_out = sorted(set(one["stages"]) ^ set(other["stages"]))
    if left_out:
        print(f"Compared are only the stages that both have; one has not: {', '.join(left_out)}")
    counts = functools.partial(_counted, stages=stages, passed_over=passed_over)
    ours, theirs = counts(one["fingerprints"]), counts(other["fingerprints"])
    differing = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    for name in differing:
        print(f"differs: {name}")
        if name in one["texts"] and name in other["texts"]:
            _show_difference(one["texts"][name], other["texts"][name])
    for path, names in ((first, ours.keys() - theirs.keys()), (second, theirs.keys() - ours.keys())):
        for name in sorted(names):
            print(f"only in {path}: {name}")
    lonely = len(ours.keys() ^ theirs.keys())
    same = len(ours.keys() & theirs.keys()) - len(differing)
    print(f"{same} equal, {len(differing)} differ, {lonely} on one side only")
    return 1 if differing or lonely else 0


def _counted(found: Mapping[str, str], stages: Sequence[str], passed_over: Sequence[str]) -> dict[str, str]:
    """Return the fingerprints that count."""
    return {
        name: value
        for name, value in found.items()
        if name.partition("/")[0] in stages and not name.startswith(tuple(passed_over))
    }


def _show_difference(before: str, after: str, most_lines: int = 12) -> None:
    """Print the first lines that two texts differ in."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    for line in changed[:most_lines]:
        print(f"    {line[:200]}")
    if len(changed) > most_lines:
        print(f"    and {len(changed) - most_lines} lines more")
