"""AdamW decays matrices only, and its state survives a round trip by name."""

import torch

from gpt_research.config import GPTConfig, TrainConfig
from gpt_research.model.gpt import GPT
from gpt_research.training.optimizers import make_optimizer, optimizer_tensors, restore_optimizer

CONFIG = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=50)


def step(model: GPT, optimizer: torch.optim.Optimizer, seed: int) -> None:
    tokens = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(seed))
    model(tokens, tokens).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_norms_and_biases_do_not_decay() -> None:
    model = GPT(CONFIG)
    decayed, free = make_optimizer(model, TrainConfig()).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert {names[id(p)] for p in free["params"]} == {n for n in names.values() if "norm" in n or n.endswith("bias")}
    assert len(decayed["params"]) + len(free["params"]) == len(names)


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
