"""The `logprobs` of a choice: its tokens, their log-probabilities, and the likeliest tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_research.data.tokenizer import Tokenizer


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Return how OpenAI's API writes a token: its text, or its bytes if they are no whole text."""
    piece = tokenizer.vocabulary.tokens[token]
    if not piece:
        names = {id: name for name, id in tokenizer.vocabulary.specials.items()}
        return names.get(token, "")
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


class TokenReport:
    """Writes the tokens of one choice, piece by piece, and counts where each begins.

    Args:
        with_ids: report the ids of the likeliest tokens too.
    """

    def __init__(self, tokenizer: Tokenizer, *, with_ids: bool) -> None:
        self._tokenizer, self._with_ids = tokenizer, with_ids
        self._decoder = tokenizer.stream_decoder()
        self._offset = 0

    def write(
        self,
        tokens: Sequence[int],
        logprobs: Sequence[float | None],
        alternatives: Sequence[Mapping[int, float] | None],
    ) -> dict[str, Any]:
        """Return the JSON of the next tokens.

        Args:
            alternatives: the likeliest tokens at each place; empty if none were asked for.
        """
        offsets: list[int] = []
        rows: list[dict[str, float] | None] = []
        ids: list[list[int] | None] = []
        for place, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
            offsets.append(self._offset)
            self._offset += len(self._decoder.push(token))
            if logprob is None:
                rows.append(None)
                ids.append(None)
                continue
            likeliest = dict(alternatives[place] or {}) if alternatives else {}
            likeliest.setdefault(token, logprob)
            rows.append({token_text(self._tokenizer, id): value for id, value in likeliest.items()})
            ids.append(list(likeliest))
        return {
            "tokens": [token_text(self._tokenizer, token) for token in tokens],
            "token_logprobs": list(logprobs),
            "top_logprobs": rows,
            "text_offset": offsets,
            **({"top_token_ids": ids} if self._with_ids else {}),
        }
