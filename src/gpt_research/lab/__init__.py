"""Experiments: arms that differ in a setting, trained in pairs, and what the pairs say.

Modules:
    ablation    trains pairs and looks, until an interval says something
    arms        recipes: a base, and changes of its settings
    findings    the difference of an arm from the base, with an interval and a verdict
    horizons    tokens and time to the same loss, from runs of several lengths
    records     the files of an experiment: what it asks, and what it found
    sequential  intervals that hold although the result is looked at after each pair
    trials      one run of an experiment, and what came of it
    tuning      the best value of a setting for each arm
    workers     runs side by side, each in a process of its own
"""
