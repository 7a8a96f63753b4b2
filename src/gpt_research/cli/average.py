"""`gpt-research average`: make a run of the mean of several checkpoints' weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt_research.base import hints
from gpt_research.base.errors import UserError, require

if TYPE_CHECKING:
    from gpt_research.checkpoint.files import Checkpoint
    from gpt_research.config import TrainConfig
    from gpt_research.run_reference import RunReference


@dataclass(frozen=True)
class AverageCommand:
    """Make a run folder whose weights, at step 0, are the mean of those of several checkpoints."""

    runs: list[str] = field(default_factory=list)
    """Run folders; of several, each gives its checkpoints, and RUN@STEP gives that one. Empty: the
    newest under runs/."""
    last: int = 0
    """Number of newest checkpoints to take of each run. Default: 5, unless steps are named."""
    steps: str = ""
    """Take the checkpoints of these steps instead, with commas between them: 800,900,1000."""
    ema: bool = False
    """Take the averaged weights (ema_decay) of each checkpoint instead of those of the step."""
    out: str = ""
    """Run folder to write; it must not exist yet, or be empty. Empty: RUN-average."""

    def __post_init__(self) -> None:
        require(self.last >= 0, "last", self.last, "1 or more")
        numbers = self.steps.replace(" ", "").split(",") if self.steps else []
        require(all(number.isdecimal() for number in numbers), "steps", self.steps, "steps with commas between them")
        require(not (self.last and self.steps), "steps", self.steps, "left out where --last is given")
        require(len(self.runs) < 2 or bool(self.out), "out", self.out, "given for several runs: --out DIR")


def run(command: AverageCommand) -> int:
    """Write the run folder and print what it is made of; return the exit code."""
    from gpt_research.base.settings import write_yaml
    from gpt_research.checkpoint.average import mean_weights
    from gpt_research.checkpoint.files import Checkpoint, checkpoint_path, load_checkpoint
    from gpt_research.checkpoint.saver import save_checkpoint
    from gpt_research.data.tokenizer import Tokenizer
    from gpt_research.export.new_folder import new_folder
    from gpt_research.run import Run, named_or_newest
    from gpt_research.training.lineage import mean_of

    chosen = _chosen([named_or_newest(named) for named in command.runs or [""]], command)
    folders = list(chosen)
    places = [checkpoint_path(folder, step) for folder, steps in chosen.items() for step in steps]
    require(len(places) > 1, "runs", command.runs, "runs with two checkpoints or more to average")
    checkpoints = {str(place): load_checkpoint(place, optimizer=False) for place in places}
    config = _common_settings(folders, checkpoints)
    # Raw weights are the default here, because a mean of moving averages reaches far back.
    weights = {place: checkpoint.weights(command.ema, place) for place, checkpoint in checkpoints.items()}
    out = Path(command.out or f"{folders[0]}-average")
    with new_folder(out) as folder:
        tensors = mean_weights({place: each.tensors for place, each in weights.items()})
        write_yaml(_settings(config, out), folder / "config.yaml")
        Tokenizer.load(folders[0] / "tokenizer.json").save(folder / "tokenizer.json")
        origins = [
            {"run": str(Path(place).parents[1]), "step": checkpoint.step, "weights_sha256": weights[place].sha256}
            for place, checkpoint in checkpoints.items()
        ]
        newest = checkpoints[str(places[-1])].lineage
        state = {"lineage": mean_of(origins, newest, ema=command.ema)}
        save_checkpoint(folder, Checkpoint(0, tensors, {}, state), keep_last=1)
        Run.open(folder)  # the folder appears only if it can be opened
    print(f"Wrote {out}: the mean of {len(places)} checkpoints, as step 0.")
    for folder, steps in chosen.items():
        print(f"  {folder}: steps {', '.join(f'{step:,}' for step in steps)}")
    print(f"  evaluate  {hints.command('evaluate', out)}")
    print(f"  generate  {hints.command('generate', out)}")
    return 0


def _chosen(references: list[RunReference], command: AverageCommand) -> dict[Path, list[int]]:
    """Return the steps of each run that go into the mean, lowest first.

    Raises:
        UserError: a folder is no run, or it has not as many checkpoints, or not these.
    """
    from gpt_research.checkpoint.files import find_step

    flag = "last" if command.last else "steps"
    if (command.last or command.steps) and all(reference.is_named for reference in references):
        value = command.last or command.steps
        raise UserError(f"{flag} is {value!r}, but {references[0]} names its checkpoint. Leave --{flag} out.")
    chosen: dict[Path, set[int]] = {}
    for reference in references:
        folder = reference.folder
        steps = [find_step(folder, reference.step)] if reference.is_named else _steps(folder, command)
        chosen.setdefault(folder, set()).update(steps)
    return {folder: sorted(steps) for folder, steps in chosen.items()}


def _steps(folder: Path, command: AverageCommand) -> list[int]:
    """Return the steps of a run, whose checkpoint no reference names, that go into the mean.

    Raises:
        UserError: the folder is no run, or it has not as many checkpoints, or not these.
    """
    from gpt_research.checkpoint.files import find_step, saved_steps
    from gpt_research.settings_history import run_config

    run_config(folder)  # it says what a folder lacks that is no run
    if command.steps:
        return [find_step(folder, number) for number in command.steps.replace(" ", "").split(",")]
    # Step 0 has the weights of another run or of an import, which this run has not trained.
    steps = [step for step in saved_steps(folder) if step > 0]
    wanted = command.last or 5
    if len(steps) < wanted:
        has = f"{len(steps)} checkpoint{'s' * (len(steps) != 1)}" + (
            f" (steps {', '.join(f'{step:,}' for step in steps)})" if steps else ""
        )
        raise UserError(
            f"{folder} has {has}, but {wanted} are asked for. Ask for fewer by --last, or train with a higher "
            "--keep_last and a lower --save_interval."
        )
    return steps[-wanted:]


def _common_settings(folders: list[Path], checkpoints: dict[str, Checkpoint]) -> TrainConfig:
    """Return the settings of the newest of the checkpoints.

    Raises:
        UserError: they are of different models or tokenizers, or of plugins that are not loaded.
    """
    from gpt_research.base import plugins
    from gpt_research.settings_history import differences, in_words, run_config

    configs = {place: run_config(Path(place).parents[1], checkpoint.step) for place, checkpoint in checkpoints.items()}
    first, *_ = places = list(configs)
    for place in places:
        plugins.require(checkpoints[place].lineage.get("plugins", {}), place)
        changes = [
            change for change in differences(configs[first].model, configs[place].model) if change[0] != "dropout"
        ]
        if changes:
            raise UserError(f"{place} is of another model than {first} ({in_words(changes)}).")
        tokenizers = [checkpoints[each].lineage.get("tokenizer") for each in (first, place)]
        if tokenizers[0] != tokenizers[1]:
            raise UserError(f"{place} was trained with another tokenizer than {first}, so their weights do not mix.")
    return configs[places[-1]]


def _settings(config: TrainConfig, out: Path) -> Any:
    """Return the settings of the new folder, in which nothing has been trained."""
    import dataclasses

    changes: dict[str, Any] = {"resume": "auto", "step": "newest", "init_from": "", "ema": None, "allow_change": False}
    return dataclasses.replace(config, out=str(out), **changes)
