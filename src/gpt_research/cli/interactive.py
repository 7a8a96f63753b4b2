"""A conversation with a model in the terminal.

A line is a new prompt, an empty line continues the text, and a line that begins with a slash is a
command. The seed of an answer is the seed of the session plus the number of the answer, so that the
same prompt gives another text the next time.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

from gpt_research.base.errors import UserError, closest
from gpt_research.base.stopping import interruptible
from gpt_research.cli.terminal import said_after_the_text, say
from gpt_research.config import GenerateConfig
from gpt_research.generation.engine import GenerationEngine, stream_samples

SETTINGS = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "repetition_penalty": float,
    "max_new_tokens": int,
    "seed": int,
}

HELP = """\
Type a beginning and press Enter. An empty line goes on where the text stopped. Ctrl-C stops an answer.
  /temperature 0.7   change a setting: {settings}
  /stop TEXT         end before this text; without TEXT, nowhere
  /settings          show them
  /help              this
  /quit              leave (Ctrl-D too)"""


def converse(
    engine: GenerationEngine,
    config: GenerateConfig,
    write: Callable[[str], None],
    read: Callable[[str], str] = input,
) -> None:
    """Read prompts with `read` and write answers with `write`, until /quit or the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (this gives `input` a history and an editable line)
    say("Type a beginning and press Enter; /help shows more.")
    text, answers = "", 0
    while True:
        try:
            line = read("> ")
        except (EOFError, KeyboardInterrupt):
            return write("\n")
        try:
            if line.strip() in ("/quit", "/exit"):
                return None
            if line.startswith("/"):
                config = obey(line, config)
                continue
            # The text of a long conversation would outgrow the context, which a prompt must not.
            text = line or fitting_end(engine, text)
            settings = dataclasses.replace(config, num_samples=1, seed=config.seed + answers)
            answers += 1
            with said_after_the_text(lambda: write("\n")) as notice:
                write(line)
                with interruptible():
                    for piece in stream_samples(engine, text, settings, notice=notice):
                        write(piece.text)
                        text += piece.text
                write("\n")
        except UserError as error:
            say(str(error))


def obey(line: str, config: GenerateConfig) -> GenerateConfig:
    """Carry out a line that begins with a slash; return the settings for the next answers.

    Raises:
        UserError: the command is unknown, or its value breaks a rule.
    """
    name, _, value = line.strip()[1:].partition(" ")
    if name == "help":
        say(HELP.format(settings=", ".join(SETTINGS)))
    elif name == "settings":
        say("  ".join(f"{name} {getattr(config, name)}" for name in SETTINGS) + f"  stop {config.stop}")
    elif name == "stop":
        return dataclasses.replace(config, stop=[value] if value else [])
    elif name in SETTINGS:
        try:
            number = SETTINGS[name](value)
        except ValueError:
            raise UserError(f"/{name} needs a number, such as /{name} {getattr(config, name)}.") from None
        return dataclasses.replace(config, **{name: number})
    else:
        known = [*SETTINGS, "help", "settings", "stop", "quit"]
        raise UserError(f'Unknown command "/{name}".{closest(name, known)} /help lists them.')
    return config


def fitting_end(engine: GenerationEngine, text: str) -> str:
    """Return the end of `text`, at most half of the context long."""
    tokens = engine.tokenizer.encode(text)
    half = engine.block_size // 2
    if len(tokens) <= half:
        return text
    return engine.tokenizer.decode(tokens[-half:]).lstrip("\ufffd")  # the cut may fall inside a character
