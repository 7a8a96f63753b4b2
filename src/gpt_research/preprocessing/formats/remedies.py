"""How to make text of the kinds of files that no reader takes, by their suffixes."""

from __future__ import annotations

from collections.abc import Iterable

_OFFICE = "pandoc FILE -t plain --wrap=none -o FILE.txt (pandoc.org)"
_OLD_OFFICE = "soffice --headless --convert-to txt:Text FILE (libreoffice.org)"
_SCAN = "a program that recognises letters: tesseract FILE FILE (tesseract-ocr.github.io)"
_SOUND = "a program that writes down speech, such as whisper"
_ARCHIVE = "unpack it beside the other files"

REMEDIES = {
    ".pdf": "pdftotext FILE.pdf (of poppler-utils; a scanned page needs ocrmypdf first)",
    **dict.fromkeys((".docx", ".odt", ".epub", ".rtf", ".html", ".htm", ".tex", ".org", ".rst", ".ipynb"), _OFFICE),
    **dict.fromkeys((".doc", ".ppt", ".pptx", ".odp", ".pages", ".wpd"), _OLD_OFFICE),
    **dict.fromkeys((".xls", ".xlsx", ".ods"), "save it as .csv with a column of texts"),
    **dict.fromkeys((".mobi", ".azw3", ".azw"), "ebook-convert FILE FILE.txt (of calibre)"),
    ".mbox": "convert each mail to a .txt, or name the reader for a folder of mails: NAME:enron=FOLDER",
    ".eml": "name the reader for mails: NAME:enron=FOLDER",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".heic"), _SCAN),
    **dict.fromkeys((".mp3", ".m4a", ".wav", ".ogg", ".mp4", ".mov"), _SOUND),
    **dict.fromkeys((".7z", ".rar"), _ARCHIVE),
}
"""A command that makes a .txt beside the file, or what else to do."""


def remedies(suffixes: Iterable[str]) -> list[str]:
    """Return a sentence for each remedy that some of the suffixes have, in their order."""
    known: dict[str, list[str]] = {}
    for suffix in suffixes:
        if suffix in REMEDIES:
            known.setdefault(REMEDIES[suffix], []).append(suffix)
    return [f"To have {' and '.join(kinds)} too: {remedy}." for remedy, kinds in known.items()]
