"""A card that torch cannot use is named, with the reason and what helps.

Machines and builds of torch are made up: their answers are replaced.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from gpt_research.base import machine, startup
from gpt_research.base.errors import UserError
from gpt_research.cli import command_line as cli
from gpt_research.estimate import doctor

CU130 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.fixture(autouse=True)
def no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing in it."""
    for name in ("PROC", "DEV", "SYS"):
        monkeypatch.setattr(machine, name, tmp_path / name)
    which = shutil.which
    monkeypatch.setattr(machine.shutil, "which", lambda name: None if name == "nvidia-smi" else which(name))
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def driver(version: str, *, device: bool = True) -> None:
    put(machine.PROC / "driver" / "nvidia" / "version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}\n")
    if device:
        put(machine.DEV / "nvidia0")


def torch_is(
    monkeypatch: pytest.MonkeyPatch,
    cuda: str | None,
    codes: list[str],
    cards: list[tuple[int, int]],
    hip: str | None = None,
) -> None:
    answers = {
        "is_available": lambda: bool(cards),
        "device_count": lambda: len(cards),
        "get_arch_list": lambda: codes,
        "get_device_capability": lambda device=None: cards[device if isinstance(device, int) else 0],
        "get_device_name": lambda device=None: "a card",
        "is_bf16_supported": lambda including_emulation=True: True,
        "set_device": lambda device: None,
        "init": lambda: (_ for _ in ()).throw(RuntimeError("CUDA unknown error - a module is missing.\nmore")),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)


@pytest.mark.parametrize(
    ("version", "cuda", "hip", "says"),
    [
        ("535.104.05", "13.0", None, r"Update the driver \(CUDA 13.0 needs 580 or newer\), or .*TORCH_INDEX=.*/cu126"),
        ("572.16", "13.0", None, r"needs 580 or newer\), or .*TORCH_INDEX=.*/cu128"),
        ("390.157", "13.0", None, r"Update the driver \(CUDA 13.0 needs 580 or newer\)\.$"),
        ("470.256.02", "12.6", None, r"Update the driver \(CUDA 12.6 needs 525 or newer\)\.$"),
        ("580.95.05", None, None, r"is built for CPUs, so the card is not used\. .*TORCH_INDEX=.*/cu130"),
        ("550.54.14", None, None, r"is built for CPUs, .*TORCH_INDEX=.*/cu126"),
        ("390.157", None, None, r"is built for CPUs, .* Update the driver, and install one\.$"),
        ("550.54.14", None, "7.0", r"is built for ROCm 7.0, so the card is not used"),
        (
            "580.95.05",
            "13.0",
            None,
            r"cannot use it\. CUDA says: CUDA unknown error - a module is missing\. nvidia",
        ),
    ],
)
def test_a_driver_and_a_torch_that_do_not_fit(
    version: str, cuda: str | None, hip: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(version)
    torch_is(monkeypatch, cuda, [], [], hip)
    with pytest.warns(UserWarning, match=rf"NVIDIA card \(driver {version}\), but torch .*{says}"):
        assert startup.start().device.type == "cpu"


def test_a_container_without_its_card_is_told_to_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    driver("580.95.05", device=False)
    torch_is(monkeypatch, "13.0", CU130, [])
    assert "docker run --gpus all" in str(startup.unusable_card())
    put(machine.DEV / "dxg")  # that of WSL2
    assert "docker" not in str(startup.unusable_card())


@pytest.mark.parametrize("value", ["", "-1"])
def test_cards_that_the_user_has_hidden_are_no_fault(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver("580.95.05")
    torch_is(monkeypatch, "13.0", CU130, [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert startup.unusable_card() is None
    _, found = doctor.look_at_gpus(doctor.Place(Path("runs")))
    assert (found.found, found.unusable) == ("hidden by CUDA_VISIBLE_DEVICES", False)


@pytest.mark.parametrize(
    ("codes", "card", "build"),
    [
        (CU130, (7, 0), "cu126"),
        (CU130, (6, 1), "cu126"),
        (CU130, (8, 9), None),
        (CU130, (12, 1), None),
        (CU130, (13, 0), None),
        (CU126, (7, 0), None),
        (CU126, (10, 0), "cu130"),
        (CU126, (12, 0), "cu130"),
        ([], (7, 0), None),
    ],
)
def test_a_card_that_torch_has_no_code_for(
    codes: list[str], card: tuple[int, int], build: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver("580.95.05")
    torch_is(monkeypatch, "13.0", codes, [card])
    if build is None:
        assert startup.start().device.type == "cuda"
        assert startup.unusable_card() is None
        return
    says = rf"compute capability {card[0]}\.{card[1]} \(a card\), but torch .* has machine code for .*whl/{build}"
    with pytest.warns(UserWarning, match=says):
        assert startup.start().device.type == "cpu"
    with pytest.raises(UserError, match=says):
        startup.start("cuda")


def test_an_old_card_beside_a_new_one_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_is(monkeypatch, "13.0", CU130, [(9, 0), (7, 0)])
    assert startup.start().device == torch.device("cuda", 0)
    with pytest.raises(UserError, match=r"capability 7\.0"):
        startup.start("cuda:1")


def test_a_card_of_amd_and_graphics_of_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_is(monkeypatch, "13.0", CU130, [])
    put(machine.SYS / "class" / "drm" / "card0" / "device" / "mem_info_vram_total", f"{512 << 20}\n")
    assert startup.unusable_card() is None
    put(machine.SYS / "class" / "drm" / "card1" / "device" / "mem_info_vram_total", f"{24 << 30}\n")
    assert "has an AMD card, but torch" in str(startup.unusable_card())


def test_the_doctor_fails_if_there_is_a_card_that_torch_cannot_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "PROBES", {"GPU": doctor.look_at_gpus})
    torch_is(monkeypatch, "13.0", CU130, [])
    assert cli.main(["doctor"]) == 0
    driver("535.104.05")
    assert cli.main(["doctor"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "driver NVIDIA 535.104.05 -> torch is built for CUDA 13.0, which needs 580 or newer" in said
    assert "Update the driver (CUDA 13.0 needs 580 or newer)" in said
    assert cli.main(["doctor", "--json"]) == 1
    assert [row["unusable"] for row in json.loads(capsys.readouterr().out)] == [False, True]
