"""In which precision training computes: the one that the processor has instructions for."""

import pytest
import torch

from palier.adapters.torch_precision import autocast, fast_dtype


@pytest.mark.parametrize(
    ("instructions", "dtype"),
    [({"avx2": True}, torch.float32), ({"amx_bf16": True}, torch.bfloat16), ({"avx512_bf16": True}, torch.bfloat16)],
)
def test_bfloat16_is_used_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert fast_dtype() is dtype
    layer = torch.nn.Linear(8, 8)
    with autocast():
        product = layer(torch.ones(2, 8))
    product.sum().backward()
    assert product.dtype is dtype
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype is torch.float32
