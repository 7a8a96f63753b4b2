"""AdamW decays matrices only, and its state survives a round trip by name."""

import pytest
import torch

from gpt_research.base.errors import UserError
from gpt_research.config import OptimizerConfig, TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.training import optimizers
from gpt_research.training.muon import Muon, _by_square, _by_steps, orthogonal
from gpt_research.training.optimizer_state import optimizer_tensors, restore_optimizer
from gpt_research.training.optimizers import OPTIMIZERS, make_optimizer, state_bytes
from gpt_research.training.polynomials import best_polynomials
from gpt_research.training.step import step_unless

CONFIG = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=50)


def step(model: GPT, optimizer: torch.optim.Optimizer, seed: int) -> None:
    tokens = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(seed))
    model(tokens, tokens).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_norms_and_biases_do_not_decay() -> None:
    model = GPT(CONFIG)
    groups = {group["kind"]: group for group in make_optimizer(model, TrainConfig()).param_groups}
    names = {id(p): name for name, p in model.named_parameters()}
    assert {kind: group["weight_decay"] for kind, group in groups.items()} == {
        "matrix": 0.1, "embedding": 0.1, "vector": 0.0,
    }  # fmt: skip
    vectors = {names[id(p)] for p in groups["vector"]["params"]}
    assert vectors == {n for n in names.values() if "norm" in n or n.endswith("bias")}
    embeddings = {names[id(p)] for p in groups["embedding"]["params"]}
    assert embeddings == {"token_embedding.weight", "position_embedding.weight"}
    assert sum(len(group["params"]) for group in groups.values()) == len(names)


def test_state_goes_round_by_name() -> None:
    torch.manual_seed(0)
    one, two = GPT(CONFIG), GPT(CONFIG)
    first, second = (make_optimizer(m, TrainConfig(learning_rate=1e-2)) for m in (one, two))
    for seed in range(3):
        step(one, first, seed)
    two.load_state_dict(one.state_dict())
    restore_optimizer(second, two, optimizer_tensors(first, one))
    for model, optimizer in ((one, first), (two, second)):
        step(model, optimizer, 9)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_step_can_be_left_out_with_any_optimizer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "sgd", lambda groups, config: torch.optim.SGD(groups, lr=0.1, momentum=0.9))
    model = GPT(CONFIG)
    optimizer = make_optimizer(model, TrainConfig(optimizer=OptimizerConfig(name)))
    step(model, optimizer, 0)
    before = [p.clone() for p in model.parameters()]
    tokens = torch.ones(1, 8, dtype=torch.long)
    for leave_out in (True, False):
        model(tokens, tokens).backward()
        step_unless(optimizer, torch.tensor(leave_out))
        same = all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        assert same == leave_out


def test_state_bytes_are_those_of_two_moments_for_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "sgd", lambda groups, config: torch.optim.SGD(groups, lr=0.1))
    assert state_bytes(TrainConfig()) == 8
    assert state_bytes(TrainConfig(optimizer=OptimizerConfig("sgd"))) == 0


def test_state_bytes_of_muon_are_those_of_the_parameter_that_takes_most() -> None:
    assert state_bytes(TrainConfig(optimizer=OptimizerConfig("muon"))) == 8


def test_measuring_state_bytes_draws_no_random_number() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    state_bytes(TrainConfig())
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_optimizer_is_one_sentence_with_the_closest_name() -> None:
    with pytest.raises(UserError, match=r'optimizer\.name is "adamww".*(Did you mean "adamw"|Near it are .*adamw)'):
        make_optimizer(GPT(CONFIG), TrainConfig(optimizer=OptimizerConfig("adamww")))


class Metal(torch.optim.AdamW):
    """Takes a step whatever `found_inf` says, as Metal's fused AdamW does."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert not hasattr(self, "found_inf")
        super().step(closure)


@pytest.mark.parametrize("scaled", [False, True])
def test_on_metal_no_step_depends_on_the_optimizer_to_skip_it(scaled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "metal", lambda groups, config: Metal(groups, lr=0.1, fused=True))
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=8, vocab_size=16))
    config = TrainConfig(optimizer=OptimizerConfig(name="metal"))
    monkeypatch.setattr(optimizers, "_is_on_metal", lambda model: True)
    optimizer = make_optimizer(model, config)
    before = [p.detach().clone() for p in model.parameters()]
    model(*torch.zeros(2, 1, 8, dtype=torch.long)).backward()
    next(model.parameters()).grad[0, 0] = torch.nan  # type: ignore[index]
    if scaled:
        scaler = torch.amp.GradScaler("cpu")
        scaler.scale(torch.ones(()))
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
    else:
        step_unless(optimizer, torch.tensor(True))
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    step_unless(optimizer, torch.tensor(False))
    assert not all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_an_orthogonal_direction_has_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 24), (24, 8), (8, 24), (16, 16)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6
        assert values.max() < 1.3
        assert (u.T @ found @ vh.T).diagonal().min() > 0.6  # the singular vectors are the same
        torch.testing.assert_close(orthogonal([matrix])[0], found)  # alone as in a stack


@pytest.mark.parametrize(("iterations", "error"), [(3, 0.28), (4, 0.02), (6, 1e-4)])
def test_few_polynomials_that_are_the_best_do_as_well(iterations: int, error: float) -> None:
    generator = torch.Generator().manual_seed(0)
    polynomials = best_polynomials(iterations)
    for shape in ((24, 24), (24, 96), (96, 24)):
        u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
        values = torch.linspace(0.035, 1, 24)  # after division by their norm, the lowest is 0.012
        found = orthogonal([(u * values) @ vh], polynomials)[0]
        assert (torch.linalg.svdvals(found) - 1).abs().max() < error
        # Many small products and few large ones compute the same.
        stack = ((u * values) @ vh / values.norm())[None]
        one, other = _by_square(stack, polynomials), _by_steps(stack, polynomials)
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_products_in_16_bits_take_nearly_the_same_steps() -> None:
    matrix = torch.randn(48, 96, generator=torch.Generator().manual_seed(0))
    exact, rounded = (orthogonal([matrix], products=dtype)[0] for dtype in (torch.float32, torch.bfloat16))
    assert (exact - rounded).norm() / exact.norm() < 0.05


def test_muon_takes_the_steps_of_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in ((8, 24), (24, 8), (8, 24))] for _ in range(2))
    groups = [{"params": ours, "kind": "matrix", "weight_decay": 0.1, "maps": [[len(p)] for p in ours]}]
    optimizer = Muon(groups, lr=0.02, betas=(0.9, 0.95))
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True)
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        optimizer.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):  # five steps of 0.02, and torch multiplies in bf16
        torch.testing.assert_close(one, other, atol=5 * 0.02 * 0.02, rtol=0)


def test_muon_splits_queries_keys_and_values() -> None:
    config = TrainConfig(learning_rate=0.02, optimizer=OptimizerConfig("muon"), weight_decay=0.0)
    model = GPT(CONFIG, 1)
    optimizer = make_optimizer(model, config)
    weight = model.blocks[0].attention.qkv.weight
    before = weight.detach().clone()
    tokens = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(0))
    model(tokens, tokens).backward()
    gradient = weight.grad.clone()
    optimizer.step()
    change = (weight.detach() - before) / -0.02
    for part, own in zip(change.split(16), gradient.split(16), strict=True):
        torch.testing.assert_close(part, orthogonal([own])[0], atol=1e-3, rtol=1e-3)
