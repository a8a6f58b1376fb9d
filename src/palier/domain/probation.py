"""Whether a rung may stay on the ladder, judged on a few questions of each language before it is asked the rest.

Pure. A slow rung that knows one language must not cost a run of the other, and must not be offered there: what a
verdict leaves out in French is simply not recorded for French questions, and a cascade passes it over there. The
price: a rung that is only just too weak may stay, since the upper bound of its quality decides; it counts one more
question with the best possible answer, so that a few wrong answers in a row are no proof.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from palier.domain.answering import AskedQuestion
from palier.domain.cascade.guarantee import lower_bound
from palier.domain.documents import Lang


def on_probation(asked: Sequence[AskedQuestion], lang: Lang, n: int) -> list[AskedQuestion]:
    """The ``n`` validation questions of ``lang`` with the smallest hashes: always the same ones, nobody's choice."""
    candidates = [item for item in asked if item.row["split"] == "validation" and item.question.lang == lang]
    return sorted(candidates, key=lambda item: hashlib.sha256(item.row["id"].encode()).digest())[:n]


def reason_to_leave_out(qualities: Sequence[float], least: float) -> str | None:
    """Why a rung is left out: even the upper 95 % bound of its mean quality is below ``least``; None when it is not.

    Without a question there is no reason.
    """
    if not qualities:
        return None
    values = np.asarray(qualities, dtype=np.float64)
    mean, upper = float(values.mean()), -lower_bound(-values, alpha=0.05)
    if upper >= least:
        return None
    return f"mean quality {mean:.2f}, at most {upper:.2f} on {len(qualities)} questions, < {least}"
