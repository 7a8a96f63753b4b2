"""A model's weights in layouts that are fast for generation.

With few rows, the time of a matrix product is the time to read its weights, and a CPU reads the
layout of training slowly. `pack` returns a twin of a model: it has the same embeddings and norms,
but each linear layer is replaced by one with the layout of its kernel. The twin generates and
evaluates; it is not for training or saving.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.model.gpt import GPT
from gpt_research.model.parts.feed_forward import MLP

Weights = Literal["same", "int8"]


def pack(model: GPT, runtime: Runtime, weights: Weights = "same", *, rows: int = 1, use_up: bool = False) -> GPT:
    """Return a twin of `model` in the runtime's precision, laid out for `rows` texts at a time.

    Any layout works for any number of rows; only the speed differs. On an x86 CPU, fp16 means
    weights in 16 bits and arithmetic in 32. `weights="int8"` gives each output a scale of its own
    and rounds activations at run time.

    Args:
        use_up: take each matrix out of `model` once the twin has it, so that memory holds all of
            them once; `model` is of no use afterwards.

    Raises:
        UserError: `weights` is int8, and this machine has no kernel for that.
    """
    on_cpu = runtime.device.type == "cpu"
    x86 = on_cpu and "x86" in torch.backends.quantized.supported_engines
    if weights == "int8":
        if not (x86 and hasattr(torch, "quantize_per_channel")):
            raise UserError(
                f"weights is int8, but PyTorch {torch.__version__} has no kernel for that here "
                f"({runtime.device_name}): it needs an x86 CPU. Leave --weights out."
            )
        return _twin(model, Int8Linear, use_up)
    if x86 and runtime.precision == "fp16":
        return _twin(model, HalfLinear, use_up)
    if on_cpu and runtime.precision == "fp32" and rows == torch.get_num_threads() == 1:
        return _twin(model, _for_one_row_and_thread, use_up)
    if on_cpu and _onednn_takes(runtime.precision):
        return _twin(model, lambda linear: _for_few_and_many_rows(linear, runtime.dtype, rows), use_up)
    if runtime.dtype != model.token_embedding.weight.dtype:
        model = (model if use_up else copy.deepcopy(model)).to(runtime.dtype)
    return model


def _onednn_takes(precision: str) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return precision == "fp32" or (precision == "bf16" and torch.ops.mkldnn._is_mkldnn_bf16_supported())


Twin = TypeVar("Twin", bound=nn.Module)


def _twin(module: Twin, layout: Callable[[nn.Linear], nn.Module], use_up: bool) -> Twin:
    """Return a copy that shares all tensors, with `layout(layer)` in place of each linear layer."""
    twin = copy.copy(module)
    twin._modules = {}
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            twin._modules[name] = _laid_out(child, layout, use_up)
        elif isinstance(child, MLP) and child.gate is not None:
            twin._modules[name] = GatedMLP(child, lambda linear: _laid_out(linear, layout, use_up), use_up)
        else:
            twin._modules[name] = _twin(child, layout, use_up)
    return twin


def _laid_out(linear: nn.Linear, layout: Callable[[nn.Linear], nn.Module], use_up: bool) -> nn.Module:
    packed = layout(linear)
    if use_up and packed is not linear:
        linear.register_parameter("weight", None)  # a tied embedding keeps the tensor
    return packed


class GatedMLP(nn.Module):
    """A feed-forward network with a gate, in which one layer computes the gate and what it
    multiplies.

    Each call of a packed layer costs as much as reading some hundred thousand weights.
    """

    def __init__(self, mlp: MLP, layout: Callable[[nn.Linear], nn.Module], use_up: bool) -> None:
        super().__init__()
        assert mlp.gate is not None, "it has a gate"
        halves = (mlp.gate, mlp.up)
        with torch.device("meta"):
            both = nn.Linear(mlp.up.in_features, 2 * mlp.up.out_features, bias=mlp.up.bias is not None)
        both.weight = nn.Parameter(torch.cat([half.weight.detach() for half in halves]))
        if mlp.up.bias is not None:
            both.bias = nn.Parameter(torch.cat([half.bias.detach() for half in halves]))
        if use_up:
            for half in halves:
                half.register_parameter("weight", None)
        self.activation, self.both, self.down = mlp.activation, layout(both), layout(mlp.down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.both(x).chunk(2, -1)
        y: torch.Tensor = self.down(self.activation(gate) * up)
        return y


def _for_one_row_and_thread(linear: nn.Linear) -> nn.Module:
    return linear if linear.in_features > linear.out_features else TransposedLinear(linear)


class TransposedLinear(nn.Module):
    """A linear layer with weights (in, out), which one thread reads fastest for one row.

    It is for layers that widen; if a layer narrows, the usual layout is as fast.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight.detach().t().contiguous()
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


def padded_rows(rows: int) -> int:
    """Return to how many rows a product is padded.

    oneDNN compiles a kernel for each number of rows that it meets. That takes as long as the
    product of some hundred rows, and half a megabyte, which is kept. So the numbers are few: all up
    to 32, as batches have them, and eight between a power of 2 and the next, which are multiples of
    32 in the end.
    """
    if rows <= 32:
        return rows
    step = min(32, 1 << (rows - 1).bit_length() - 4)
    return -(-rows // step) * step


class BlockedLinear(nn.Module):
    """A linear layer in the block layout of oneDNN that fits this number of rows and threads.

    Its products are in the type of its weights. Everything else stays in fp32, because on a CPU
    attention over keys and values in bf16 is several times as slow as in fp32.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, rows: int) -> None:
        super().__init__()
        self.dtype = dtype
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype), min(rows, 16))
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.numel() // x.size(-1)
        more = padded_rows(rows) - rows
        padded = F.pad(x.reshape(rows, -1), (0, 0, 0, more)) if more else x
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            padded.to(self.dtype), self.weight, self.bias, "none", [], ""
        ).to(x.dtype)
        return y[:rows].view(*x.shape[:-1], -1) if more else y


FEW_PRODUCTS = 1 << 19
"""Multiplications that take less time than a call of oneDNN: some 15 microseconds."""


def _for_few_and_many_rows(linear: nn.Linear, dtype: torch.dtype, rows: int) -> nn.Module:
    small = linear.weight.numel() <= FEW_PRODUCTS
    return SmallLinear(linear, dtype, rows) if small else BlockedLinear(linear, dtype, rows)


class SmallLinear(nn.Module):
    """A `BlockedLinear` that takes the plain product while the rows are so few that this is faster.

    The plain product has the roundings of the other: of its input, its weights and its output, and
    sums in fp32.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, rows: int) -> None:
        super().__init__()
        self.blocked = BlockedLinear(linear, dtype, rows)
        self.plain = TransposedLinear(copy.deepcopy(linear).to(dtype).float())
        self.few = FEW_PRODUCTS // linear.weight.numel()
        self.is_rounded = dtype != torch.float32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() > self.few * x.size(-1):
            y: torch.Tensor = self.blocked(x)
        elif self.is_rounded:
            y = self.plain(x.to(self.blocked.dtype).float()).to(self.blocked.dtype).to(x.dtype)
        else:
            y = self.plain(x)
        return y


class HalfLinear(nn.Module):
    """A linear layer with weights in fp16 and everything else in fp32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach(), linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(x, self.weight)


class Int8Linear(nn.Module):
    """A linear layer with int8 weights, scaled by output, and 8-bit activations, scaled by row.

    The scales of rows keep rows independent of their batch. On a CPU without VNNI, activations get
    7 bits, because such a CPU adds pairs of products in 16 bits, which 8-bit activations would
    overflow.
    """

    STEPS = 127 if torch.cpu.get_capabilities().get("avx512_vnni") else 63
    """Steps of the rounding between 0 and a row's largest number."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scales = weight.abs().amax(1).clamp(min=1e-12).double() / 127
        zeros = torch.zeros(len(scales), dtype=torch.long)
        with warnings.catch_warnings():  # PyTorch warns that it will remove quantized tensors
            warnings.simplefilter("ignore")
            quantized = torch.quantize_per_channel(weight, scales, zeros, axis=0, dtype=torch.qint8)
        self.weight = torch.ops.quantized.linear_prepack(quantized, None)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest = torch.linalg.vector_norm(x, torch.inf, -1, keepdim=True).clamp_(min=1e-12)
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        # The zero point is STEPS + 1.
        y = multiply(x / largest, 1 / self.STEPS, self.STEPS + 1, self.weight)
        return y * largest if self.bias is None else torch.addcmul(self.bias, y, largest)
