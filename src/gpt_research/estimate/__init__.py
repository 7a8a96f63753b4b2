"""Estimates of time, memory and disk, before a run and at its beginning.

Modules:
    plan           the estimate of a whole run, which `gpt-research plan` prints
    resources      parameters, FLOPs, memory and disk, by formula
    probe          measures real steps
    time_estimate  from a speed to hours and MFU
    sizes          the micro-batches that a step can have
    micro_batch    resolves `micro_batch: auto`
    first_look     the estimate that training prints before its first step, on a CPU
    first_steps    the estimate that training prints after its first steps
    cards          devices that are not here: their peak, memory and price
    doctor         examines the machine
"""
