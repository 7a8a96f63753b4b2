"""`gpt-research verify-resume`: prove that an interrupted run equals an uninterrupted one."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpt_research.base.errors import require
from gpt_research.config import FLAG_ONLY, TrainConfig


@dataclass(frozen=True)
class VerifyResumeCommand(TrainConfig):
    """Take the steps of a run in one go and in two halves, and compare the results bit by bit."""

    out: str = field(default="runs/verify-resume", metadata=FLAG_ONLY)
    """Folder for the two runs; it is emptied first. The out of a config file is not it."""
    steps: int = 10
    """Steps to take, in one go and in two halves."""

    def __post_init__(self) -> None:
        # The two runs are new ones; `--resume RUN` has given them that run's settings.
        for name, value in (("resume", "auto"), ("step", "newest")):
            object.__setattr__(self, name, value)
        super().__post_init__()
        require(2 <= self.steps <= self.max_steps, "steps", self.steps, f"2 to max_steps ({self.max_steps})")


def run(command: VerifyResumeCommand) -> int:
    """Verify and print the verdict; return 0 if the two runs are equal and 1 if they differ."""
    from rich.console import Console

    from gpt_research.base.stopping import is_first_rank
    from gpt_research.estimate.micro_batch import resolve_micro_batch
    from gpt_research.training.verify_resume import verify_resume

    console = Console(quiet=not is_first_rank(), soft_wrap=True, highlight=False)
    config = command.run_settings()
    if not isinstance(config.micro_batch, int):
        config = resolve_micro_batch(config, console.print)
    verdict = verify_resume(config, command.steps)
    half = command.steps // 2
    console.print(f"{command.steps} steps in one go against {half} + {command.steps - half}:")
    console.print(
        f"  weights and optimizer  {verdict.tensors - len(verdict.different)} of {verdict.tensors} equal by SHA-256"
    )
    first = verdict.first_different_loss
    console.print(
        f"  losses                 {verdict.losses} compared, " + (f"step {first} differs" if first else "all equal")
    )
    console.print(
        "EQUAL: the resumed run is the run." if verdict.equal else "DIFFERENT: the resumed run is another run."
    )
    if not verdict.equal:
        remedy = "On a GPU try it with --deterministic."
        if config.deterministic:
            remedy = "With --compile, try it without." if config.compile else "Something is wrong in this machine."
        console.print(f"First of what differs: {', '.join(verdict.different[:5])}. {remedy}")
    return 0 if verdict.equal else 1
