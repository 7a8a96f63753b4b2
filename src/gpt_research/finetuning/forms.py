"""GPT-1's input forms: the texts of an example become sequences of tokens (section 3.3, figure 1).

    classify     <|start|> text <|extract|>
    pairs        <|start|> text_a <|delimiter|> text_b <|extract|>
    similarity   both orders of the pair, whose hidden states are added
    choice       <|start|> context <|delimiter|> answer <|extract|>, for each answer

The three tokens are new entries of the vocabulary. The head reads the hidden state of the last
token. Source: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.finetuning.batches import Sequences

if TYPE_CHECKING:
    from gpt_research.finetuning.examples import Example

START, DELIMITER, EXTRACT = "<|start|>", "<|delimiter|>", "<|extract|>"
HEAD_TOKENS = (START, DELIMITER, EXTRACT)


def with_special_tokens(tokenizer: Tokenizer, names: Sequence[str], end_of_text: str = "") -> Tokenizer:
    """Return a tokenizer with further special tokens after its last id; those that it has stay.

    Args:
        end_of_text: the token that ends a text from now on; by default the same as before.

    Raises:
        UserError: one of the names is an ordinary token, which a text could spell.
    """
    vocabulary = tokenizer.vocabulary
    if spelled := [name for name in names if name in vocabulary.added]:
        raise UserError(f"The tokenizer has {spelled[0]} as an ordinary token, so it cannot mark the parts of a text.")
    new = [name for name in names if name not in vocabulary.specials]
    end_of_text = end_of_text or vocabulary.end_of_text
    if not new and end_of_text == vocabulary.end_of_text:
        return tokenizer
    ids = {name: len(vocabulary.tokens) + index for index, name in enumerate(new)}
    tokens = (*vocabulary.tokens, *(b"" for _ in new))
    specials = {**vocabulary.specials, **ids}
    return Tokenizer(dataclasses.replace(vocabulary, tokens=tokens, specials=specials, end_of_text=end_of_text))


class HeadForm:
    """Makes sequences of the examples of one task."""

    def __init__(self, task: str, tokenizer: Tokenizer, context: int) -> None:
        self.task, self.tokenizer, self.context = task, tokenizer, context
        specials = tokenizer.vocabulary.specials
        self.start, self.delimiter, self.extract = (specials[name] for name in HEAD_TOKENS)

    def sequences(self, example: Example) -> Sequences:
        """Return the sequences of an example, cut to the context.

        Raises:
            UserError: a text has a character that the vocabulary lacks, or the answers of a choice
                fill the context.
        """
        try:
            texts = [self.tokenizer.encode(text) for text in example.texts]
        except UserError as error:
            raise UserError(f"{example.where}: {error}") from None
        if self.task == "classify":
            room = self.context - 2
            return Sequences([[self.start, *texts[0][:room], self.extract]], len(texts[0]) > room)
        if self.task == "choice":
            return self._choice(example, texts)
        room = self.context - 3
        a, b = _shortened(texts[0], texts[1], room)
        orders = [(a, b), (b, a)] if self.task == "similarity" else [(a, b)]
        made = [[self.start, *one, self.delimiter, *two, self.extract] for one, two in orders]
        return Sequences(made, sum(map(len, texts)) > room)

    def _choice(self, example: Example, texts: list[list[int]]) -> Sequences:
        context, *choices = texts
        room = self.context - 3 - max(map(len, choices))
        if room < 1:
            raise UserError(
                f"{example.where}: its longest answer has {max(map(len, choices))} tokens, which leave no room for a "
                f"context among the {self.context} of the model. Shorten it, or leave the row out."
            )
        # The end of a context holds the question, so its beginning is cut.
        kept = context[-room:]
        made = [[self.start, *kept, self.delimiter, *choice, self.extract] for choice in choices]
        return Sequences(made, len(context) > room)


def _shortened(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
    """Return two texts that fit together: the end of the longer one is cut first."""
    half = room // 2
    if len(a) + len(b) <= room:
        return a, b
    if len(a) <= half:
        return a, b[: room - len(a)]
    if len(b) <= half:
        return a[: room - len(b)], b
    return a[: room - half], b[:half]
