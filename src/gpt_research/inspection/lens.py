"""The logit lens: what a model would predict if it ended after each of its blocks.

The residual stream after a block goes through the model's final norm and head.
Source: nostalgebraist 2020, "Interpreting GPT: the logit lens".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gpt_research.inspection.predictions import fitting
from gpt_research.inspection.readout import Readout, following_of, read_out
from gpt_research.inspection.watching import watch
from gpt_research.model.gpt import GPT


@torch.no_grad()
def logit_lens(model: GPT, tokens: Sequence[int] | np.ndarray, top: int = 3) -> list[Readout]:
    """Return the predictions before the first block and after each block, L + 1 in all.

    `kl` compares each with the model's own prediction, which is the last one.

    Raises:
        UserError: the tokens do not fit, or the model's output is not finite.
    """
    ids = fitting(model, tokens)
    seen = watch(model, ids[None], residual=True)
    return [
        read_out(model, model.norm(stream)[0], following_of(ids), top, reference=seen.hidden[0])
        for stream in seen.residual
    ]
