"""What a recording cannot hold is found before anything is recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gpt_research.generation.recording import NothingWaits, NotRecordableError


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.index_put_((x > 0,), torch.ones(1)),
        lambda x: x.nonzero(),
        lambda x: x.to("meta"),
        lambda x: torch.zeros(3, device="meta").copy_(x),
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_what_makes_a_program_wait_is_found(wait: Callable[[torch.Tensor], object], inference: bool) -> None:
    with torch.inference_mode(inference), NothingWaits(), pytest.raises(NotRecordableError):
        wait(torch.ones(3))


def test_what_a_step_does_is_no_waiting() -> None:
    with torch.inference_mode(), NothingWaits():
        x = torch.ones(3, 4)
        x[:, torch.arange(2)] = x[:, torch.arange(1, 3)]
        torch.nn.functional.linear(x, x, x[:, 0]).softmax(-1).mul(2.0).topk(2)
