"""The model card: what the model is, how it was trained, what it scores, and how to run it.

Everything comes from the run folder and, if it is still there, from the data set's manifests. The
card says which facts are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.data.shards import read_manifests
from gpt_research.export.families.table import family_of
from gpt_research.run import Run
from gpt_research.training.metrics import read_metrics
from gpt_research.version import __version__


def model_card(
    run: Run, dtype: str, licence: str, proofs: Sequence[object], *, usage: str, library: str = "", file: str = ""
) -> str:
    """Return the text of README.md.

    Args:
        usage: how to run the model, in Markdown; FILE and RUN stand for the name of the file and of
            the run.
        library: the library that the hub loads the model with, if any.
    """
    parts = [
        _front_matter(run, library, licence),
        f"# {run.name}",
        _model(run, dtype),
        "## Use\n\n" + usage.replace("FILE", file).replace("RUN", run.name),
        _data(run.config),
        _recipe(run),
        _scores(run),
        "## Checked\n\nRead back and compared with the run on real text:\n\n"
        + "\n".join(f"- {proof}" for proof in proofs),
        _licence(licence),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(run: Run, library: str, licence: str) -> str:
    family = family_of(run.model.config)
    tags = [*([family.name] if family else []), "gpt-research"]
    pipeline = "text-generation" if run.task_head is None else "text-classification"
    lines = [f"pipeline_tag: {pipeline}", f"tags: [{', '.join(tags)}]"]
    if library:
        lines.insert(0, f"library_name: {library}")
    if licence:
        lines.append(f"license: {licence}")
    return "\n".join(["---", *lines, "---"])


def _model(run: Run, dtype: str) -> str:
    config = run.model.config
    family = family_of(config)
    kind = "A decoder-only transformer" if family is None else f"A {family.title}"
    return (
        f"{kind} of {run.model.num_parameters():,} parameters: {config.n_layer} layers, {config.n_head} heads, "
        f"width {config.n_embd}, context {config.block_size} tokens, {config.positions} positions, "
        f"{'' if config.bias else 'no '}biases, {'tied' if config.tie_weights else 'untied'} head. "
        f"Vocabulary: {run.tokenizer.vocabulary.description}, {config.vocab_size:,} entries, fingerprint "
        f"`{run.tokenizer.fingerprint[:16]}`. Weights in {dtype}, from step {run.step:,}"
        f"{' (the moving average over steps)' if run.averaged else ''}, exported by "
        f"gpt-research {__version__}. It continues text; it follows no instructions and may write what is "
        "untrue or harmful."
    )


def _data(config: TrainConfig) -> str:
    folder = Path(config.data)
    try:
        corpora = read_manifests(folder)
    except UserError:
        return f"## Data\n\nData set `{folder.name}`; its manifests were not at hand when this was exported."
    rows = ["| corpus | documents | training tokens | licence |", "|---|---:|---:|---|"]
    for name, (_, corpus) in sorted(corpora.items()):
        documents, tokens = corpus.count("train", "documents"), corpus.count("train")
        rows.append(f"| {name} | {documents:,} | {tokens:,} | {corpus.licence or 'not recorded'} |")
    return "## Data\n\n" + "\n".join(rows)


def _recipe(run: Run) -> str:
    config = run.config
    if "mean_of" in run.lineage:
        steps = [f"{each['step']:,}" for each in run.lineage["mean_of"]["checkpoints"]]
        return f"## Recipe\n\nThe mean of the weights of {len(steps)} checkpoints: steps {', '.join(steps)}."
    if run.step == 0:
        return "## Recipe\n\nImported weights; how they were trained is not known here."
    tokens = run.step * config.tokens_per_step
    optimizer = f"Optimizer {config.optimizer.name}"  # a plugin's optimizer may read the settings in its own way
    if config.optimizer.name == "adamw":
        optimizer = f"AdamW, betas {config.beta1} and {config.beta2}"
    return (
        f"## Recipe\n\n{run.step:,} of {config.max_steps:,} steps of {config.tokens_per_step:,} tokens "
        f"({tokens:,} in all). {optimizer}, weight decay {config.weight_decay} on matrices and embeddings, "
        f"gradients clipped at {config.grad_clip}. Learning rate {config.learning_rate}, "
        f"{config.warmup_steps} steps of warm-up, {config.schedule} decay to {config.min_lr_ratio:.0%}. "
        f"Dropout {config.model.dropout}, precision {config.precision}, seed {config.seed}. "
        "The run's `config.yaml` repeats it."
    )


def _scores(run: Run) -> str:
    loss, bits = ("val_loss_ema", "val_bits_per_byte_ema") if run.averaged else ("val_loss", "val_bits_per_byte")
    measured = [m for m in read_metrics(run.folder) if m.get(loss) is not None and m["step"] <= run.step]
    if not measured:
        return "## Scores\n\nThis run was not evaluated."
    last = measured[-1]
    rows = ["| validation split | nats a token | bits a byte |", "|---|---:|---:|"]
    rows.append(f"| all | {_number(last[loss])} | {_number(last.get(bits))} |")
    corpora = None if run.averaged else last.get("corpora")
    for name, entry in sorted(corpora.items() if isinstance(corpora, dict) else []):
        numbers = entry if isinstance(entry, dict) else {"val_loss": entry}
        nats = numbers.get("val_loss", numbers.get("loss"))
        bits_per_byte = numbers.get("val_bits_per_byte", numbers.get("bits_per_byte"))
        rows.append(f"| {name} | {_number(nats)} | {_number(bits_per_byte)} |")
    return f"## Scores\n\nOf the run itself at step {last['step']:,}, before any rounding:\n\n" + "\n".join(rows)


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _licence(licence: str) -> str:
    chosen = f"The weights are under {licence}." if licence else "No licence was chosen for the weights."
    return (
        f"## Licence\n\n{chosen} Texts they were trained on keep their own licences and owners, given above "
        "where they are known; some may not allow every use."
    )
