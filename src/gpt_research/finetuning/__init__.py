"""Fine-tuning: a run learns a task from examples. The training loop is that of pretraining.

Modules:
    settings    the settings, and GPT-1's defaults
    official    readers of files as their authors publish them
    tables      rows of JSON lines, CSV, TSV and official files
    examples    rows become examples of a task, each checked; the classes
    forms       GPT-1's input forms: examples become sequences of tokens
    batches     the batches of a step, padded
    models      a GPT with a head on the extract token
    objective   what a fine-tuning learns, as the training loop takes it
    head_objective  that of a task with a head
    text_forms  completions and conversations as tokens; rows of packed examples
    text_objective  that of a task whose answer is a text
    finetune    `finetune`: from settings to a fine-tuned run
    fine_tuned  a fine-tuned run, opened to be measured
"""
