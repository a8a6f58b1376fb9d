"""In which precision torch computes here: bfloat16 where the processor multiplies it, single precision elsewhere.

With the instructions (AMX, AVX-512 BF16) a training step in bfloat16 takes 40 % of the time of one in single precision;
without them torch emulates it, and the same step takes ten times as long or more. Where only products are taken in it
(`autocast`), weights and sums stay in single precision.
"""

import torch

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def fast_dtype() -> torch.dtype:
    """`torch.bfloat16` where the processor has instructions for it, else `torch.float32`."""
    has = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(has.get(name, False) for name in _INSTRUCTIONS) else torch.float32


def autocast() -> torch.autocast:
    """A context in which matrix products are taken in `fast_dtype`."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_dtype() is torch.bfloat16)
