"""Writes the report of runs, or of an experiment's folder, as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gpt_research.base.disk import cannot_write
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_text
from gpt_research.report.experiment import is_experiment, read_experiment
from gpt_research.report.experiment_page import experiment_page
from gpt_research.report.known_runs import know
from gpt_research.report.run_page import run_page

NAME = "report.html"


def write_report(
    named: Sequence[str | Path],
    out: str | Path = "",
    *,
    confidence: float = 0.95,
    with_compressors: bool = True,
    notice: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the report of run folders and result files, or of one experiment's folder.

    Args:
        out: the file; empty for `report.html` in the only run or the experiment, or here.
        notice: is told what takes long.

    Returns:
        The file.

    Raises:
        UserError: what is named cannot be read, or the file cannot be written.
    """
    folders = [str(name) for name in named]
    experiments = [folder for folder in folders if is_experiment(Path(folder))]
    if experiments and len(folders) > 1:
        raise UserError(
            f"{experiments[0]} is an experiment, which is reported by itself. Name it alone, or name runs alone."
        )
    if experiments:
        experiment = read_experiment(Path(folders[0]))
        text = experiment_page(experiment, with_compressors=with_compressors, notice=notice)
    else:
        known = [know(folder) for folder in folders]
        text = run_page(known, confidence=confidence, with_compressors=with_compressors, notice=notice)
    alone = len(folders) == 1 and Path(folders[0]).is_dir()
    path = Path(out) if str(out) else (Path(folders[0]) if alone else Path()) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise cannot_write(path, error, flag="--out", then="report again") from None
    return path
