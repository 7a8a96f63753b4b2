"""The model: token ids in, logits or a loss out."""

from gpt_research.model.gpt import GPT
from gpt_research.model.kv_cache import KVCache

__all__ = ["GPT", "KVCache"]
