"""Makes torch's CUDA build believe in a card, in the environment of the Python that runs this.

    python tests/traced/build_card.py

The build needs fifteen libraries of NVIDIA's, several gigabytes of them, only to be loaded. Each is
replaced by a library of its name that is empty but for what `card.c` answers.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

OF_NVIDIA = r"cu|nccl|nvrtc|nvshmem|__cuda"
PACKAGES = Path(sysconfig.get_paths()["platlib"])
PLACE = PACKAGES / "nvidia/cu13/lib"
"""Where torch's libraries look for NVIDIA's."""


def main() -> None:
    libraries = sorted((PACKAGES / "torch/lib").glob("*.so"))
    names, functions = set(), set()
    for library in libraries:
        names |= set(re.findall(r"NEEDED.*\[(lib(?:cu|nv|nccl)\w*\.so\.\d+)\]", _output("readelf", "-dW", library)))
        for line in _output("nm", "-D", "--undefined-only", library).splitlines():
            function = line.split()[-1].partition("@")[0]
            if re.match(OF_NVIDIA, function):
                functions.add(function)
    # Triton compiles a module of its own on the machine that it runs on.
    for source in (PACKAGES / "triton/backends/nvidia").glob("driver.*"):
        functions |= set(re.findall(r"\bcu[A-Z]\w+(?=\()", source.read_text(encoding="utf-8")))
    card = Path(__file__).with_name("card.c")
    answered = set(re.findall(r"^\w[\w *]*?(\w+)\(", card.read_text(encoding="utf-8"), re.MULTILINE))
    PLACE.mkdir(parents=True, exist_ok=True)
    rest = "".join(f"int {function}(void) {{ return 0; }}\n" for function in sorted(functions - answered))
    _compile(f'#include "{card.resolve()}"\n{rest}', "libcard.so")
    for name in sorted(names):
        _compile("", name, "-Wl,--no-as-needed", f"-L{PLACE}", "-lcard", "-Wl,-rpath,$ORIGIN")
    print(f"A card that is not there: {len(functions)} functions in {len(names)} libraries, in {PLACE}")


def _compile(source: str, name: str, *options: str) -> None:
    command = ["cc", "-w", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,{name}", *options, "-o", PLACE / name]
    subprocess.run(command, input=source, text=True, check=True)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
