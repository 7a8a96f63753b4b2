"""The table of subcommands: where each is, what its help says, and what stands without a flag."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Command:
    """A subcommand."""

    module: str
    """The module with the settings class and `run`."""
    settings: str
    """Name of the settings class; empty for a command that hands its arguments on to others."""
    help: str
    """What it does, in one sentence."""
    positional: str = ""
    """The field that is given without a flag."""
    second: str = ""
    """The field that is given without a flag behind it."""
    many: bool = False
    """The positional field takes any number of values."""
    short: dict[str, str] = field(default_factory=dict)
    """Short flags and what they stand for."""
    examples: tuple[str, ...] = ()
    """Command lines for the help, without the program's name."""
    page: str = ""
    """The page of the documentation that says more."""

    def settings_class(self) -> Any:
        """Return the settings class; its module is imported now."""
        return getattr(importlib.import_module(self.module), self.settings)


COMMANDS = {
    "demo": Command(
        "gpt_research.cli.demo",
        "",
        "Fetch Shakespeare's works, train a small model on them, evaluate it and let it write, in some minutes. "
        "Its settings are those of training; the defaults are the preset demo.",
        examples=("demo", "demo --max_steps 200"),
        page="README.md",
    ),
    "preprocess": Command(
        "gpt_research.cli.preprocess",
        "PreprocessConfig",
        "Clean, deduplicate and tokenise corpora into a data set that training reads.",
        "corpora",
        many=True,
        examples=(
            "preprocess mine=FOLDER_OF_TEXTS --out data/mine --tokenizer train --vocab_size 8192",
            "preprocess enron=maildir.tar.gz books:gutenberg=texts/ --out data/mine --val_fraction 0.01",
        ),
        page="docs/corpora.md",
    ),
    "doctor": Command(
        "gpt_research.cli.doctor",
        "DoctorCommand",
        "Look at this machine, and say what each finding means for training.",
        examples=("doctor", "doctor --compile_seconds 120"),
        page="docs/training.md",
    ),
    "plan": Command(
        "gpt_research.cli.plan",
        "PlanCommand",
        "Say what a run will take in memory, time, disk and money: measured here, or computed for another device.",
        examples=("plan --config gpt2-124m", "plan --config gpt2-124m --on 8xh100", "plan --config demo --seconds 10"),
        page="docs/training.md",
    ),
    "train": Command(
        "gpt_research.cli.train",
        "TrainConfig",
        "Train a model on a data set, or go on with a run that was stopped. The defaults are the preset gpt2-124m.",
        examples=(
            "train --config demo --data data/mine --out runs/mine",
            "train --config demo --data data/mine --out runs/wider --model.n_embd 384 --learning_rate 0.015",
            "train --resume runs/mine",
        ),
        page="docs/training.md",
    ),
    "finetune": Command(
        "gpt_research.cli.finetune",
        "FinetuneCommand",
        "Train a run further on labelled examples, completions or conversations. The defaults are GPT-1's.",
        "run",
        examples=(
            "finetune runs/mine --data train.csv --val val.csv --task classify --out runs/sentiment",
            "finetune runs/mine --data chats.jsonl --task chat --lora 8 --out runs/chat",
        ),
        page="docs/finetuning.md",
    ),
    "generate": Command(
        "gpt_research.cli.generate",
        "GenerateCommand",
        "Continue a prompt with a trained model.",
        "run",
        short={"-i": "--interactive"},
        examples=(
            'generate runs/mine --prompt "Once upon a time" --num_samples 3',
            "generate runs/mine --interactive",
        ),
        page="docs/generation.md",
    ),
    "serve": Command(
        "gpt_research.cli.serve",
        "ServeCommand",
        "Serve models over HTTP: OpenAI's API for programs, and a page for people.",
        "runs",
        many=True,
        examples=("serve runs/mine", "serve runs/mine small=runs/tiny --port 8001"),
        page="docs/serving.md",
    ),
    "verify-resume": Command(
        "gpt_research.cli.verify_resume",
        "VerifyResumeCommand",
        "Prove on this machine that a run which was interrupted and resumed equals one which was not.",
        examples=("verify-resume --config demo --steps 10",),
        page="docs/reliability.md",
    ),
    "replay": Command(
        "gpt_research.cli.replay",
        "ReplayCommand",
        "Take one step of a run again, and show what each module of the model computed.",
        "run",
        examples=("replay runs/mine --step 810",),
        page="docs/reliability.md",
    ),
    "inspect": Command(
        "gpt_research.cli.inspect",
        "InspectCommand",
        "Show what a run folder holds: settings, last numbers, checkpoints, lineage.",
        "run",
        examples=("inspect runs/mine --verify",),
        page="docs/reliability.md",
    ),
    "export": Command(
        "gpt_research.cli.export",
        "ExportCommand",
        "Write a model for transformers or llama.cpp, proved to compute what the run computes.",
        "run",
        examples=("export runs/mine --out mine-hf", "export runs/mine --format gguf --dtype q8_0 --out mine-gguf"),
        page="docs/export.md",
    ),
    "import": Command(
        "gpt_research.cli.import_",
        "ImportCommand",
        "Make a run of a GPT-2, Llama or Qwen3 from the Hugging Face hub, from a folder or from nanoGPT.",
        "source",
        examples=("import openai-community/gpt2 --out runs/gpt2",),
        page="docs/export.md",
    ),
    "average": Command(
        "gpt_research.cli.average",
        "AverageCommand",
        "Make a run whose weights are the mean of those of several checkpoints.",
        "runs",
        many=True,
        examples=("average runs/mine --last 5", "average runs/mine --steps 800,900,1000 --out runs/mean"),
        page="docs/training.md",
    ),
    "where": Command(
        "gpt_research.cli.where",
        "WhereCommand",
        "Find the source file of a token, or of everything that a step of training read.",
        "data",
        examples=("where data/mine --token 123", "where --run runs/mine --step 810"),
        page="docs/reliability.md",
    ),
    "index": Command(
        "gpt_research.cli.index",
        "IndexCommand",
        "Index a data set, so that trace finds where a text stands in it.",
        "data",
        examples=("index data/mine",),
        page="docs/tracing.md",
    ),
    "trace": Command(
        "gpt_research.cli.trace",
        "TraceCommand",
        "Find where the training data has a text, and which steps of a run read it there.",
        "run",
        second="query",
        examples=('trace runs/mine "to be or not to be"', 'trace runs/mine@600 "to be or not to be" --json'),
        page="docs/tracing.md",
    ),
    "memorisation": Command(
        "gpt_research.cli.memorisation",
        "MemorisationCommand",
        "Let a model write, and say how much of it is copied from the training data.",
        "run",
        examples=("memorisation runs/mine", "memorisation runs/mine@600 --num_samples 100 --json"),
        page="docs/tracing.md",
    ),
    "evaluate": Command(
        "gpt_research.cli.evaluate",
        "EvaluateCommand",
        "Measure a model's loss on a data set, and its scores on benchmarks.",
        "run",
        examples=("evaluate runs/mine", "evaluate runs/mine --tasks wikitext2,lambada --benchmarks DIR"),
        page="docs/evaluation.md",
    ),
    "compare": Command(
        "gpt_research.cli.compare",
        "CompareCommand",
        "Set evaluations side by side, and say which differences are more than chance.",
        "runs",
        many=True,
        examples=("compare runs/a runs/b",),
        page="docs/evaluation.md",
    ),
    "ablate": Command(
        "gpt_research.cli.ablate",
        "AblateCommand",
        "Compare changes of a recipe with it: runs in pairs, until an interval says which is better.",
        "base",
        examples=(
            "ablate demo --change model.positions=rope --seeds 8 --budget 1h",
            'ablate demo --change "muon: optimizer.name=muon,learning_rate=0.02" --tune learning_rate --horizons 0.5,1',
        ),
        page="docs/lab.md",
    ),
    "sweep": Command(
        "gpt_research.cli.sweep",
        "SweepCommand",
        "Train a recipe with several values of its settings, and say which is best.",
        "base",
        examples=(
            "sweep demo --over learning_rate=1e-3..1e-2 --seeds 3",
            "sweep demo --over learning_rate=1e-3..1e-2 --over weight_decay=0,0.1,0.5 --sampler optuna --trials 20",
        ),
        page="docs/lab.md",
    ),
    "lr-range": Command(
        "gpt_research.cli.lr_range",
        "LrRangeCommand",
        "Let the learning rate of one run rise until the loss does, and suggest a rate.",
        "base",
        examples=("lr-range demo",),
        page="docs/lab.md",
    ),
    "report": Command(
        "gpt_research.cli.report",
        "ReportCommand",
        "Write one HTML file about runs or an experiment: curves, differences, evaluations, settings, texts.",
        "runs",
        many=True,
        examples=("report runs/mine", "report runs/a runs/b --out both.html"),
        page="docs/reports.md",
    ),
}

OTHER_WORDS = {
    "sample": "generate", "chat": "generate", "infer": "generate", "inference": "generate", "run": "generate",
    "server": "serve", "api": "serve", "web": "serve", "page": "serve", "ui": "serve",
    "prepare": "preprocess", "tokenize": "preprocess", "tokenise": "preprocess", "data": "preprocess",
    "fine-tune": "finetune", "sft": "finetune", "lora": "finetune",
    "pretrain": "train", "resume": "train", "trainer": "train",
    "eval": "evaluate", "test": "evaluate", "benchmark": "evaluate", "score": "evaluate",
    "convert": "export", "save": "export", "load": "import", "download": "import",
    "html": "report", "plot": "report",
    "merge": "average", "mean": "average", "soup": "average", "swa": "average",
    "diff": "compare", "info": "inspect", "show": "inspect", "estimate": "plan", "check": "doctor",
}  # fmt: skip
"""What other programs call a command -> the command here."""
