"""The benchmarks: one file for each task.

Modules:
    table      `TASKS`, which has a line for each task
    answers    bits per byte of true answers: SQuAD, CoQA, Jeopardy, Natural Questions
    arc_easy   school questions about science
    core       the 22 tasks of DataComp-LM
    blimp      grammatical sentences beside wrong ones
    hellaswag  which of four endings continues a story
    lambada    the last word of a passage
    piqa       which of two ways reaches a goal
    sciq       science questions with their passages
    wikitext2  perplexity of encyclopedic text
"""
