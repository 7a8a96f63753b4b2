"""Imports go one way, from left to right of the architecture's order."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "gpt_research"
ORDER = [
    "version", "base", "config", "commands", "model", "data", "checkpoint", "run", "training", "generation",
    "evaluation", "export", "preprocessing", "estimate", "cli", "__main__",
]  # fmt: skip
DEBT = {("training", "generation"), ("training", "estimate")}
"""Two imports that go the wrong way until the trainer gives its samples and estimates to those above it."""


def imported_parts(path: Path) -> set[str]:
    """Return the first-level parts of gpt_research that a file imports, anywhere in it."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("gpt_research.")}
    return {part for part in parts if part in ORDER}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_from_its_left(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in ORDER, f"{own} has no place in the order"
    for part in imported_parts(path):
        assert ORDER.index(part) <= ORDER.index(own) or (own, part) in DEBT, (
            f"{path.relative_to(SOURCE)} imports {part}"
        )


def test_no_module_is_too_long_to_read() -> None:
    long = {str(p): n for p in SOURCE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 450}
    assert not long
