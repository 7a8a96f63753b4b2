"""A fine-tuned classifier for transformers: `...ForSequenceClassification` of the model's shape.

The folder is that of `hf`, with the head in place of the language model's. Its tokenizer puts the
start, delimiter and extract tokens around texts by itself, so that a text, or a pair, is all that a
user gives. A similarity and a choice have no such class: transformers has no model that adds the
hidden states of two orders, or compares the scores of several sequences.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.checkpoint.weights import model_tensors
from gpt_research.export.families.table import require_family
from gpt_research.export.proof import PASSAGE
from gpt_research.export.tensor_files import TORCH_TYPES
from gpt_research.run import Run

START, DELIMITER, EXTRACT = "<|start|>", "<|delimiter|>", "<|extract|>"
USAGE = """```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH/TO/THIS/FOLDER")
model = AutoModelForSequenceClassification.from_pretrained("PATH/TO/THIS/FOLDER")
inputs = tokenizer(TEXTS, return_tensors="pt")
print(model.config.id2label[int(model(**inputs).logits.argmax())])
```

The tokenizer adds the special tokens; a text of more than CONTEXT tokens must be cut before."""
LARGEST = {"f32": 1e-4, "f16": 2e-2, "bf16": 1e-1}
"""How far the scores may be from the run's, as a share of their spread, by the type of weights."""


@dataclass(frozen=True)
class ClassifierProof:
    """What was measured."""

    texts: int
    largest: float
    """The largest difference of a score, as a share of the scores' spread."""

    def __str__(self) -> str:
        return f"transformers: scores of the classes within {self.largest:.1e} of their spread on {self.texts} texts"


def refuse_other_heads(run: Run, format: str) -> None:
    """Check that a format has the head of a fine-tuned run.

    Raises:
        UserError: it has not; the message says why.
    """
    task = run.lineage.get("finetune", {}).get("task")
    why = {
        "similarity": "a similarity adds the hidden states of a pair in both orders before its head",
        "choice": "a choice compares the scores of several sequences",
    }
    if run.task_head is None:
        return
    if task in why:
        raise UserError(
            f"{run.folder} cannot be exported with its head: {why[task]}, and no class of transformers does that. "
            f"Score examples with it here: {hints.command('evaluate', run.folder, '--data', 'FILE')}"
        )
    if format != "hf":
        raise UserError(f"--format {format} has no place for the head of {run.folder}. Take --format hf.")


def write_classifier(folder: Path, run: Run, dtype: str) -> Path:
    """Write over the weights, the settings and the tokenizer of an export in `folder`, so that it
    is a classifier; return the file with the weights.

    Raises:
        UserError: no family has the model's settings.
    """
    assert run.task_head is not None, "the run has a head"
    family = require_family(run.model.config, "transformers")
    config, tensors = family.form(run.model.config, model_tensors(run.model, copy=False))
    theirs = {name: tensor for name, tensor in family.to_hf(config, tensors).items() if not name.startswith("lm_head")}
    # mup divides the scores of the language model alone, so the head is as it is.
    theirs["score.weight"] = run.task_head
    stored = {name: tensor.to(TORCH_TYPES[dtype]).contiguous() for name, tensor in theirs.items()}
    file = folder / "model.safetensors"
    safetensors.torch.save_file(stored, file, metadata={"format": "pt"})
    labels = run.lineage["finetune"]["labels"]
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    base = family.model_class.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    settings |= {
        "architectures": [f"{base}ForSequenceClassification"],
        "num_labels": len(labels),
        "id2label": {str(number): name for number, name in enumerate(labels)},
        "label2id": {name: number for number, name in enumerate(labels)},
        # The head reads the last token that is not padding: the extract token.
        "pad_token_id": run.tokenizer.end_of_text,
    }
    _write(folder / "config.json", settings)
    (folder / "generation_config.json").unlink()
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["post_processor"] = _template(run.tokenizer.vocabulary.specials, pairs=run_task(run) == "pairs")
    _write(folder / "tokenizer.json", tokenizer)
    return file


def run_task(run: Run) -> str:
    return str(run.lineage["finetune"]["task"])


def _template(ids: dict[str, int], *, pairs: bool) -> dict[str, Any]:
    """Return a post-processor that puts special tokens around a text, or a pair."""

    def mark(name: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": 0}}

    def text(name: str) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": 0}}

    names = (START, DELIMITER, EXTRACT)
    return {
        "type": "TemplateProcessing",
        "single": [mark(START), text("A"), mark(EXTRACT)],
        "pair": [mark(START), text("A"), mark(DELIMITER), text("B"), mark(EXTRACT)],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in names},
    }


@torch.no_grad()
def prove_classifier(folder: Path, run: Run, dtype: str) -> ClassifierProof:
    """Load the export with transformers and compare its scores with the run's.

    Raises:
        UserError: they differ.
    """
    import transformers

    assert run.task_head is not None, "the run has a head"
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True
    ).eval()
    specials, pairs = run.tokenizer.vocabulary.specials, run_task(run) == "pairs"
    differences, scores = [], []
    texts = _texts(run)
    for first, second in zip(texts, [*texts[1:], texts[0]], strict=True):
        ids = [run.tokenizer.encode(text) for text in ((first, second) if pairs else (first,))]
        tokens = [specials[START], *ids[0], *([specials[DELIMITER], *ids[1]] if pairs else []), specials[EXTRACT]]
        inputs = tokenizer(first, second if pairs else None, return_tensors="pt")
        if inputs["input_ids"][0].tolist() != tokens:
            raise UserError(
                f"The tokenizer of the export reads {first!r} otherwise than the run's, so it was not kept."
            )
        ours = run.model.hidden(torch.tensor([tokens]))[0, -1] @ run.task_head.T
        theirs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[0]
        differences.append(float((ours - theirs).abs().max()))
        scores.append(ours)
    spread = float(torch.stack(scores).std()) or 1.0
    largest = max(differences) / spread
    if not largest <= LARGEST[dtype]:
        raise UserError(f"The scores of the export are off by {largest:.1e} of their spread, so it was not kept.")
    return ClassifierProof(len(texts), largest)


def _texts(run: Run) -> Sequence[str]:
    """Return some texts that the model's context holds, in its vocabulary."""
    words, longest = run.tokenizer.known_part(PASSAGE).split(), max(1, run.model.config.block_size // 8)
    found = [" ".join(words[begin : begin + 1 + begin % longest]) for begin in range(8)]
    found = [text for text in found if 0 < 2 * len(run.tokenizer.encode(text)) + 3 <= run.model.config.block_size]
    return found or [run.tokenizer.known_part("a")]


def usage(run: Run) -> str:
    """Return how to use the classifier, in Markdown."""
    texts = '"First text.", "Second text."' if run_task(run) == "pairs" else '"A text."'
    return USAGE.replace("TEXTS", texts).replace("CONTEXT", str(run.model.config.block_size - 3))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
