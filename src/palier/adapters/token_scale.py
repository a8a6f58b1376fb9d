"""A scale for each token before int8: linear layers that bring each token's state to [-1, 1] and its result back.

int8 at run time has one scale for all activations of a text, so the largest number of its loudest token decides how
coarsely all others are rounded; behind GELU and LayerNorm of BERT that number is ten times the usual one. Scaled token
by token the product is the same in float, and the quantiser, which sees only the matrix product in the middle, rounds
each token by its own largest number. Vector-wise scales are LLM.int8()'s (Dettmers et al. 2022, section 3.1).

Knows torch's linear layers by name and no model. The price: an elementwise division before each product and one
multiplication behind it, a tenth of the reader's time in all.
"""

import copy

from torch import Tensor, nn

SCALED = ("query", "key", "value", "intermediate.dense", "output.dense")
UNSCALED = "attention.output.dense"  # what it reads are means of values: no token is loud there
_SMALLEST = 1e-6  # of a token's largest number: an empty state must not be divided by 0


class TokenScaled(nn.Module):  # type: ignore[misc] # torch comes without types here
    """What ``linear`` computes, with its input divided by each token's largest number; (..., in) to (..., out)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, states: Tensor) -> Tensor:
        largest = states.abs().amax(-1, keepdim=True).clamp(min=_SMALLEST)  # (..., 1)
        return nn.functional.linear(states / largest, self.linear.weight) * largest + self.linear.bias


def scaled_by_token(model: nn.Module) -> nn.Module:
    """A copy of ``model`` whose attention projections and feed-forward layers are `TokenScaled`; same outputs."""
    scaled = copy.deepcopy(model)
    for name, module in list(scaled.named_modules()):
        if isinstance(module, nn.Linear) and name.endswith(SCALED) and not name.endswith(UNSCALED):
            parent, _, own = name.rpartition(".")
            setattr(scaled.get_submodule(parent), own, TokenScaled(module))
    return scaled
