"""One trial of `gpt-research finetune --study`: a fine-tuning, and its score on a file.

It goes on from its checkpoint if it was stopped, and its run folder is gone when it is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt_research.lab.label_study import TrialJob, TrialScore


def take_trial(job: TrialJob) -> TrialScore:
    """Fine-tune, measure and clear up.

    Raises:
        UserError: a file or a setting is wrong.
    """
    import math
    import shutil
    import time
    from pathlib import Path

    from gpt_research.base import plugins, startup
    from gpt_research.base.errors import NotFiniteError
    from gpt_research.finetuning.fine_tuned import open_fine_tuned, score_of
    from gpt_research.finetuning.finetune import finetune
    from gpt_research.lab.label_study import TrialScore
    from gpt_research.run_reference import RunReference

    for path in job.plugins:
        plugins.load(path)
    out, started_at = Path(job.settings.out), time.perf_counter()
    steps, score, trained_at = 0, 0.0, None
    try:
        outcome = finetune(job.settings)
        if outcome.stopped_by is not None:
            raise KeyboardInterrupt
        steps, trained_at = outcome.step, time.perf_counter()
        runtime = startup.start(job.settings.device, "fp32")
        found = score_of(open_fine_tuned(RunReference(out), job.judged_on, runtime.device), runtime, job.score)
        score = found if math.isfinite(found) else 0.0
    except NotFiniteError:  # this learning rate is too high, which is an answer
        pass
    ended_at = time.perf_counter()
    trained_at = trained_at or ended_at
    shutil.rmtree(out, ignore_errors=True)
    return TrialScore(score, steps, trained_at - started_at, ended_at - trained_at)
