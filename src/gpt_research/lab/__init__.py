"""Experiments: arms that differ in a setting, trained in pairs, and what the pairs say.

Modules:
    ablation    trains pairs and looks, until an interval says something
    arms        recipes: a base, and changes of its settings
    findings    the difference of an arm from the base, with an interval and a verdict
    horizons    tokens and time to the same loss, from runs of several lengths
    label_study  what pretraining buys: accuracy by labelled examples, with and without it
    lr_range    one run whose learning rate rises until the loss does
    outcome     what one run came to
    overlap     test examples that stand in the data a run was trained on
    records     what an experiment asks
    results     what an ablation found, for reports
    search      a sweep whose points optuna chooses
    sequential  intervals that hold although the result is looked at after each pair
    sweep       runs over values of settings, and where the best lies
    trial_pool  processes that take trials of label_study side by side
    trials      one run of an experiment, and what came of it
    tuning      the best value of a setting for each arm
    workers     runs side by side, each in a process of its own
"""
