"""Reports: one HTML file about runs or an experiment, which needs nothing else.

Modules:
    write            writes the file
    run_page         the page of one run or of many
    ablation_page    what an ablation found
    verdicts         what an ablation says about each arm
    response_page    what a sweep or an lr-range test found
    experiment_page  what the pages of all experiments have
    experiment       reads the folder of an experiment
    numbers          numbers of a result, any of which may be missing
    open_run         opens a run in any state
    known_run        what is known about a run, and the commands that repeat it
    sections         samples, data, compressors, machine, lineage: what all pages share
    suite            benchmarks: scores beside chance, and how they were measured
    curve_figures    the curves of settings
    intervals        tables with a dot and a whisker in each row
    charts           a chart in SVG, complete without a script
    scales           places of numbers on an axis, ticks, numbers in few characters
    series           numbers along an axis: thinned, put together over seeds, paired
    compressors      asks xz, bz2 and PPMd what they need for the validation text
    measured         what they need
    html             pieces of a page; texts are escaped here

`page.css` is the look of a page, `page.js` what answers to mouse and keyboard.
"""
