"""The data set of a run, as it is now: there, gone, or another one than the run was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.data.shards import Manifest, data_fingerprint, read_manifests
from gpt_research.serving.errors import ApiError
from gpt_research.settings_history import periods


@dataclass(frozen=True)
class RunData:
    """What is left of the data set that a run read last."""

    folder: Path
    state: str
    """ok, missing, differs (from what the run read), foreign (prepared by another program), or
    damaged."""
    why: str = ""
    """A sentence, unless the state is ok."""
    corpora: Mapping[str, tuple[Path, Manifest]] = field(default_factory=dict)
    """Folder and manifest of each corpus, if they can be read."""
    fingerprint: str = ""

    def require(self, *, steps: bool = False) -> None:
        """Check that documents can be shown, and with `steps` that the run read these very ones.

        Raises:
            ApiError: 404, they cannot.
        """
        if self.state == "ok" or (self.state == "differs" and not steps):
            return
        raise ApiError(404, self.why, param="run", code=f"data_{self.state}")


def data_of(run: Path) -> RunData:
    """Return the data set of a run folder; only its manifests are read, and only if they changed.

    Raises:
        UserError: the folder is no run, or its settings are damaged.
    """
    period = periods(run)[-1]
    folder = Path(period.config.data)
    return _read(folder, period.data, _changed(folder))


def _changed(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return when the files that describe a data set were last written, and their sizes."""
    files = [folder / "dataset.json", *sorted(folder.glob("*manifest.json")), *sorted(folder.glob("*/manifest.json"))]
    return tuple((str(file), (seen := file.stat()).st_mtime_ns, seen.st_size) for file in files if file.is_file())


@lru_cache(maxsize=16)
def _read(folder: Path, expected: str, changed: object) -> RunData:
    if not folder.is_dir():
        return RunData(folder, "missing", f"The data set {folder} is not there. Put it back to see its documents.")
    try:
        corpora = read_manifests(folder)
    except UserError as error:
        return RunData(folder, "damaged", str(error))
    manifests = {name: manifest for name, (_, manifest) in corpora.items()}
    if any(not manifest.fingerprint for manifest in manifests.values()):
        why = f"{folder} was prepared by another program, which did not say where its documents begin."
        return RunData(folder, "foreign", why, corpora)
    for where, manifest in corpora.values():
        for shard in (shard for shards in manifest.splits.values() for shard in shards):
            if not (where / shard.path).is_file():
                why = f"The shard {where / shard.path} is not there. Put it back, or run preprocessing again."
                return RunData(folder, "damaged", why, corpora)
    fingerprint = data_fingerprint(manifests)
    if expected and fingerprint != expected:
        why = (
            f"{folder} holds other data than the run was trained on ({fingerprint[:12]}, not {expected[:12]}), so it "
            "is not known which steps read what."
        )
        return RunData(folder, "differs", why, corpora, fingerprint)
    return RunData(folder, "ok", "", corpora, fingerprint)
