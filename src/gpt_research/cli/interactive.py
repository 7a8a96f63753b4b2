"""A session with a model in the terminal.

A line is a new prompt, an empty line continues the text, and a line that begins with a slash is a
command. With a model that was fine-tuned on conversations a line is a message, and an empty line
begins a new conversation. The seed of an answer is the seed of the session plus the number of the
answer, so that the same prompt gives another text the next time.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Protocol

from gpt_research.base.errors import UserError, closest
from gpt_research.base.stopping import interruptible
from gpt_research.cli.terminal import said_after_the_text, say
from gpt_research.config import GenerateConfig
from gpt_research.data.chat_format import fitting_chat
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
{greeting} Ctrl-C stops an answer.
  /temperature 0.7   change a setting: {settings}
  /stop TEXT         end before this text; without TEXT, nowhere
  /settings          show them
  /help              this
  /quit              leave (Ctrl-D too)"""


class Talk(Protocol):
    """What lines mean, and what a model has been told."""

    greeting: str

    def asked(self, line: str, engine: GenerationEngine) -> str | list[int] | None:
        """Return the prompt that a line makes; None if the model has nothing to say to it."""

    def echo(self, line: str) -> str:
        """Return what stands before the answer on the screen."""

    def answered(self, text: str) -> None:
        """Take the answer, whole or stopped."""


class Continuation:
    """A line is the beginning of a text."""

    greeting = "Type a beginning and press Enter. An empty line goes on where the text stopped."

    def __init__(self) -> None:
        self.text = ""

    def asked(self, line: str, engine: GenerationEngine) -> str:
        # The text of a long session would outgrow the context, which a prompt must not.
        self.text = line or fitting_end(engine, self.text)
        return self.text

    def echo(self, line: str) -> str:
        return line

    def answered(self, text: str) -> None:
        self.text += text


class Conversation:
    """A line is a message of the user."""

    greeting = "Type a message and press Enter. An empty line begins a new conversation."

    def __init__(self) -> None:
        self.turns: list[tuple[str, str]] = []

    def asked(self, line: str, engine: GenerationEngine) -> list[int] | None:
        if not line.strip():
            self.turns = []
            say("A new conversation begins.")
            return None
        # Half of the context stays for the answer; the oldest messages are forgotten.
        tokens = fitting_chat(engine.tokenizer, [*self.turns, ("user", line)], engine.block_size // 2)
        self.turns.append(("user", line))
        return tokens

    def echo(self, line: str) -> str:
        return ""

    def answered(self, text: str) -> None:
        if text.strip():
            self.turns.append(("assistant", text))
        else:  # a message without an answer is forgotten, because turns alternate
            self.turns.pop()


def converse(
    engine: GenerationEngine,
    config: GenerateConfig,
    write: Callable[[str], None],
    read: Callable[[str], str] = input,
    talk: Talk | None = None,
) -> None:
    """Read prompts with `read` and write answers with `write`, until /quit or the end of input."""
    talk = talk or Continuation()
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (this gives `input` a history and an editable line)
    say(f"{talk.greeting} /help shows more.")
    answers = 0
    while True:
        try:
            line = read("> ")
        except (EOFError, KeyboardInterrupt):
            return write("\n")
        try:
            if line.strip() in ("/quit", "/exit"):
                return None
            if line.startswith("/"):
                config = obey(line, config, talk.greeting)
                continue
            if (prompt := talk.asked(line, engine)) is None:
                continue
            settings = dataclasses.replace(config, num_samples=1, seed=config.seed + answers)
            answers += 1
            with said_after_the_text(lambda: write("\n")) as notice:
                write(talk.echo(line))
                said = ""
                try:
                    with interruptible():
                        for piece in stream_samples(engine, [prompt], settings, notice=notice):
                            write(piece.text)
                            said += piece.text
                finally:
                    talk.answered(said)
                write("\n")
        except UserError as error:
            say(str(error))


def obey(line: str, config: GenerateConfig, greeting: str) -> GenerateConfig:
    """Carry out a line that begins with a slash; return the settings for the next answers.

    Args:
        greeting: says what other lines do.

    Raises:
        UserError: the command is unknown, or its value breaks a rule.
    """
    name, _, value = line.strip()[1:].partition(" ")
    if name == "help":
        say(HELP.format(greeting=greeting, settings=", ".join(SETTINGS)))
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
