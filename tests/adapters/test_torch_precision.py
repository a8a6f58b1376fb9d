import torch

from palier.adapters.torch_precision import autocast, fast_dtype


def test_products_are_taken_in_the_fast_type_and_weights_stay_single() -> None:
    layer = torch.nn.Linear(8, 8)
    with autocast():
        product = layer(torch.ones(2, 8))
    product.sum().backward()
    assert product.dtype is fast_dtype()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype is torch.float32
