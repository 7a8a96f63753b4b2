"""`gpt-research replay`: run one step of a run again, and show what its modules computed."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as with_changes
from typing import Any

from gpt_research.base.errors import require


@dataclass(frozen=True)
class ReplayCommand:
    """Run one step of a run again, and show what its modules compute."""

    run: str = ""
    """Run folder, or RUN@STEP for one of its steps. Empty: the newest under runs/."""
    step: int | None = None
    """Step to run again, counted from 1 as in metrics.jsonl. Default: the one that RUN@STEP names,
    else 1."""
    data: str = ""
    """Data set folder. Empty: the one the run was trained on."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        require(self.step is None or self.step >= 1, "step", self.step, "at least 1")


def run(command: ReplayCommand) -> int:
    """Replay and print the table of modules; return 1 if the run logged quite another loss."""
    from rich.console import Console
    from rich.table import Table

    from gpt_research.cli.tables import print_table
    from gpt_research.finetuning.fine_tuned import finetuning_of, settings_of
    from gpt_research.finetuning.finetune import prepared
    from gpt_research.run import step_of_run
    from gpt_research.run_reference import RunReference
    from gpt_research.settings_history import has_history
    from gpt_research.training.replay import replay

    run_folder, step = step_of_run(command.run, command.step)
    how: dict[str, Any] = {}
    if finetuning_of(RunReference(run_folder)) is not None:
        settings = settings_of(RunReference(run_folder))
        how["open_data"] = lambda config: prepared(with_changes(settings, data=config.data, out=config.out))[1]
    result = replay(run_folder, 1 if step is None else step, command.data, command.device, **how)
    console = Console(highlight=False, soft_wrap=True)
    table = Table("module", title=f"{run_folder}, step {result.step}, in fp32")
    table.add_column("largest output", justify="right")
    for module in result.forward:
        if module.module.count(".") <= 1 or not module.finite:
            table.add_row(module.module, f"{module.largest:.4g}")
    print_table(table)
    console.print(f"loss {result.loss:.6f}, gradient norm {result.grad_norm:.6f}")
    bad = result.first_bad
    console.print(f"The first bad number: {bad}." if bad else "Every number is finite in fp32.")
    if not has_history(run_folder):
        console.print("The run has no history of its settings (version 0.1 kept none): config.yaml is taken to hold.")
    if not result.repeats:
        console.print(
            f"This is not the step that the run took: metrics.jsonl has the loss {result.logged_loss:.6f}. The run "
            "began with other weights, or its settings, its data or its number of processes were others."
        )
    return 0 if result.repeats else 1
