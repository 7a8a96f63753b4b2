"""Fine-tuning: a run learns a task from examples. The training loop is that of pretraining.

Modules:
    settings    the settings, and GPT-1's defaults
    official    readers of files as their authors publish them
    tables      rows of JSON lines, CSV, TSV and official files
    examples    rows become examples of a task, each checked; the classes
    forms       GPT-1's input forms: examples become sequences of tokens
    batches     the batches of a step, padded
    models      a GPT with a head on the extract token
    step        the training step on examples
    objective   what a fine-tuning learns, as the training loop takes it
    finetune    `finetune`: from settings to a fine-tuned run
    fine_tuned  a fine-tuned run, opened to be measured
"""
