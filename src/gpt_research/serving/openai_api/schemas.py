"""What `/v1/completions` takes and returns: OpenAI's fields, and a few more settings of ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, field_validator

from gpt_research.config import GenerateConfig
from gpt_research.serving.texts import WHOLE, WholeText

MOST_TOKENS = 16_384
"""The most tokens of one sample."""
MOST_SAMPLES = 128
"""The most samples of a request: prompts times `n`."""
MOST_ALTERNATIVES = 100
STOP_TEXTS = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200), WHOLE]],
    Field(max_length=16),
    # A union would say of a wrong list that it is no text.
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given, json_schema_input_type=str | list[str]),
]
TOKEN_IDS = Annotated[list[StrictInt], Field(min_length=1, max_length=1 << 17, fail_fast=True)]
PROMPT_RULE = "must be a text, a list of texts, a list of token ids, or a list of lists of token ids; no list is empty"


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    """Send the numbers of tokens in a last chunk."""


class Sampling(BaseModel):
    """What all requests for text have in common. Unknown fields are refused: a setting that is
    ignored would mislead.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str = ""
    """Name of a model, or NAME@STEP. Empty: the first model."""
    temperature: float | None = Field(1.0, ge=0, le=100, allow_inf_nan=False)
    """Divides the logits; 0 always takes the likeliest token."""
    top_p: float | None = Field(1.0, gt=0, le=1)
    """Draw from the fewest tokens whose probabilities add up to p."""
    n: int | None = Field(1, ge=1, le=MOST_SAMPLES)
    """Samples for each prompt."""
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    """The same seed gives the same samples, which are those of the command `generate`. Without it
    they differ each time."""
    stop: STOP_TEXTS | None = None
    """Texts at which a sample ends, without the text itself."""
    stream: bool | None = False
    """Send pieces while they are written."""
    stream_options: StreamOptions | None = None
    user: str | None = None
    """Ignored."""
    top_k: int = Field(0, ge=0)
    """Ours: draw from the k likeliest tokens; 0 draws from all."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Ours: draw from tokens that are at least this share as likely as the likeliest."""
    repetition_penalty: float = Field(1.0, gt=0, le=100)
    """Ours: make tokens that the text holds already less likely."""


class CompletionRequest(Sampling):
    """A text to continue."""

    prompt: (
        WholeText
        | Annotated[list[WholeText], Field(fail_fast=True)]
        | TOKEN_IDS
        | Annotated[list[TOKEN_IDS], Field(fail_fast=True)]
    ) = ""
    """Text or token ids to continue, or several. An empty text begins a document."""
    max_tokens: int | None = Field(16, ge=0, le=MOST_TOKENS)
    """Tokens to write. 0 writes none, which is of use with `echo`."""
    logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    """Report each token's log-probability, and those of so many of the likeliest tokens. They are
    the model's own, before temperature and filters."""
    echo: bool | None = False
    """Return the prompt too. With `logprobs` its tokens are scored, in fp32; then a prompt may be
    one token longer than the context."""
    suffix: Literal["", None] = None
    """Not supported: the models write from left to right."""
    best_of: int | None = Field(None, ge=1, le=MOST_SAMPLES)
    """Only the value of `n` is supported."""
    frequency_penalty: float | None = Field(0, ge=0, le=0)
    """Only 0 is supported; see `repetition_penalty`."""
    presence_penalty: float | None = Field(0, ge=0, le=0)
    """Only 0 is supported; see `repetition_penalty`."""
    logit_bias: dict[str, float] | None = Field(None, max_length=0)
    """Not supported."""
    return_token_ids: bool = False
    """Ours: return the ids of tokens and of alternatives too."""

    @field_validator("prompt", mode="before")
    @classmethod
    def _is_prompt(cls, prompt: Any) -> Any:
        """Check the kind here, because the message about a union names each of its members."""
        if prompt is None:
            return ""
        nested = isinstance(prompt, list) and prompt and all(isinstance(part, list) for part in prompt)
        if nested and all(_kind(part) is int for part in prompt):
            return prompt
        if _kind(prompt) is None:
            raise ValueError(PROMPT_RULE)
        return prompt

    @field_validator("suffix", mode="before")
    @classmethod
    def _no_suffix(cls, suffix: Any) -> Any:
        if suffix:
            raise ValueError("the models write from left to right and cannot fill a gap; leave suffix out")
        return suffix

    @field_validator("frequency_penalty", "presence_penalty", mode="before")
    @classmethod
    def _no_penalty(cls, penalty: Any) -> Any:
        if penalty:
            raise ValueError("this penalty is not supported; leave it out, or set repetition_penalty")
        return penalty

    @property
    def samples(self) -> int:
        """Samples for each prompt."""
        return 1 if self.n is None else self.n

    def generate_config(self, seed: int) -> GenerateConfig:
        """Return the settings of each sample. Null stands for OpenAI's default."""
        return GenerateConfig(
            max_new_tokens=max(1, self.tokens_to_write),
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=self.top_k,
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            num_samples=self.samples,
            seed=seed if self.seed is None else self.seed,
            stop=self.stop or [],
        )

    @property
    def tokens_to_write(self) -> int:
        return 16 if self.max_tokens is None else self.max_tokens


def _kind(prompt: Any) -> type | None:
    """Return str for one text or several, int for token ids, and None for anything else."""
    kinds = {str} if isinstance(prompt, str) else set(map(type, prompt)) if isinstance(prompt, list) else set()
    return kinds.pop() if kinds in ({str}, {int}) else None


class Logprobs(BaseModel):
    """The tokens of a choice, in four lists of one length."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    tokens: list[str]
    """The text of each token; `bytes:\\xe2` and the like for a part of a character."""
    token_logprobs: list[float | None]
    """Natural logarithm of its probability; null for the first token of an echoed prompt."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens, and the token itself."""
    text_offset: list[int]
    """Where the token begins in the text of the choice, in characters."""
    top_token_ids: list[list[int] | None] | None = None
    """With `return_token_ids`: the ids of the likeliest tokens, in the order of `top_logprobs`."""


class Choice(BaseModel):
    """One sample, or its newest piece in a stream."""

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class Usage(BaseModel):
    """Numbers of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """An answer, or a chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None
