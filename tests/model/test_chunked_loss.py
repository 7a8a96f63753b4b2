"""The loss in chunks is the loss: value and gradients, for any chunk, precision and vocabulary."""

from __future__ import annotations

import pytest
import torch

from gpt_research.model.fast import loss as losses
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig

CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=24, vocab_size=300)


def loss_and_gradients(
    chunk: int, autocast: torch.dtype | None, seed: int = 0, **changes: object
) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**{**vars(CONFIG), **changes}))  # type: ignore[arg-type]
    model.loss_chunk = chunk
    tokens, targets = torch.randint(0, 300, (2, 3, 24))
    targets[0, :5] = -1
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        nats = model(tokens, targets)
    (nats / 72).backward()
    return {"nats": nats.detach()} | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "change",
    [{}, {"tie_weights": False}, {"logit_softcap": 0.5}, {"parametrization": "mup", "mup_base_width": 8}],
    ids=str,
)
@pytest.mark.parametrize("chunk", [1, 7, 24, 71, 72, 1000])
def test_any_chunk_gives_the_plain_loss_and_gradients(chunk: int, change: dict[str, object]) -> None:
    plain = loss_and_gradients(0, None, **change)
    chunked = loss_and_gradients(chunk, None, **change)
    assert plain.keys() == chunked.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(chunked[name], tensor, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_rows_taken_together_do_not_change_it(autocast: torch.dtype | None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = loss_and_gradients(48, autocast)
    for rows in (1, 5):
        monkeypatch.setattr(losses, "CACHED", rows * 4 * 320 // torch.get_num_threads())
        for name, tensor in loss_and_gradients(48, autocast).items():
            torch.testing.assert_close(tensor, whole[name], rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_none_is_made(mode: type, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, tokens = GPT(CONFIG).eval(), torch.randint(0, 300, (2, 24))
    plain = model(tokens, tokens)
    model.loss_chunk = 7
    monkeypatch.setattr(losses, "_nats_and_gradient", lambda *_: pytest.fail("a gradient was made"))
    with mode():
        torch.testing.assert_close(model(tokens, tokens), plain.detach())


@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
def test_a_target_of_no_probability_costs_its_distance(scale: float) -> None:
    torch.manual_seed(0)
    h, weight = (scale * torch.randn(6, 8)).requires_grad_(), torch.randn(40, 8, requires_grad=True)
    targets = torch.tensor([0, 1, -1, 2, 36, 3])
    nats = losses.ChunkedCrossEntropy.apply(h, weight, targets, 37, 4)
    logits = (h.double() @ weight.double().T)[:, :37]
    expected = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    torch.testing.assert_close(nats.double(), expected, rtol=1e-6, atol=1e-4)
    for one, other in zip(*(torch.autograd.grad(x, (h, weight)) for x in (nats, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * scale)


def test_under_autocast_it_is_as_near_to_fp32_as_the_plain_one() -> None:
    # One model says little, because rounding errors differ by a fifth from draw to draw.
    errors: dict[str, list[torch.Tensor]] = {}
    for seed in range(10):
        exact = loss_and_gradients(0, None, seed)
        rounded = [loss_and_gradients(chunk, torch.bfloat16, seed) for chunk in (0, 16)]
        for name, tensor in exact.items():
            assert rounded[1][name].dtype == tensor.dtype
            relative = [(gradients[name] - tensor).norm() / tensor.norm() for gradients in rounded]
            errors.setdefault(name, []).append(torch.stack(relative))
    for name, of_seeds in errors.items():
        plain, chunked = torch.stack(of_seeds).square().mean(0).sqrt()
        assert chunked <= 1.1 * plain, name


def test_the_padding_rows_get_no_gradient() -> None:
    gradient = loss_and_gradients(16, None, tie_weights=False)["head.weight"]
    assert gradient.shape == (320, 32)
    assert gradient[:300].abs().min() > 0
    assert not gradient[300:].any()


def test_without_gradients_the_value_is_the_same() -> None:
    model = GPT(CONFIG).eval()
    tokens, targets = torch.randint(0, 300, (2, 3, 24))
    with torch.no_grad():
        plain = model(tokens, targets)
        model.loss_chunk = 10
        torch.testing.assert_close(model(tokens, targets), plain)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.slow
def test_compiled_it_gives_the_same() -> None:
    torch.manual_seed(0)
    model = GPT(CONFIG)
    tokens, targets = torch.randint(0, 300, (2, 3, 24))
    model(tokens, targets).backward()
    plain = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.loss_chunk = 20
    torch.compile(model)(tokens, targets).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name], rtol=1e-4, atol=1e-5, msg=name)
