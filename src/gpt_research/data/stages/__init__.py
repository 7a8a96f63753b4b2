"""The stages of preprocessing, in their order; an executor runs each for its tasks.

    Index     (a benchmark)  its 13-grams, where contamination is looked for
    Learn     (once)         a sample of the texts -> tokenizer, where none is given
    Read      (a task)       read -> repair -> filter -> hashes, signatures, benchmark overlaps -> tokenise
    Select    (once)         exact duplicates -> near duplicates -> contamination -> split
    Assemble  (a task)       tokens of the documents that stay -> shards
    Finish    (once)         manifests of the corpora, the data card, then the data set's own manifest

A stage knows only its work folder; killed at any moment it is run again and leaves the same bytes.
"""

from gpt_research.data.stages.assemble import Assemble
from gpt_research.data.stages.finish import Finish
from gpt_research.data.stages.index import Index
from gpt_research.data.stages.learn import Learn
from gpt_research.data.stages.read import Read
from gpt_research.data.stages.select import Select
from gpt_research.data.stages.stage import Stage

__all__ = ["Assemble", "Finish", "Index", "Learn", "Read", "Select", "Stage"]
