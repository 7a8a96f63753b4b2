"""The house is as its plan says: imports go one way, in short chains, without a circle, and
early.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "gpt_research"
ORDER = [
    "version", "base", "run_reference", "model_config", "config", "settings_history", "model", "data", "checkpoint",
    "run", "generation", "training", "evaluation", "finetuning", "inspection", "export", "preprocessing", "tracing",
    "estimate", "report", "lab", "serving", "lm_eval", "cli", "__main__",
]  # fmt: skip
"""The parts of the package; each imports only from its left."""
LONGEST_CHAIN, LONGEST_CHAIN_WITH_LATE_IMPORTS = 8, 10
"""Files in the longest chain of imports."""
STEP_MODULES = 10
"""Modules that one must read to understand the training step, the step itself among them."""
LONGEST_FILE = 400
LATE = {
    ("gpt_research.__main__", "gpt_research.cli.command_line"): "Ctrl-C during this import must show no traceback",
    ("gpt_research.preprocessing.text.compiled", "gpt_research.preprocessing.text.kernels"): "numba takes 0.5 s",
    ("gpt_research.preprocessing.formats.bz2_blocks", "gpt_research.preprocessing.formats.bz2_decoder"): "the same",
    ("gpt_research.tracing.compiled", "gpt_research.tracing.kernels"): "the same",
    **{
        ("gpt_research.preprocessing.filters.compiled", f"gpt_research.preprocessing.filters.{loops}"): "the same"
        for loops in ("word_kernels", "line_kernels", "rule_kernels")
    },
    ("gpt_research.lm_eval", "gpt_research.evaluation.harness"): "lm-eval is an optional dependency",
}
"""The imports of our own modules that are late outside of `cli`, and why."""

MODULES = {
    ".".join(("gpt_research", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def import_nodes(path: Path) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield every import of a file, and whether it is late: inside a function, or for type checkers
    alone.
    """

    def visit(node: ast.AST, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, late
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from visit(child, late or inner or checking)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), late=False)


def imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the modules of ours that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        assert node.level == 0, "relative import"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    owners = {name if name in MODULES else name.rpartition(".")[0] for name in names}
    return owners & MODULES.keys()


@cache
def graph(*, late: bool) -> dict[str, set[str]]:
    """Return the modules that each module imports; with `late`, late imports too."""
    return {
        module: {name for node, is_late in import_nodes(path) if late or not is_late for name in imported(node)}
        - {module}
        for module, path in MODULES.items()
    }


def longest_chain(edges: dict[str, set[str]]) -> list[str]:
    """Return the longest chain of imports, from its top down; fails on a circle, which it names."""
    chains: dict[str, list[str]] = {}

    def chain_from(module: str, above: tuple[str, ...]) -> list[str]:
        assert module not in above, f"circle: {' -> '.join([*above[above.index(module) :], module])}"
        if module not in chains:
            below = [chain_from(name, (*above, module)) for name in sorted(edges[module])]
            chains[module] = [module, *max(below, key=len, default=[])]
        return chains[module]

    return max((chain_from(module, ()) for module in edges), key=len)


LISTED = ["base", "model", "model.fast", "checkpoint", "generation", "training", "evaluation", "evaluation.tasks",
          "finetuning", "inspection", "export", "tracing", "preprocessing.filters", "estimate", "report",
          "serving"]  # fmt: skip
"""Packages whose docstring lists their modules, one a line."""


@pytest.mark.parametrize("package", LISTED)
def test_a_package_lists_its_modules(package: str) -> None:
    name = f"gpt_research.{package}"
    lines = MODULES[name].read_text(encoding="utf-8").splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("    ")]
    inside = {module.removeprefix(f"{name}.").partition(".")[0] for module in MODULES if module.startswith(f"{name}.")}
    assert sorted(listed) == sorted(inside)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_its_left(module: str) -> None:
    if module == "gpt_research":  # the package's public names
        return
    own = module.split(".")[1]
    assert own in ORDER, f"{own} has no place in the order"
    for name in graph(late=True)[module] - {"gpt_research"}:
        assert ORDER.index(name.split(".")[1]) <= ORDER.index(own), f"{module} imports {name}"


def test_no_chain_of_imports_is_too_long_to_follow_and_none_is_a_circle() -> None:
    chain = longest_chain(graph(late=False))
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)
    chain = longest_chain(graph(late=True))
    assert len(chain) <= LONGEST_CHAIN_WITH_LATE_IMPORTS, " -> ".join(chain)


def test_only_commands_import_our_modules_late() -> None:
    """A command does, so that `--help` needs no torch. A third-party package that may be missing is
    another matter.
    """
    late = {
        (module, name)
        for module, path in MODULES.items()
        if not module.startswith("gpt_research.cli.") and module != "gpt_research"
        for node, is_late in import_nodes(path)
        if is_late and not _for_type_checkers(path, node)
        for name in imported(node)
    }
    assert late == LATE.keys()


def _for_type_checkers(path: Path, node: ast.Import | ast.ImportFrom) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines()
    above = reversed(lines[: node.lineno - 1])
    outer = next((line for line in above if line.strip() and not line.startswith("    ")), "")
    return outer.startswith("if TYPE_CHECKING")


def test_the_training_step_can_be_understood_from_few_modules() -> None:
    seen: set[str] = set()
    rest = ["gpt_research.training.step"]
    while rest:
        module = rest.pop()
        if module not in seen:
            seen.add(module)
            rest += graph(late=False)[module]
    assert len(seen) <= STEP_MODULES, sorted(seen)


def test_no_module_is_too_long_to_read() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: lines for module, lines in lengths.items() if lines > LONGEST_FILE}


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest knows a file by its name alone if its folder is no package, and so does an import."""
    tests = Path(__file__).parent
    paths = [path for path in tests.rglob("*.py") if path.name != "conftest.py"]
    names = Counter(path.name for path in paths if not (path.parent / "__init__.py").is_file())
    assert not [path for path in paths if names[path.name] > 1]


def test_a_package_is_a_docstring_and_hands_no_names_on() -> None:
    """Names that a package hands on would make every chain longer and hide where they live. Only
    what programs of others call stands in a package: `gpt_research`'s names, and `cli.main`.
    """
    for module, path in MODULES.items():
        if path.name == "__init__.py" and module not in ("gpt_research", "gpt_research.cli"):
            statements = ast.parse(path.read_text(encoding="utf-8")).body
            assert all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in statements), module
