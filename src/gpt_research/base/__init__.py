"""What every other package may use: errors, files, settings, devices. It knows no model and no
data.

Modules:
    cards          the cards whose peak speed and memory are known
    determinism    the same bits each time, on a GPU too
    disk           what the user reads if the disk refuses a file
    drivers        whether torch can use the cards, and if not, why
    errors         `UserError`, and the checks that raise it
    files          hashes, JSON, and the one way in which a file is written
    held_warnings  warnings of several ranks, said once
    hints          commands that a message may tell the user to type
    locks          one process at a time in a folder
    machine        cores and memory of the machine, from /proc and /sys
    this_machine   the machine and the versions of the programs, as results name them
    packages       files of packages of the index, downloaded with pip
    kernel_caches  a bound for the kernels that are kept for products on a CPU
    machine_code   loops compiled by numba, and kept on disk
    parent         processes that end with the one that started them
    peak_flops     the peak speed of a device: the base of MFU
    plugins        a researcher's own files, run by `--plugin FILE.py`
    pools          how a process of a pool ended, if it ended too early
    ranks          the processes of a run: they begin together, end together, and one speaks
    runtime        device, precision and ranks of this process
    seeds          a seed for each random draw
    setting_names  what settings are called, here and elsewhere
    settings       flags and YAML files, made from the fields of a dataclass
    settings_file  finds the mistakes in a YAML file, with their lines
    shared_cores   threads that wait sleep while others need the cores
    slurm          the rank of a process that srun started
    startup        chooses device and precision, and joins the other processes
    stopping       Ctrl-C, SIGTERM and a closed terminal
    unix           refuses Windows with a sentence
    wait_policy    the same policy for all processes, set before torch is loaded
"""
