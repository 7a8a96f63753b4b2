"""The chat format: how a conversation becomes tokens. There is one, ChatML.

    <|im_start|>user
    How are you?<|im_end|>
    <|im_start|>assistant
    Well, thank you.<|im_end|>

The two marks are special tokens, so no message can spell them. White space around a message does
not count. The model answers after `<|im_start|>assistant` and a line break, and ends its answer
with `<|im_end|>`, which is the end-of-text token of the tokenizer of a chat model. `TEMPLATE` says
the same in Jinja, as transformers takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer

BEGIN, END = "<|im_start|>", "<|im_end|>"
MARKS = (BEGIN, END)
ROLES = ("system", "user", "assistant")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + "
    "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def has_chat_format(lineage: Mapping[str, Any]) -> bool:
    """Return whether the weights of this lineage were trained on conversations."""
    return lineage.get("finetune", {}).get("task") == "chat"


def encoded_turns(tokenizer: Tokenizer, turns: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each message: those before its content, and those of the content with
    its end.

    Args:
        turns: role and content of each message.

    Raises:
        UserError: a role is unknown, or the tokenizer lacks the marks or a character.
    """
    specials = tokenizer.vocabulary.specials
    if missing := [mark for mark in MARKS if mark not in specials]:
        raise UserError(f"The tokenizer has no {missing[0]}, so its model has no chat format.")
    found, begin = [], specials[BEGIN]
    line_break = tokenizer.encode("\n")
    for number, (role, content) in enumerate(turns):
        if role not in ROLES:
            raise UserError(f"A message has the role {role!r}, and it must be {', '.join(ROLES)}.")
        before = line_break if number else []
        header = [*before, begin, *tokenizer.encode(f"{role}\n")]
        found.append((header, [*tokenizer.encode(content.strip()), specials[END]]))
    return found


def encode_chat(tokenizer: Tokenizer, turns: Sequence[tuple[str, str]]) -> list[int]:
    """Return the tokens after which a model answers a conversation.

    Raises:
        UserError: as `encoded_turns` does.
    """
    tokens = [token for header, content in encoded_turns(tokenizer, turns) for token in (*header, *content)]
    rest = tokenizer.encode("\n") if tokens else []
    return [*tokens, *rest, tokenizer.vocabulary.specials[BEGIN], *tokenizer.encode("assistant\n")]


def fitting_chat(tokenizer: Tokenizer, turns: Sequence[tuple[str, str]], room: int) -> list[int]:
    """Return `encode_chat` of a conversation without its oldest messages, so that it has at most
    `room` tokens; its last message always stays, and one of the system.

    Raises:
        UserError: as `encoded_turns` does.
    """
    kept = list(turns)
    first = 1 if kept and kept[0][0] == "system" else 0
    while len(tokens := encode_chat(tokenizer, kept)) > room and len(kept) > first + 1:
        del kept[first]
    return tokens
