"""A checkout at work in a folder: its commands, and the fingerprints of what they leave."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_TEXT = 20_000
"""Characters of an output that is kept whole beside its hash."""
TIMED = {"tokens_per_s", "mfu", "data_wait", "elapsed_s"}
"""Fields of metrics.jsonl and of a result that tell times."""
VERSIONS = {"versions", "code", "config"}
"""Fields that name the versions of programs, and the hash of all settings, which each new setting
changes."""
TEXT_KINDS = {".json", ".jsonl", ".md", ".txt", ".yaml"}


@dataclass
class Session:
    """One checkout at work in one folder, and what was seen so far. Commands run in that folder, by
    relative paths.
    """

    checkout: Path
    samples: Path
    work: Path
    start_runs: Path = Path()
    fingerprints: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    """Start runs that were taken to their end."""

    def product(
        self,
        command: str,
        *more: str,
        program: Sequence[str] = ("-m", "gpt_research"),
        said: str = "",
        code: int = 0,
        processes: int = 1,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command line and return what came of it; an exit code that is not `code` is a
        surprise.

        Args:
            command: arguments without spaces in them, apart by spaces.
            more: arguments that may hold spaces.
            said: what standard input holds.
        """
        line = [*program, *command.split(), *more]
        if processes > 1:
            line = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), *line]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GPT_", "KMP_", "RICH"))},
            "PYTHONPATH": str(self.checkout / "src"),
            "OMP_NUM_THREADS": str(max(1, 2 // processes)),
            "MKL_NUM_THREADS": str(max(1, 2 // processes)),
            "MKL_DYNAMIC": "FALSE",
            "OMP_DYNAMIC": "FALSE",
            "OMP_WAIT_POLICY": "passive",
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "160",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            [sys.executable, *line],
            cwd=self.work,
            env=environment,
            input=said,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=600,
        )
        if done.returncode != code:
            shown = " ".join(line)
            self.surprises.append(shown)
            print(f"! exit code {done.returncode}, not {code}: {shown}\n{done.stderr[-1500:]}", file=sys.stderr)
        return done

    def command(self, name: str, command: str, *more: str, **how: Any) -> None:
        """Run a command line and keep under `name` its exit code, its output, and its errors and
        warnings.
        """
        done = self.product(command, *more, **how)
        wrong = [f"{line}\n" for line in done.stderr.splitlines() if line.startswith(("error:", "warning:"))]
        self.keep_text(name, f"exit code {done.returncode}\n{done.stdout}{''.join(wrong)}")

    def keep(self, name: str, content: bytes) -> None:
        """Keep the hash of an output under a name of its own."""
        assert name not in self.fingerprints, f"{name} is kept already"
        self.fingerprints[name] = hashlib.sha256(content).hexdigest()

    def keep_text(self, name: str, text: str) -> None:
        """Keep a text without what belongs to this folder, checkout or version; a short one also as
        it is.
        """
        text = text.replace(str(self.work), "WORK").replace(str(self.checkout), "CHECKOUT")
        text = re.sub(r"(gpt-research|torch) \d+\.\d+[\w.+-]*\w", r"\1 VERSION", text)
        text = re.sub(r"^( +config +)[0-9a-f]{64}$", r"\1HASH", text, flags=re.MULTILINE)
        self.keep(name, text.encode())
        if len(text) <= LONGEST_TEXT:
            self.texts[name] = text

    def keep_json(self, name: str, value: Any, leave_out: set[str] = VERSIONS) -> None:
        """Keep JSON without some fields, wherever they stand."""
        self.keep_text(name, json.dumps(without(value, leave_out), indent=1, ensure_ascii=False) + "\n")

    def keep_json_file(self, name: str, path: Path, leave_out: set[str] = VERSIONS) -> None:
        """Keep a JSON file without some fields."""
        if path.is_file():
            self.keep_json(name, json.loads(path.read_text(encoding="utf-8")), leave_out)

    def keep_file(self, name: str, path: Path) -> None:
        """Keep a file: its bytes, its text where it is one, the tensors of a .safetensors file."""
        if not path.is_file():
            return  # --compare says that it is there on one side only
        if path.suffix == ".safetensors":
            for form, content in tensor_forms(path.read_bytes()).items():
                self.keep(f"{name}{form}", content)
        elif path.suffix in TEXT_KINDS:
            self.keep_text(name, path.read_text(encoding="utf-8"))
        else:
            self.keep(name, path.read_bytes())

    def keep_folder(self, name: str, folder: Path) -> None:
        """Keep every file of a folder."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.keep_file(f"{name}/{path.relative_to(folder).as_posix()}", path)


def without(value: Any, leave_out: set[str]) -> Any:
    """Return JSON without some fields, wherever they stand."""
    if isinstance(value, dict):
        return {name: without(inner, leave_out) for name, inner in value.items() if name not in leave_out}
    return [without(inner, leave_out) for inner in value] if isinstance(value, list) else value


def tensor_forms(content: bytes) -> dict[str, bytes]:
    """Return what to hash of a .safetensors file: all of it, its tensors by name, and its tensors
    whatever their names.

    The last tells a mere change of names from a change of numbers. The header's entries are sorted.
    """
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    hashes = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            digest = hashlib.sha256(data[begin:end]).hexdigest()
            hashes[name] = [entry["dtype"], entry["shape"], digest]
    return {
        "": json.dumps(header, sort_keys=True).encode() + data,
        " (tensors)": json.dumps(hashes, sort_keys=True).encode(),
        " (numbers)": json.dumps(sorted(hashes.values())).encode(),
    }
