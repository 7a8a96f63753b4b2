"""The stages of preprocessing, in their order; an executor runs each for its tasks.

    Index     (a benchmark)  its 13-grams, where contamination is looked for
    Read      (a task)       read -> repair -> filter -> hashes, signatures, benchmark overlaps -> documents on disk
    Select    (once)         exact duplicates -> near duplicates -> contamination -> split -> tokenizer if learnt
    Tokenize  (a task)       documents -> shards
    Finish    (once)         manifests of the corpora, the data card, then the data set's own manifest

A stage knows only its work folder; killed at any moment it is run again and leaves the same bytes.
"""

from gpt_research.data.stages.finish import Finish
from gpt_research.data.stages.index import Index
from gpt_research.data.stages.read import Read
from gpt_research.data.stages.select import Select
from gpt_research.data.stages.stage import Stage
from gpt_research.data.stages.tokenize import Tokenize

__all__ = ["Finish", "Index", "Read", "Select", "Stage", "Tokenize"]
