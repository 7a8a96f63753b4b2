"""Reports: one HTML file about runs or an experiment, which needs nothing else.

Modules:
    write            writes the file
    run_page         the page of one run or of many
    experiment_page  the page of an ablation
    verdicts         what an ablation says about each arm
    response_page    the pages of a sweep and of an lr-range test
    experiment       reads the folder of an experiment
    known_runs       opens runs in any state, and the commands that repeat them
    sections         samples, data, compressors, machine, lineage: what all pages share
    curve_figures    the curves of settings
    intervals        tables with a dot and a whisker in each row
    charts           a chart in SVG, complete without a script
    scales           places of numbers on an axis, ticks, numbers in few characters
    series           numbers along an axis: thinned, put together over seeds, paired
    compressors      what xz, bz2 and PPMd need for the validation text
    html             pieces of a page; texts are escaped here

`page.css` is the look of a page, `page.js` what answers to mouse and keyboard.
"""
