"""gpt-research: from raw corpora to a GPT you can trust.

import gpt_research
model, tokenizer = gpt_research.load("runs/demo")
print(gpt_research.generate(model, tokenizer, "ROMEO:")[0].text)
"""

from __future__ import annotations

from gpt_research.version import __version__

TYPE_CHECKING = False  # that of `typing` takes a while to import, and `__main__` comes after this module
if TYPE_CHECKING:
    from typing import Any

    from gpt_research.base.errors import UserError
    from gpt_research.config import GenerateConfig, TrainConfig
    from gpt_research.generation.torch_engine import generate
    from gpt_research.model.gpt import GPT
    from gpt_research.model_config import GPTConfig
    from gpt_research.run import load_model as load

__all__ = [
    "GPT",
    "GPTConfig",
    "GenerateConfig",
    "TrainConfig",
    "UserError",
    "__version__",
    "generate",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that neither help nor Ctrl-C has to wait for torch."""
    if name in ("load", "generate"):
        from gpt_research.base import unix

        if unix.is_missing():
            raise ImportError(unix.REFUSAL)
    if name == "load":
        from gpt_research.run import load_model

        return load_model
    if name == "generate":
        from gpt_research.generation.torch_engine import generate

        return generate
    if name == "GPT":
        from gpt_research.model.gpt import GPT

        return GPT
    if name == "UserError":
        from gpt_research.base.errors import UserError

        return UserError
    if name in ("GPTConfig", "GenerateConfig", "TrainConfig"):
        from gpt_research import config

        return getattr(config, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
