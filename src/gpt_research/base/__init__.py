"""What every other package may use: errors, files, settings, devices. It knows no model and no
data.

Modules:
    errors      `UserError`, and the checks that raise it
    files       hashes, JSON, and the one way in which a file is written
    machine     cores and memory of the machine, from /proc and /sys
    peak_flops  the peak speed of a device: the base of MFU
    plugins     a researcher's own files, run by `--plugin FILE.py`
    runtime     device, precision and ranks of this process
    seeds       a seed for each random draw
    settings    flags and YAML files, made from the fields of a dataclass
    slurm       the rank of a process that srun started
"""
