"""The stages of preprocessing, in their order; an executor runs each for its tasks.

    Index     (a benchmark)  its 13-grams, where contamination is looked for
    Learn     (once)         a sample of the texts -> tokenizer, where none is given
    Read      (a task)       read -> repair -> filter -> hashes, signatures, benchmark overlaps -> tokenise
    Select    (once)         exact duplicates -> near duplicates -> contamination -> split
    Assemble  (a task)       tokens of the documents that stay -> shards
    Finish    (once)         manifests of the corpora, the data card, then the data set's own manifest

A stage knows only its work folder; killed at any moment it is run again and leaves the same bytes.
"""

from gpt_research.preprocessing.stages.assemble import Assemble
from gpt_research.preprocessing.stages.finish import Finish
from gpt_research.preprocessing.stages.index_benchmarks import Index
from gpt_research.preprocessing.stages.read import Read
from gpt_research.preprocessing.stages.select import Select
from gpt_research.preprocessing.stages.stage import Stage
from gpt_research.preprocessing.stages.train_tokenizer import Learn

__all__ = ["Assemble", "Finish", "Index", "Learn", "Read", "Select", "Stage"]
