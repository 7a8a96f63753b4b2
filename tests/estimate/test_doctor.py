"""The doctor looks at everything, and survives whatever it cannot see."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gpt_research.base import machine, startup
from gpt_research.base import runtime as runtimes
from gpt_research.cli import command_line as cli
from gpt_research.estimate import doctor

QUICK = ("software", "cores", "memory", "GPU", "attention", "disk", "optional packages")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the probes that take seconds: they compile and multiply."""
    monkeypatch.setattr(doctor, "PROBES", {name: doctor.PROBES[name] for name in QUICK})


@pytest.mark.usefixtures("quick")
def test_every_row_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--out", str(tmp_path / "not" / "yet"), "--json"]) == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(QUICK) <= rows.keys() | {"GPU"}
    assert all(row["found"] and "could not be read" not in row["found"] for row in rows.values())
    assert "MB/s" in rows["disk"]["found"]
    assert not list(tmp_path.iterdir())
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 0
    assert "optional packages" in capsys.readouterr().out


@pytest.mark.parametrize("name", doctor.PROBES)
def test_a_probe_that_fails_is_a_row_and_the_others_go_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(place: doctor.Place) -> list[doctor.Finding]:
        raise OSError("the sensor\nis gone")

    fine = [doctor.Finding("fine", "yes")]
    probes = {other: (fail if other == name else lambda place: fine) for other in doctor.PROBES}
    monkeypatch.setattr(doctor, "PROBES", probes)
    findings = list(doctor.examine(doctor.Place(Path("runs"))))
    assert len(findings) == len(probes)
    assert findings[list(probes).index(name)] == doctor.Finding(name, "could not be read: the sensor is gone")


def test_a_row_is_printed_before_the_next_probe_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[str] = []

    def second(place: doctor.Place) -> list[doctor.Finding]:
        printed.append(capsys.readouterr().out)
        return []

    first = [doctor.Finding("thing", "word " * 40, "much")]
    monkeypatch.setattr(doctor, "PROBES", {"first": lambda place: first, "second": second})
    assert cli.main(["doctor"]) == 0
    assert printed[0].startswith("thing              word word")
    assert printed[0].endswith("                   -> much\n")
    assert max(map(len, printed[0].split("\n"))) <= 100


def test_a_compiler_that_takes_too_long_is_stopped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt_research.base.runtime.Runtime.missing_for_compile", lambda self: None)
    began = time.perf_counter()
    (finding,) = doctor.look_at_compile(doctor.Place(Path("runs"), compile_s=0.2))
    assert time.perf_counter() - began < 5
    assert finding.found == "not done in 0 seconds"
    assert "--compile_seconds 1 waits longer" in finding.means
    assert doctor.COMPILE_SECONDS <= 20


def test_a_container_gets_what_its_cgroup_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "cgroup"
    (group / "job").mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/job\n")
    (tmp_path / "meminfo").write_text("MemAvailable: 8000000 kB\n")
    (group / "job" / "memory.max").write_text("1000000000\n")
    (group / "job" / "memory.current").write_text("400000000\n")
    (group / "job" / "memory.stat").write_text("anon 1\ninactive_file 100000000\n")
    (group / "job" / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(machine, "CGROUPS", group)
    assert machine.cgroup_memory() == 1_000_000_000
    assert machine.free_memory() == 700_000_000
    assert machine.usable_cores() == 0.5
    (group / "job" / "memory.max").write_text("max\n")
    assert machine.cgroup_memory() is None


def test_without_proc_nothing_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    assert machine.free_memory() == machine.total_memory() // 2
    assert machine.peak_memory() > 0
    assert machine.physical_cores() is None
    assert machine.cpu_name() is None


def test_a_card_is_told_with_which_micro_batch_the_preset_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    card = runtimes.Runtime(torch.device("cuda", 0), "fp32")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setattr(startup, "start", lambda: card)
    monkeypatch.setattr(runtimes.Runtime, "missing_for_compile", lambda self: None)

    def said(gb: int) -> str:
        monkeypatch.setattr(runtimes.Runtime, "device_memory", lambda self: int(gb * 1e9))
        return doctor._preset_on(0, int(gb * 1e9))

    sizes = [int(said(gb).split("--micro_batch ")[1].split()[0]) for gb in (8, 24, 80)]
    assert sizes == sorted(sizes)
    assert 1 <= sizes[0] < 16 <= sizes[2]
    assert "--gradient_checkpointing" in said(2)


def test_speeds_are_the_best_of_some_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "start", lambda: runtimes.Runtime(torch.device("cpu"), "fp32"))
    slow_at_first = iter([1e9, 1e9, 1e9, 4e9, 3e9, 2e9, 2e9, 2e9, 2e9])
    monkeypatch.setattr(doctor, "measured_flops", lambda runtime, seconds: next(slow_at_first))
    (finding,) = doctor.look_at_precision(doctor.Place(Path("runs")))
    assert finding.found == "fp32 0.004 TFLOP/s, bf16 0.003 TFLOP/s, fp16 0.002 TFLOP/s"


def test_a_busy_machine_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (3.2, 1.0, 1.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: machine.usable_cores())
    (finding,) = doctor.look_at_cores(doctor.Place(Path("runs")))
    assert "other programs keep 3.2 cores busy" in finding.means


def test_each_card_has_a_row_and_an_unknown_one_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [SimpleNamespace(name=name, major=8, minor=9) for name in ("NVIDIA L4", "NVIDIA L5")]
    answers = {
        "device_count": lambda: 2,
        "get_device_properties": lambda index: cards[index],
        "mem_get_info": lambda index: (int((22e9, 9e9)[index]), int(24e9)),
        "can_device_access_peer": lambda a, b: False,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(doctor, "_preset_on", lambda index, free: "the preset fits")
    known, unknown, between, all_of_them = doctor._each_gpu()
    assert known.found == "NVIDIA L4: 22.0 GB free of 24.0 GB, compute capability 8.9"
    assert "the preset fits" in known.means
    assert "peak" not in known.means + between.means
    assert "another program holds a part of its memory; its peak speed is not known here" in unknown.means
    assert "0 of 2 pairs" in between.found
    assert "--nproc_per_node 2" in all_of_them.found
