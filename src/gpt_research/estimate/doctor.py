"""The doctor: examines this machine, and says what each finding means for training.

Each probe looks at one thing. If it fails, its row says so, and the other probes still run.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpt_research.base import drivers, hints, machine, parent, shared_cores, startup
from gpt_research.base.cards import find_card
from gpt_research.base.peak_flops import measured_flops
from gpt_research.base.runtime import Precision, Runtime
from gpt_research.config import TrainConfig
from gpt_research.estimate.resources import estimate_resources
from gpt_research.estimate.sizes import ROOM
from gpt_research.training.assembly import training_state_bytes

GB = 1e9
COMPILE_SECONDS = 20.0
"""The longest that a tiny compilation may take before it is stopped, unless more is asked for."""
WRITE_BYTES = 32 << 20
ROUNDS = 3
"""Rounds of each timing. The fastest one counts, because a busy machine is slow now and then."""
WRITE_SECONDS = 3.0
"""No further round of writing begins after so long."""


@dataclass(frozen=True)
class Finding:
    """One row of the table: the thing, what was found, and what that means for training."""

    what: str
    found: str
    means: str = ""
    unusable: bool = False
    """A card is there that torch cannot use."""


@dataclass(frozen=True)
class Place:
    """Where the doctor looks, and how long."""

    folder: Path
    """Folder of the runs; its disk is timed."""
    compile_s: float = COMPILE_SECONDS
    """The longest that the test of torch.compile may take."""


def examine(place: Place) -> Iterator[Finding]:
    """Yield what each probe finds, as soon as it is known; a probe that fails gives a row with the
    reason.
    """
    for name, probe in PROBES.items():
        try:
            findings = probe(place)
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            findings = [Finding(name, f"could not be read: {reason}")]
        yield from findings


def look_at_software(place: Place) -> list[Finding]:
    cuda = f", CUDA {torch.version.cuda}" if torch.version.cuda else ", without CUDA"
    return [Finding("software", f"Python {platform.python_version()}, torch {torch.__version__}{cuda}")]


def look_at_cores(place: Place) -> list[Finding]:
    shared_cores.fit_threads()
    logical, usable, threads = os.cpu_count() or 1, machine.usable_cores(), torch.get_num_threads()
    physical = machine.physical_cores()
    found = f"{machine.cpu_name() or platform.machine()}: {logical} logical"
    found += f", {physical} physical" if physical else ""
    found += f", {usable:g} usable" if usable < logical else ""
    found += f"; torch uses {threads} threads, {torch.backends.cpu.get_cpu_capability()}"
    means, load = "all usable cores work", os.getloadavg()[0]
    if load > 0.5:
        means = (
            f"other programs keep {load:.1f} cores busy, so the speeds below are lower than those of an idle machine"
        )
    if threads > usable:
        means = f"more threads than cores slow each other down: set OMP_NUM_THREADS={max(1, int(usable))}"
    elif threads < min(physical or logical, usable):
        means = f"some cores idle: OMP_NUM_THREADS is {os.environ.get('OMP_NUM_THREADS', 'not set')}"
    return [Finding("cores", found, means)]


def look_at_memory(place: Place) -> list[Finding]:
    total, free, limit = machine.total_memory(), machine.free_memory(), machine.cgroup_memory()
    found = f"{free / GB:.1f} GB free of {total / GB:.1f} GB"
    found += f"; this container may hold {limit / GB:.1f} GB" if limit is not None else ""
    return [Finding("memory", found, _trainable(free) if not startup.cuda_is_usable() else "")]


def _trainable(free: int) -> str:
    """Return how large a model fits, in words."""
    # Half of the memory is for weights, gradients and optimizer state; activations need the rest.
    millions = free / 2 / training_state_bytes(TrainConfig()) / 1e6
    return f"room for a model of about {millions:,.0f}M parameters and its activations"


def look_at_huge_pages(place: Place) -> list[Finding]:
    text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    chosen = text.partition("[")[2].partition("]")[0]
    means = {
        "always": "large tensors get huge pages by themselves",
        "madvise": "large tensors get huge pages only if a program asks; torch does with THP_MEM_ALLOC_ENABLE=1",
        "never": "large tensors are made of 4 kB pages, which costs a little",
    }
    return [Finding("huge pages", chosen, means.get(chosen, ""))]


def look_at_gpus(place: Place) -> list[Finding]:
    driver = machine.nvidia_driver()
    findings = [] if driver is None else [Finding("driver", f"NVIDIA {driver}", drivers.what_torch_needs())]
    if (sentence := startup.unusable_card()) is not None:
        return [*findings, Finding("GPU", "none that torch can use", sentence, unusable=True)]
    if not startup.cuda_is_usable():
        if (variable := drivers.hidden_by()) is not None:
            return [*findings, Finding("GPU", f"hidden by {variable}", f"unset {variable} to train on it")]
        if torch.backends.mps.is_available():
            means = (
                "--device auto takes it, in fp32 and not compiled; a model as small as the demo's may be faster with "
                "--device cpu. If Metal lacks an operation, PYTORCH_ENABLE_MPS_FALLBACK=1 leaves it to the CPU"
            )
            return [Finding("GPU", "Apple's, through mps", means)]
        means = f"small models only: see {hints.command('plan', '--help')}"
        return [*findings, Finding("GPU", "none", means)]
    return findings + _each_gpu()


def _each_gpu() -> list[Finding]:
    count = torch.cuda.device_count()
    findings = []
    for index in range(count):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found = f"{properties.name}: {free / GB:.1f} GB free of {total / GB:.1f} GB, "
        found += f"compute capability {properties.major}.{properties.minor}"
        if (sentence := drivers.without_code(index)) is not None:
            findings.append(Finding(f"GPU {index}", found, sentence, unusable=True))
            continue
        means = f"{_trainable(free)}; {_preset_on(index, free)}"
        means += "" if free > 0.8 * total else "; another program holds a part of its memory"
        if find_card(properties.name) is None:
            means += "; its peak speed is not known here, so MFU compares with a product that is timed"
        findings.append(Finding(f"GPU {index}", found, means))
    if count > 1:
        pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
        direct = sum(torch.cuda.can_device_access_peer(a, b) for a, b in pairs)
        means = "gradients travel directly" if direct == len(pairs) else "gradients travel through the host: slower"
        findings.append(Finding("between GPUs", f"{direct} of {len(pairs)} pairs reach each other", means))
        findings.append(Finding("to use all", f"torchrun --nproc_per_node {count} -m gpt_research train ..."))
    return findings


def _preset_on(index: int, free: int) -> str:
    """Return with which micro-batch the preset of 124M parameters fits a card."""
    runtime = dataclasses.replace(startup.start(), device=torch.device("cuda", index))
    preset = TrainConfig()
    sizes = [1 << n for n in range(10) if preset.tokens_per_step % (preset.model.block_size << n) == 0]
    fitting = [
        size
        for size in sizes
        if estimate_resources(dataclasses.replace(preset, micro_batch=size), runtime).memory_bytes < ROOM * free
    ]
    if not fitting:
        return "gpt2-124m does not fit: --gradient_checkpointing, or a smaller model"
    return f"gpt2-124m fits with --micro_batch {fitting[-1]} by formula"


def look_at_precision(place: Place) -> list[Finding]:
    """Time a matrix product in each type."""
    runtime = startup.start()
    rates: dict[str, float] = {}
    names: list[Precision] = ["fp32", "bf16", "fp16"]
    if runtime.device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        names.remove("bf16")  # emulated
    for _ in range(ROUNDS):
        for name in names:
            rates[name] = max(rates.get(name, 0.0), _rate(runtime, name))
    found = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in rates.items())
    if runtime.device.type == "cuda":
        found += "; fp32 products run in tf32 if the card has it"
    taken = startup.start().precision
    if taken == "fp32":
        slow = rates.get("bf16", 0) < rates["fp32"]
        means = "bf16 is emulated here and slower" if slow else "bf16 is not native here"
    else:
        means = f"{taken} is {rates[taken] / rates['fp32']:.1f} times as fast as fp32"
        means += ", and the card has no bf16" if taken == "fp16" else ""
    return [Finding("precision", found, f"{means}: --precision auto takes {taken}")]


def _rate(runtime: Runtime, precision: Precision) -> float:
    return measured_flops(dataclasses.replace(runtime, precision=precision), seconds=0.3 / ROUNDS)


def look_at_compile(place: Place) -> list[Finding]:
    """Compile a tiny function."""
    # Another process with an empty cache must compile everything, so a missing tool shows.
    runtime = startup.start()
    if (missing := runtime.missing_for_compile()) is not None:
        return [Finding("torch.compile", missing, "training runs without it")]
    code = (
        "import torch\n"
        f"x = torch.ones(64, device={runtime.device.type!r})\n"
        "assert torch.compile(lambda x: (x.sin() + 1).sum())(x).isfinite()\n"
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        try:
            child = parent.run_python(
                ["-c", code],
                # One thread needs no pool of processes, whose start would take longer.
                environment=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"},
                timeout=place.compile_s,
            )
        except subprocess.TimeoutExpired:
            found = f"not done in {place.compile_s:.0f} seconds"
            longer = f"--compile false is safer; --compile_seconds {6 * place.compile_s:.0f} waits longer"
            return [Finding("torch.compile", found, longer)]
    seconds = time.perf_counter() - began
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [Finding("torch.compile", f"failed: {reason[:200]}", "--compile will fail too")]
    on_gpu = runtime.device.type == "cuda"
    means = (
        "on by default, if a run is long enough to gain by it"
        if on_gpu
        else "off by default on a CPU; --compile may pay in runs of an hour or more"
    )
    return [
        Finding(
            "torch.compile", f"works; a tiny function took {seconds:.0f} s, start of Python and torch included", means
        )
    ]


def look_at_attention(place: Place) -> list[Finding]:
    """Try each of torch's attention back ends on a small causal input, forward and backward."""
    runtime = startup.start()
    works = [name for name, backend in BACKENDS.items() if _attends(backend, runtime)]
    fused = [name for name in works if name != "math"]
    means = "memory grows with the context, not with its square" if fused else "memory grows with the context's square"
    if runtime.device.type == "cpu" and fused:
        means += "; with model.dropout above 0 a CPU has math only"
    return [Finding("attention", ", ".join(works) or "none", means)]


BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def _attends(backend: SDPBackend, runtime: Runtime) -> bool:
    import warnings

    q = torch.randn(1, 2, 64, 64, device=runtime.device, dtype=runtime.dtype, requires_grad=True)
    try:
        with warnings.catch_warnings(), sdpa_kernel(backend):
            warnings.simplefilter("ignore")  # torch warns at length about a back end that does not fit
            F.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
    except RuntimeError:
        return False
    return True


def look_at_disk(place: Place) -> list[Finding]:
    """Write a short file to the disk of the runs, and time it."""
    folder = place.folder
    # A folder that does not exist yet will be on the disk of its closest parent.
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < 8 * WRITE_BYTES:
        return [Finding("disk", f"{free / GB:.2f} GB free in {folder}", "too full to train: name another with --out")]
    try:
        rate = _write_rate(folder)
    except OSError as error:
        return [Finding("disk", f"{folder.resolve()} cannot be written ({error.strerror})", "name another with --out")]
    means = f"a checkpoint of 124M parameters (1.5 GB) is written in {1.49e9 / rate:.0f} s, while training goes on"
    return [Finding("disk", f"{free / GB:,.0f} GB free in {folder.resolve()}, {rate / 1e6:,.0f} MB/s", means)]


def _write_rate(folder: Path) -> float:
    """Return bytes a second of the fastest of some rounds, each until the disk has it all."""
    block, best, begun = os.urandom(1 << 20), 0.0, time.perf_counter()
    for _ in range(ROUNDS):
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            began = time.perf_counter()
            for _ in range(WRITE_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            best = max(best, WRITE_BYTES / (time.perf_counter() - began))
        if time.perf_counter() - begun > WRITE_SECONDS:
            break
    return best


def look_at_extras(place: Place) -> list[Finding]:
    names = ("wandb", "tensorboard", "transformers", "gguf", "xllamacpp")
    there = [name for name in names if importlib.util.find_spec(name)]
    return [Finding("optional packages", ", ".join(there) or "none", "for --tracker, export and generate")]


PROBES: dict[str, Callable[[Place], list[Finding]]] = {
    "software": look_at_software,
    "cores": look_at_cores,
    "memory": look_at_memory,
    "huge pages": look_at_huge_pages,
    "GPU": look_at_gpus,
    "precision": look_at_precision,
    "torch.compile": look_at_compile,
    "attention": look_at_attention,
    "disk": look_at_disk,
    "optional packages": look_at_extras,
}
