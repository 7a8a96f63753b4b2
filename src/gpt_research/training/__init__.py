"""Training: batches become a model.

Modules:
    loop              `train` and `Trainer`: step, log, evaluate, save, resume
    agreement         what all ranks must have alike before the first step
    starting_weights  the weights of another run, with which a new one begins
    remarks           what a user should know before the first step
    state             what a step changes, to and from a checkpoint; saving it in the background
    objective         what a run learns: `Objective`, which the loop takes
    samples           the texts that the model writes on the way
    step              one optimizer step
    assembly          from settings to a step; decides parallelism, compilation, loss chunk
    compilation       how much of a model is compiled, by the length of the run
    execution         `ExecutionPlan`, which holds those decisions
    inputs            data set, tokenizer and loader of pretraining, whose objective it is
    optimizers        the table of optimizers, and the groups of parameters
    muon              the optimizer whose matrices of momentum are made orthogonal
    polynomials       by which it makes them so
    ema               the moving average of the weights
    schedules         the table of schedules: the learning rate of a step
    parallel          DDP and FSDP
    package_optimizers  the optimizers of pytorch-optimizer
    optimizer_check   tries one of those before a run begins
    optimizer_state   an optimizer's state in a checkpoint
    validation        the loss on a split, perplexity and bits per byte
    health            finds spikes and gradients that are not finite
    best              the best evaluation so far; early stopping
    bad_steps         what is done about a step that went wrong
    black_box         the record of a step that went wrong
    run_readings      which steps of a run read which tokens
    replay            takes a step again and records its modules
    metrics           metrics.jsonl
    live_metrics      metrics.jsonl of a run that still trains
    curves            pictures of the losses of one run or of several
    trackers          the table of trackers: W&B, TensorBoard
    reporter          the events that a display may show
    run_folder        the lock on a run folder, and the settings that a resumed run may change
    lineage           fingerprints of everything that weights come from
    inspect_run       the content of a run folder
    verify_resume     proves that an interrupted run equals an uninterrupted one
    signals           Ctrl-C, SIGTERM and SIGHUP
    out_of_memory     memory that ran out, in a sentence
    profiling         torch's profiler
"""
