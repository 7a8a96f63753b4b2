"""TransWeb-Edu, the English part: educational web pages as `en_chunkN.jsonl` or the hub's Parquet.

Other languages are in chunks with names such as `fr_chunkN.jsonl`; they are skipped if there are
English chunks. The name of the text field is not documented, so it is one of the known names or
given with `--text_key`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gpt_research.preprocessing.formats.files import form_of
from gpt_research.preprocessing.formats.tables import GenericReader

_CHUNK = re.compile(r"([a-z]{2,3})_chunk", re.IGNORECASE)
_CODE = re.compile(r"[a-z]{2,3}")
_ENGLISH = ("en", "eng")


@dataclass(frozen=True)
class TransWebReader(GenericReader):
    """TransWeb-Edu's English chunks."""

    name: str = "transweb"
    licence: str = "Web pages belong to their authors; see the card of britllm/TransWeb-Edu-English for its terms."

    def files(self, root: Path) -> list[Path]:
        """Return the tables; if any has an English name, without those of other languages."""
        files = [path for path in super().files(root) if form_of(path).is_table]
        languages = {path: _language(path, root) for path in files}
        if not any(language in _ENGLISH for language in languages.values()):
            return files
        return [path for path in files if languages[path] in ("", *_ENGLISH)]


def _language(path: Path, root: Path) -> str:
    """Return the language code in a file's name or folder, or an empty string."""
    if match := _CHUNK.match(path.name):
        return match[1].lower()
    folder = path.parent.name if path.parent != root and path != root else ""
    return folder if _CODE.fullmatch(folder) else ""
