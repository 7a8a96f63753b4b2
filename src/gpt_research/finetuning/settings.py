"""The settings of fine-tuning, and the training settings that follow from them. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from gpt_research.base import hints
from gpt_research.base.errors import UserError, require
from gpt_research.config import changeable

Task = Literal["classify", "pairs", "similarity", "choice", "complete", "chat"]
HEADS = ("classify", "pairs", "similarity", "choice")
"""The tasks whose answer comes from a head on the extract token; the others write a text."""
MATRICES = "qkv,proj,gate,up,down"
GPT1_WIDTH, GPT1_RATE = 768, 6.25e-5
"""GPT-1's width, and its learning rate of fine-tuning."""
GPT1_BATCH, FITTING_STEPS = 32, 100
"""GPT-1's examples of a step, and the steps below which little is learnt, so that few examples get
smaller ones."""
LORA_RATE = 10.0
"""An adapter's learning rate, as a multiple of that of full weights."""


@dataclass(frozen=True)
class FinetuneSettings:
    """One fine-tuning. The defaults are GPT-1's (section 4.1), but for narrow models and for few
    examples."""

    run: str = ""
    """Run folder to begin with, or RUN@STEP for one of its checkpoints; an import is one too."""
    data: str = changeable("")
    """File of training examples: JSON lines, CSV, TSV, or an official file that is known."""
    val: str = changeable("")
    """File of validation examples. Without it nothing is evaluated on the way."""
    task: Task | None = None
    """classify: text, label. pairs: text_a, text_b, label. similarity: text_a, text_b, label (a
    number). choice: context, choices, answer. complete: prompt, completion. chat: messages."""
    columns: dict[str, str] = field(default_factory=dict)
    """Name that a column of the task has in your files, such as --columns.text sentence."""
    labels: list[str] = field(default_factory=list)
    """A class, in the order of the head; give it again for more. Default: the labels of the data,
    sorted, numbers by their value."""
    out: str = changeable("")
    """Run folder of the fine-tuned model."""
    resume: str = changeable("auto")
    """auto: continue what is in the folder. never: refuse a folder that holds a run. A run folder:
    continue that fine-tuning with its own settings."""
    allow_change: bool = changeable(False)
    """Continue although a setting that decides the result, or the data, has changed."""
    epochs: float = 3.0
    """Passes over the training examples."""
    batch_size: int | None = None
    """Examples of a step; for complete and chat, rows of packed examples. Default: 32, or the power
    of two below with which there are 100 steps."""
    micro_batch: int = changeable(8)
    """Examples or rows of one forward and backward pass. If batch_size is no multiple of it, their
    largest common divisor is taken."""
    learning_rate: float | None = None
    """Highest learning rate. Default: GPT-1's 6.25e-5 at its width of 768, in inverse proportion to
    the square of the width, and ten times as much with LoRA."""
    schedule: str = "linear"
    """Learning rate after the warm-up, as in train; it ends at 0."""
    warmup_ratio: float = 0.002
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.01
    """Decoupled decay, on matrices and embeddings."""
    grad_clip: float = 1.0
    """Largest global gradient norm; 0 does not clip."""
    optimizer: str = "adamw"
    """adamw, muon, or another that train knows."""
    dropout: float = 0.1
    """Share of activations that training drops, in the model and before the head."""
    lm_weight: float = 0.5
    """Weight of the auxiliary language-model loss on the texts of the examples (not for complete
    and chat, whose loss it is)."""
    layers: int | None = None
    """Take the embeddings and the first N blocks from the run, and draw the others. Default:
    all."""
    from_scratch: bool = False
    """Take shape and tokenizer from the run, and no weights: the comparison without pretraining."""
    lora: int = 0
    """Rank of the changes that are trained in place of the weights (LoRA); 0 trains all weights."""
    lora_alpha: float | None = None
    """The changes are multiplied by lora_alpha / lora. Default: 2 x lora."""
    lora_matrices: str = MATRICES
    """Matrices of a block that get a change: qkv, proj, gate, up, down."""
    long: Literal["truncate", "refuse"] = "truncate"
    """Examples longer than the context: truncate cuts them where the task can spare it and says how
    many; refuse stops."""
    early_stopping: int = changeable(0)
    """Stop after this many evaluations in a row without a lower validation loss; 0 never does."""
    eval_interval: int | None = changeable(None)
    """Steps between two evaluations. Default: an epoch."""
    log_interval: int = changeable(10)
    """Steps between two lines of metrics.jsonl."""
    save_interval: int | None = changeable(None)
    """Steps between two checkpoints. Default: an epoch; the best evaluation's is kept too."""
    keep_last: int = changeable(1)
    """Newest checkpoints that are kept, besides the best."""
    step: str = ""
    """Checkpoint of the run to begin with: newest, best or its step."""
    seed: int = 1337
    """Root of every random draw: head, order of the examples, dropout."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Type of the matrix products."""
    device: str = changeable("auto")
    """auto, cpu, cuda, cuda:1, mps."""
    parallel: Literal["auto", "ddp", "fsdp", "hsdp"] = changeable("auto")
    """On several devices, as in train."""
    gradient_checkpointing: bool = changeable(False)
    """Recompute each block's activations in the backward pass: less memory, more time."""
    tracker: str = changeable("none")
    """none, wandb or tensorboard."""

    def __post_init__(self) -> None:
        require(0 < self.epochs < math.inf, "epochs", self.epochs, "a finite number above 0")
        require(self.micro_batch >= 1, "micro_batch", self.micro_batch, "at least 1")
        size = self.batch_size
        require(size is None or size >= 1, "batch_size", size, "at least 1")
        rate = self.learning_rate
        require(rate is None or 0 < rate < math.inf, "learning_rate", rate, "a finite number above 0")
        for name in ("lora", "early_stopping", "lm_weight"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 <= self.warmup_ratio <= 1, "warmup_ratio", self.warmup_ratio, "between 0 and 1")
        require(self.layers is None or self.layers >= 0, "layers", self.layers, "0 or more")
        whole = self.layers is None and not self.lora
        require(whole or not self.from_scratch, "from_scratch", True, "left out with layers or lora")
        rule = "left out with lora, because blocks that are drawn must be trained"
        require(self.layers is None or not self.lora, "layers", self.layers, rule)

    def check_named(self) -> None:
        """Check that all is named that a fine-tuning needs.

        Raises:
            UserError: something is missing.
        """
        for name, what in (("run", "RUN"), ("data", "FILE"), ("task", ", ".join(get_args(Task))), ("out", "FOLDER")):
            if not getattr(self, name):
                example = hints.command("finetune", "RUN", "--data", "FILE", "--task", "classify", "--out", "FOLDER")
                raise UserError(f"finetune needs {name} ({what}), as in: {example}")
        rule = "0 without --val, because it looks at the validation loss"
        require(not self.early_stopping or bool(self.val), "early_stopping", self.early_stopping, rule)

    @property
    def has_head(self) -> bool:
        return self.task in HEADS

    def batch_of(self, rows: int) -> int:
        """Return the examples of a step, for some training examples or packed rows of them."""
        if self.batch_size is not None:
            return self.batch_size
        most = min(GPT1_BATCH, max(1, int(self.epochs * rows / FITTING_STEPS)))
        return 1 << (most.bit_length() - 1)  # a power of two, of which micro_batch is a divisor

    def rate(self, width: int) -> float:
        """Return the learning rate for a model of this width."""
        if self.learning_rate is not None:
            return self.learning_rate
        return GPT1_RATE * (GPT1_WIDTH / width) ** 2 * (LORA_RATE if self.lora else 1.0)
