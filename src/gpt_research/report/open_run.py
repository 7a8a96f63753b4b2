"""Opens a run for a report, whatever state it is in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.settings import by_flag
from gpt_research.evaluation import results
from gpt_research.evaluation.results import Result
from gpt_research.report.known_run import KnownRun
from gpt_research.settings_history import run_config
from gpt_research.training.inspect_run import newest_lineage
from gpt_research.training.lineage import deciding_settings
from gpt_research.training.metrics import read_metrics


def open_run(named: str) -> tuple[KnownRun, Mapping[str, Result]]:
    """Open a run folder or a result file; return the run, and the results of its evaluation.

    A run folder needs neither metrics nor an evaluation. A damaged evaluation becomes a remark.

    Raises:
        UserError: there is neither, or what there is cannot be read.
    """
    path = Path(named)
    is_run, has_result = (path / "config.yaml").is_file(), (path / results.RESULT_NAME).is_file()
    if not is_run and not path.is_file() and not has_result:
        raise UserError(
            f"{named} is no run folder (config.yaml), result file of evaluate or experiment (result.json). Name one "
            "that training, evaluate or an experiment wrote."
        )
    summary: dict[str, Any] = {}
    measured: dict[str, Result] = {}
    remarks = []
    if has_result or not is_run:
        try:
            summary, measured = results.read(results.find(named))
        except UserError as error:
            if not is_run:
                raise
            remarks.append(str(error))
    # The run of a result file may be here too.
    folder = path if is_run else Path(summary.get("run", ""))
    if not (folder / "config.yaml").is_file():
        lineage = summary.get("lineage", {})
        settings = by_flag(summary.get("trained_with", {}))
        return KnownRun(named, None, None, settings, lineage.get("data", ""), summary, [], lineage), measured
    config, lineage = run_config(folder), newest_lineage(folder)
    data = summary.get("lineage", {}).get("data") or lineage.get("data", "")
    lineage = lineage or summary.get("lineage", {})
    settings, lines = by_flag(deciding_settings(config)), read_metrics(folder)
    return KnownRun(named, folder, config, settings, data, summary, lines, lineage, remarks), measured
