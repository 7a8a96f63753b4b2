"""A client of llama.cpp, which runs in this process.

The package xllamacpp offers llama.cpp only as an HTTP server, so this module starts that server on
a free local port and sends requests to it.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch

from gpt_research.base.errors import UserError
from gpt_research.data.tokenizer import Tokenizer


class LlamaCpp:
    """A .gguf file that llama.cpp has loaded on the CPU, with an fp32 cache.

    Args:
        block_size: context of the model. llama.cpp reads at most one token less.
        slots: the most texts that are generated at a time.

    Raises:
        UserError: llama.cpp cannot load the file.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer, block_size: int, slots: int = 1) -> None:
        import xllamacpp

        self.tokenizer, self.block_size, self.slots = tokenizer, block_size, slots
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = block_size * slots
        params.n_parallel = slots
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        params.warmup = False
        params.fit_params = False
        params.ui = False
        params.cache_ram_mib = 0  # otherwise llama.cpp keeps earlier texts, which nobody asks for again
        params.verbosity = -1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise UserError(f"llama.cpp cannot load {path}: {error}.") from None
        # A proxy of the environment must not receive requests to this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._wait_for_its_loop()

    def _wait_for_its_loop(self) -> None:
        """Return once llama.cpp's loop answers.

        The server reports that it listens before its loop runs. If it is told to stop in between,
        it forgets that, and `close` would wait for ever. /slots is answered by the loop itself.
        """
        with self._opener.open(self._server.listening_address + "/slots", timeout=600) as answer:
            answer.read()

    def close(self) -> None:
        """Stop llama.cpp and free its memory."""
        del self._server

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, from llama.cpp's own tokenizer."""
        return list(self.ask("/tokenize", content=text, add_special=False, parse_special=False)["tokens"])

    def complete(self, tokens: list[int], count: int, **settings: Any) -> dict[str, Any]:
        """Return llama.cpp's answer; its `tokens` are up to `count` new ones."""
        content = {"prompt": tokens, "n_predict": count, "return_tokens": True, "cache_prompt": False, **settings}
        answer = self.ask("/completion", **content)
        # llama.cpp may leave out the token that ended the text, and our engine reports every token.
        if answer["stop_type"] == "eos" and answer["tokens"][-1:] != [self.tokenizer.end_of_text]:
            answer["tokens"].append(self.tokenizer.end_of_text)
        return answer

    def next_log_probs(self, tokens: list[int], **settings: Any) -> torch.Tensor:
        """Return the log-probabilities of the next token, (V,)."""
        # llama.cpp reports no probabilities while a character is incomplete. The bias makes it draw
        # a token that is a whole character. The probabilities that it reports leave out the bias.
        whole = next(i for i, token in enumerate(self.tokenizer.vocabulary.tokens) if _is_whole(token))
        bias = [[whole, 1e4]]
        size = self.tokenizer.vocab_size
        answer = self.complete(tokens, 1, temperature=0, n_probs=size, logit_bias=bias, **settings)
        row = torch.full((size,), torch.nan)
        for entry in answer["completion_probabilities"][0]["top_logprobs"]:
            row[entry["id"]] = entry["logprob"]
        return row.log_softmax(-1)  # llama.cpp normalises in fp32 with an error of 1e-4

    def ask(self, endpoint: str, **content: Any) -> dict[str, Any]:
        """Send a JSON request to an endpoint of the server; return the JSON answer.

        Raises:
            UserError: the server refuses the request.
        """
        request = urllib.request.Request(
            self._server.listening_address + endpoint,
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=600) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            raise UserError(f"llama.cpp refuses: {_reason(error)}.") from None


def _is_whole(token: bytes) -> bool:
    """Return whether the bytes of a token are whole characters, at least one."""
    try:
        return bool(token.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return str(error)


class LlamaCppReader:
    """Reads an exported .gguf file with llama.cpp, to prove that the export is right."""

    name = "llama.cpp"

    def __init__(self, path: Path, tokenizer: Tokenizer, block_size: int) -> None:
        self._llama = LlamaCpp(path, tokenizer, block_size)

    def close(self) -> None:
        self._llama.close()

    def encode(self, text: str) -> list[int]:
        return self._llama.encode(text)

    def log_probs(self, tokens: list[int]) -> tuple[list[int], torch.Tensor]:
        """Return a few positions and the log-probabilities after each, (positions, V).

        There are only a few, because llama.cpp reports the distribution of the next token only.
        """
        positions = sorted({0, 1, 2, len(tokens) // 2, len(tokens) - 2} & set(range(len(tokens))))
        return positions, torch.stack([self._llama.next_log_probs(tokens[: last + 1]) for last in positions])

    def greedy(self, tokens: list[int], count: int) -> list[int]:
        count = min(count, self._llama.block_size - len(tokens))
        return list(self._llama.complete(tokens, count, temperature=0)["tokens"]) if count > 0 else []
