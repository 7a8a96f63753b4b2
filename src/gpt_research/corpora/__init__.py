"""One reader per corpus; each yields documents, and drops with the reason.

`resolve("cnn=data/cnn")` gives a `Corpus`, which is cut into units and read unit by unit.
"""

from gpt_research.corpora.document import Document, Drop, Reader, ReadOptions, Unit
from gpt_research.corpora.resolve import Corpus, resolve

__all__ = ["Corpus", "Document", "Drop", "ReadOptions", "Reader", "Unit", "resolve"]
