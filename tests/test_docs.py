"""What README.md and docs/ show works: each Python snippet and each shell line, page by page, in order.

A page runs in a folder that holds what it assumes (`docs_workspace`). A line of `gpt-research` is parsed as it
stands, and then run: on tiny data, with a tiny model in the place of a preset. What cannot run here is in `NOT_RUN`
with its reason.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docs_workspace
import pytest

from gpt_research.base import runtime as runtimes
from gpt_research.cli.main import main, parse

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_RUN = {
    r"^make (\w|-)+$": "sets up an environment, or is this suite itself; the target exists",
    r"^pip install -r requirements\.txt$": "changes the environment; the file exists",
    r"^(kaggle|curl|hf) ": "downloads gigabytes with a tool that is not ours",
    r"^tar ": "a tool that is not ours",
    r"^python (preprocessing|trainer|src/generate)\.py$": "test_entry_points.py runs it in a bare clone",
    r"=hub:|^gpt-research import openai-community/|--tasks lambada,hellaswag$": "needs the hub",
    r"--executor (slurm|ray)": "needs a cluster; test_clusters.py runs both",
    r"^torchrun ": "needs several GPUs or nodes; test_trainer.py runs torchrun",
    r"ckpt\.pt": "needs a checkpoint of nanoGPT; test_importing.py makes one",
    r"^gpt-research doctor": "may compile for a minute; test_doctor.py runs it",
    r"--plugin mine\.py": "test_extending.py runs each recipe with its flag",
}
IN_SMALL = {
    r"--step \d{2,}": "--step 3",  # the runs here have 6 steps
    r"--token \d+": "--token 12",
    r"--tokenizer gpt2": "--tokenizer train --vocab_size 300",
    r"--micro_batch \w+": "--micro_batch 4",  # `auto` tries sizes for 20 seconds; test_plan.py does it
    r"(--benchmarks DIR)": r"\1 --limit 20",
    r"--model\.n_\w+ \d+": "",  # smaller still, by TINY
    r"path/to/folder": "exported/plain",
    r"RUN_DIR": "runs/demo",
}
TINY = shlex.split(
    "--model.n_layer 1 --model.n_head 2 --model.n_embd 32 --model.block_size 64 --tokens_per_step 512 --micro_batch 8 "
    "--max_steps 6 --warmup_steps 1 --eval_tokens 256 --eval_interval 0 --log_interval 1 --device cpu"
)
WRITES_A_FOLDER = ("preprocess", "train", "export", "import")
TAKES_A_PRESET = ("train", "plan", "verify-resume")
IMPORTS_ONLY = {"lm_eval.simple_evaluate": "needs benchmarks of the hub; test_harness.py scores local ones"}
OTHERWISE_TESTED = {"extending.md": "test_extending.py runs each snippet as a plugin"}

Block = tuple[str, str, int]


def blocks(page: Path) -> list[Block]:
    """Return language, text and line of each fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.S | re.M)
    return [(match[2], textwrap.dedent(match[3]), text[: match.start()].count("\n") + 2) for match in fences]


def shell_lines(block: str) -> Iterator[str]:
    """Yield the commands of a block of shell, without comments; of a job script, those that start our program."""
    joined = block.replace("\\\n", " ")
    if joined.startswith("#!"):
        joined = "\n".join(re.findall(r"(torchrun .*gpt_research .*?) &$", joined, re.M))
    for line in joined.splitlines():
        for command in line.split(" && "):
            words = shlex.split(command, comments=True)
            if words:
                yield shlex.join(words)


def arguments_of(line: str) -> list[str] | None:
    """Return the arguments of `gpt-research` in a line that starts it, by whichever name; None if it does not."""
    words = shlex.split(line)
    scripts = {"preprocessing.py": "preprocess", "trainer.py": "train", "src/generate.py": "generate"}
    if words[0] == "gpt-research":
        return words[1:]
    if words[0] == "python" and words[1] in scripts:
        return [scripts[words[1]], *words[2:]]
    if "gpt_research" in words:
        return [word for word in words[words.index("gpt_research") + 1 :] if word != "..."]
    return None


def check_flags(arguments: list[str]) -> None:
    """Parse a command line as it stands, by the command's own parser."""
    if "--plugin" in arguments:  # a file of the reader's own, and the names that it adds
        arguments = arguments[: arguments.index("--plugin")] + ["--config", "demo"]
    parse(arguments[0], arguments[1:])


def in_small(line: str) -> list[str]:
    """Return the arguments of a line that ask for the same of a tiny model and tiny data."""
    for pattern, small in IN_SMALL.items():
        line = re.sub(pattern, small, line)
    arguments = shlex.split(line)[1:]
    if arguments[0] in TAKES_A_PRESET and "--resume" not in arguments:
        arguments += TINY
    if arguments[0] == "plan":
        arguments += ["--seconds", "0"]
    if arguments[0] == "verify-resume":
        arguments += ["--steps", "4"]
    if arguments[0] == "preprocess":
        arguments += ["--workers", "1"]
    return arguments


class Reader:
    """Does what a page says, block by block, in the folder that it assumes."""

    def __init__(self, prepared: set[str]) -> None:
        self.prepared = prepared
        """Folders that are there before the page makes them itself."""
        self.names: dict[str, Any] = {}

    def shell(self, line: str) -> None:
        reasons = [reason for pattern, reason in NOT_RUN.items() if re.search(pattern, line)]
        arguments = arguments_of(line)
        if arguments is not None:
            check_flags(arguments)
        if reasons:
            return
        if line.startswith("python -c "):
            exec(shlex.split(line)[2], {})
            return
        assert line.startswith("gpt-research "), f"neither a command of ours nor in NOT_RUN: {line}"
        arguments = in_small(line)
        self.make_way(arguments)
        assert main(arguments) == 0, line

    def make_way(self, arguments: list[str]) -> None:
        """Remove the folder that a command writes, if the page did not make it or shows another way to make it."""
        if arguments[0] not in WRITES_A_FOLDER or "--resume" in arguments:
            return
        out = parse(arguments[0], arguments[1:]).out
        if out in self.prepared or (arguments[0] == "preprocess" and Path(out).is_dir()):
            shutil.rmtree(out)
            self.prepared.discard(out)

    def python(self, code: str) -> None:
        tree = ast.parse(code)
        if any(part in code for part in IMPORTS_ONLY):
            tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(tree, "snippet", "exec"), self.names)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, text_folder: Path, dataset_folder: Path) -> Path:
    """The folder that every page finds; each works in a copy."""
    folder = tmp_path_factory.mktemp("docs")
    with contextlib.chdir(folder):
        docs_workspace.fill(folder, text_folder, dataset_folder)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The text outgrew the context")  # of a model that is smaller than the page's
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.name)
def test_a_page_does_what_it_says(
    page: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(workspace, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(runtimes, "measured_flops", lambda runtime: 1e11)  # takes half a second for each command
    prepared = {path.as_posix() for kind in ("data/*", "runs/*") for path in Path().glob(kind)}
    reader = Reader(prepared)
    for language, text, number in blocks(page):
        try:
            if language == "python" and page.name not in OTHERWISE_TESTED:
                reader.python(text)
            elif language in ("sh", "bash"):
                for line in shell_lines(text):
                    reader.shell(line)
            elif not language:  # what a program prints, or a drawing
                for line in re.findall(r"^(?:\$ |  )(gpt-research (?:[^'\n]|'[^']*')*)$", text, re.M):
                    check_flags(arguments_of(line) or [])
        except (Exception, SystemExit) as error:
            said = capsys.readouterr().err[-2000:]
            raise AssertionError(f"{page.relative_to(ROOT)}, block at line {number}: {said}") from error


def test_every_command_stands_in_a_block_of_shell() -> None:
    for page in PAGES:
        for language, text, number in blocks(page):
            assert language in ("sh", "bash", "python", ""), f"{page.name}:{number}"
            if not language:
                commands = re.findall(r"^(?:gpt-research|python|pip|make|torchrun) .*", text, re.M)
                assert not commands, f"{page.name}:{number} needs ```sh"


def test_every_reason_not_to_run_a_line_is_needed() -> None:
    lines = [line for page in PAGES for language, text, _ in blocks(page) if language in ("sh", "bash")
             for line in shell_lines(text)]  # fmt: skip
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for line in lines), f"no page has a line like {pattern}"
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for line in lines:
        if line.startswith("make "):
            assert line.split()[1] in targets
