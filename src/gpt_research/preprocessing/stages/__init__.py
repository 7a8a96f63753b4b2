"""The stages of preprocessing, in their order; an executor runs the tasks of each.

    IndexBenchmarks  (a benchmark)  its 13-grams, if contamination is looked for
    TrainTokenizer   (once)         a sample of the texts -> tokenizer, for --tokenizer train
    FindCharacters   (a task)       the characters of its texts, for --tokenizer char
    UniteCharacters  (once)         the characters of all tasks -> tokenizer
    Read             (a task)       read -> repair -> filter -> hash, sign -> tokenise
    Select           (once)         exact duplicates -> near duplicates -> contamination -> split
    Assemble         (a task)       tokens of the documents that stay -> shards
    Finish           (once)         manifests of the corpora, data card, manifest of the data set

A stage knows only its work folder. If it is killed at any moment it can be run again, and leaves
the same bytes.
"""
