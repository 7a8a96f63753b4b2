"""`gpt-research generate`: chooses the engine."""

from __future__ import annotations

import importlib.util

from gpt_research.base.errors import UserError
from gpt_research.cli import generate as inference
from gpt_research.commands import GenerateCommand


def run(command: GenerateCommand) -> int:
    """Write what the command asks for; return the exit code.

    Raises:
        UserError: a missing package, or the prompt, the run or a setting is at fault.
    """
    if command.engine == "torch":
        return inference.run(command)
    for package in ("xllamacpp", "gguf"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f'--engine llamacpp needs {package}. Run: pip install "gpt-research[export]"')
    from gpt_research.cli.open_llama_cpp import open_llama_cpp

    return inference.run(command, open_llama_cpp)
