"""Opens a run for a report, whatever state it is in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.evaluation import results
from gpt_research.evaluation.results import Result
from gpt_research.report.known_run import KnownRun
from gpt_research.run_reference import RunReference, run_reference
from gpt_research.training.inspect_run import training_of
from gpt_research.training.lineage import deciding_settings, settings_with_origin


def open_run(named: str) -> tuple[KnownRun, Mapping[str, Result]]:
    """Open a run folder, or one of its checkpoints (`RUN@STEP`), or a result file; return the run,
    and the results of its evaluation.

    A run folder needs neither metrics nor an evaluation. A damaged evaluation becomes a remark.

    Raises:
        UserError: there is neither, or what there is cannot be read.
    """
    reference = run_reference(named)
    path = reference.folder
    is_run, has_result = (path / "config.yaml").is_file(), results.result_file(reference).is_file()
    if not is_run and not has_result:
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
    if not is_run:  # the run of a result file may be here too
        reference = RunReference(Path(summary.get("run", "")))
    folder = reference.folder
    if not (folder / "config.yaml").is_file():
        lineage = summary.get("lineage", {})
        settings = settings_with_origin(summary.get("trained_with", {}), lineage)
        return KnownRun(named, None, None, settings, lineage.get("data", ""), summary, [], lineage), measured
    trained = training_of(reference)
    data = summary.get("lineage", {}).get("data") or trained.lineage.get("data", "")
    lineage = trained.lineage or summary.get("lineage", {})
    settings = settings_with_origin(deciding_settings(trained.config), lineage)
    lines = trained.metrics
    if not is_run:  # the run may have gone on since
        lines = [line for line in lines if line["step"] <= summary.get("step", math.inf)]
    known = KnownRun(named, folder, trained.config, settings, data, summary, lines, lineage, remarks, not is_run)
    return known, measured
