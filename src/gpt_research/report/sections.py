"""Sections that reports of runs and of experiments share: samples, data, compressors, machine,
versions, lineage.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.base.machine import cpu_name, total_memory, usable_cores
from gpt_research.data.dataset_tokenizer import tokenizer_of
from gpt_research.data.shards import Dataset, data_fingerprint, read_manifests
from gpt_research.preprocessing.card import page as card_page
from gpt_research.preprocessing.card.card import card
from gpt_research.report.html import Html, code, details, element, joined, listed, paragraph, table
from gpt_research.report.intervals import Row, interval_table
from gpt_research.report.known_run import KnownRun
from gpt_research.report.measured import Measured
from gpt_research.report.scales import short
from gpt_research.training.metrics import read_samples
from gpt_research.version import __version__

MOST_SAMPLES, LONGEST_SAMPLE, MOST_SAMPLED = 6, 1500, 6
"""Samples of a run that a report shows, characters of each, and runs whose samples it shows."""
FOOT = f"Made by gpt-research {__version__}. The page needs no network and holds all that it shows."
QUIET = 4
"""Colour of what is no model."""
LARGEST_CARD = 400_000
"""Characters of a data card that go into a report."""


def samples(runs: Sequence[tuple[str, KnownRun]]) -> Html:
    """Return the texts that runs wrote on their way, the newest of each open.

    Args:
        runs: each with the label of its setting.
    """
    parts: list[Html] = []
    for label, known in runs:
        found = read_samples(known.folder) if known.folder is not None else []
        if not found or len(parts) >= MOST_SAMPLED:
            continue
        last = len(found) - 1
        count = min(MOST_SAMPLES, len(found))
        chosen = sorted({round(number * last / max(1, count - 1)) for number in range(count)})
        name = f"{label}, {known.name}" if label else known.name
        shown = [
            _sample(f"step {found[number][0]:,}", found[number][1], is_open=number == last, of=name)
            for number in chosen
        ]
        parts.append(joined([element("h3", name), *shown]))
    return joined(parts)


def _sample(title: str, text: str, *, is_open: bool, of: str) -> Html:
    cut = text if len(text) <= LONGEST_SAMPLE else text[:LONGEST_SAMPLE] + " […]"
    body = element("pre", cut, class_="text", tabindex=0, role="group", aria_label=f"Sample of {of} at {title}")
    return element("details", element("summary", title) + body, class_="printed", **({"open": ""} if is_open else {}))


def data(sets: Mapping[str, str]) -> Html:
    """Return the data cards of data sets.

    Args:
        sets: the folder of each, and the fingerprint that the runs know; empty if they know none.
    """
    parts: list[Html] = []
    for folder, fingerprint in sets.items():
        try:
            manifests = {name: manifest for name, (_, manifest) in read_manifests(Path(folder)).items()}
        except UserError as error:
            parts.append(paragraph(f"The data set {folder} is not here, so its card is not shown. {error}"))
            continue
        if fingerprint and data_fingerprint(manifests) != fingerprint:
            parts.append(paragraph(
                f"{folder} holds other data now (fingerprint {data_fingerprint(manifests)[:12]}) than the runs were "
                f"trained on ({fingerprint[:12]}), so its card is not shown."
            ))  # fmt: skip
            continue
        parts += [paragraph(f"{folder}, fingerprint {data_fingerprint(manifests)}"), _card(Path(folder), manifests)]
    return joined(parts)


def _card(folder: Path, manifests: Mapping[str, Any]) -> Html:
    if not all(manifest.fingerprint for manifest in manifests.values()):
        counts = [[n, short(m.count("train")), short(m.count("val"))] for n, m in manifests.items()]
        return table("Tokens", ["corpus", "train", "validation"], counts)
    try:
        tokenizer, _ = tokenizer_of(Dataset(folder, 1))
        described = folder / "dataset.json"
        specs = json.loads(described.read_text("utf-8")).get("read_from", {}) if described.is_file() else {}
        blocks = card(folder, manifests, specs, tokenizer)
    except (UserError, OSError, ValueError, KeyError) as error:
        return paragraph(f"The data card cannot be made: {error}")
    first = next((n for n, b in enumerate(blocks) if isinstance(b, card_page.Heading) and b.level == 2), len(blocks))
    rest = _blocks(blocks[first:])
    if len(rest) > LARGEST_CARD:
        rest = paragraph(f"The rest of the card is long. It is in {folder / 'data_card.html'}.")
    return joined([_blocks(blocks[1:first]), details("The rest of the data card", rest)])


def _blocks(blocks: Sequence[card_page.Block]) -> Html:
    """Return the blocks of a data card, without its pictures, whose numbers are in its tables."""
    parts, title = [], "Corpora"
    for block in blocks:
        if isinstance(block, card_page.Heading):
            title = block.text
            parts.append(element(f"h{min(5, block.level + 1)}", title))
        elif isinstance(block, card_page.Paragraph):
            parts.append(paragraph(block.text))
        elif isinstance(block, card_page.Code):
            parts.append(code(block.text, title))
        elif isinstance(block, card_page.Table):
            texts = [n for n in range(len(block.headings)) if n == 0 or not block.numeric(n)]
            headings = [h or ("what" if n == 0 else "value") for n, h in enumerate(block.headings)]
            parts.append(table(title, headings, block.rows, texts=texts))
    return joined(parts)


def bits_per_byte(models: Mapping[str, Sequence[float]], measured: Measured | None) -> Html:
    """Return the models' bits per byte beside those of compressors.

    Args:
        models: the values over the seeds of each setting; those without any are left out.
    """
    if measured is None or not any(models.values()):
        return Html("")
    everything = []
    for number, (name, values) in enumerate(models.items()):
        if values:
            low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
            cells = [_bits(fmean(values)), "–"]
            everything.append(Row(name, fmean(values), low, high, values, cells, number))
    for row in measured.rows:
        label, cells = f"{row.name}, given the training text", [_bits(row.given), _bits(row.alone)]
        everything.append(Row(label, row.given, cells=cells, colour=QUIET))
    shown = interval_table(
        "Bits per byte of validation text: models and compressors",
        ["model or compressor", "bits per byte", "bits per byte", "without the training text"],
        sorted(everything, key=lambda row: row.value if row.value is not None else 1e9),
        mark=None,
    )
    part = "all of it" if measured.training_bytes >= 0.999 * measured.all_training_bytes else "the first of each corpus"
    whole = "all" if measured.validation_bytes >= 0.999 * measured.all_validation_bytes else "the first"
    note = (
        "“Given the training text” is by how much a compressed file grows if the validation text is appended to the "
        f"training text: (size of both − size of the training text) × 8 ÷ bytes of validation text. The compressors "
        f"were given {measured.training_bytes / 1e6:,.1f} MB of training text ({part}) and {whole} "
        f"{measured.validation_bytes / 1e6:,.2f} MB of the validation text. They learn from each byte as they go on; a "
        "model's weights stand still while it is measured. bz2 looks back 900 kB at most."
    )
    if not any(row.name.startswith("PPMd") for row in measured.rows):
        note += " PPMd is left out, because the package pyppmd is not installed."
    return joined([shown, element("p", note, class_="quiet")])


def _bits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def origin(runs: Sequence[tuple[str, KnownRun]]) -> Html:
    """Return machine and versions of the evaluations, lineage of the runs, and this machine."""
    parts = []
    evaluated = [(label, known.evaluation, known.name) for label, known in runs if known.evaluation]
    rows = [
        [f"{label} {name}".strip(), summary.get("device", "–"), summary.get("precision", "–"), _versions(summary)]
        for label, summary, name in evaluated
    ]
    if rows:
        parts.append(table("Evaluated on", ["run", "device", "precision", "versions"], rows, texts=(0, 1, 2, 3)))
    told = [(f"{label} {known.name}".strip(), known.lineage) for label, known in runs if known.lineage]
    if told:
        rows = [
            [name, *(str(lineage.get(key, "–")) for key in ("code", "data", "tokenizer", "config"))]
            for name, lineage in told
        ]
        rows = [[row[0], row[1], *(cell[:12] for cell in row[2:])] for row in rows]
        headings = ["run", "trained with", "data", "tokenizer", "settings"]
        parts.append(table("Lineage of the newest checkpoints (fingerprints)", headings, rows, texts=(0, 1, 2, 3, 4)))
    for name, lineage in told:
        more = {k: v for k, v in lineage.items() if k not in ("code", "data", "tokenizer", "config")}
        if more:
            parts.append(
                details(
                    f"Where the weights of {name} come from", code(json.dumps(more, indent=1), f"Lineage of {name}")
                )
            )
    trained = [(f"{label} {known.name}".strip(), known.trained_on) for label, known in runs if known.trained_on]
    if trained:
        parts.append(
            table("Trained on", ["run", "machine", "versions"], [_trained(*row) for row in trained], texts=(0, 1, 2))
        )
    parts.append(element("h3", "This page was made on"))
    parts.append(listed([f"{key}: {value}" for key, value in here().items()]))
    return joined(parts)


def _trained(name: str, facts: Mapping[str, Any]) -> list[str]:
    known = facts.get("machine") or {}
    parts = [known.get("cards"), known.get("cpu"), f"{known.get('cores')} cores", f"{known.get('memory_gb')} GB"]
    return [name, ", ".join(str(part) for part in [*parts, known.get("instructions")] if part), _versions(facts)]


def _versions(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())


def here() -> dict[str, str]:
    """Return this machine and the versions here, in words."""
    return {
        "processor": cpu_name() or platform.machine(),
        "cores that may be used": f"{usable_cores():g}",
        "memory": f"{total_memory() / 2**30:.1f} GiB",
        "versions": f"gpt-research {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
