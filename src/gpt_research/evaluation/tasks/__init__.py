"""The benchmarks: one file for each task.

Modules:
    table      `TASKS`, which has a line for each task
    hellaswag  which of four endings continues a story
    lambada    the last word of a passage
    wikitext2  perplexity of encyclopedic text
"""
