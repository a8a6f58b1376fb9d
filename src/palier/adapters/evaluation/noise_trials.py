"""The same questions again under noise: what retrieval and rungs together lose by it.

Asks real rungs over real hits, and remembers as `record-outcomes` does, so that a second report asks nothing. A
question is put to the index as it was typed; only padding leaves the question and mixes its hits. The price: so the
loss is of the whole way, and this table does not say whether the search or the reading failed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from palier.adapters.evaluation.answer_measures import Sampling
from palier.adapters.outcome_recorder import Recorder
from palier.domain.answering import AskedQuestion, Hit, Retriever, Rung
from palier.domain.bootstrap import Interval
from palier.domain.noise import NOISES, Noise, noisy_question, padded

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class UnderNoise:
    """One rung under one noise, on answerable questions. ``change`` is of F1, paired with the clean questions."""

    f1: Interval
    share_answered: Interval
    change: Interval
    n_changed: int
    """Questions (or lists of passages) that the noise could touch at all."""


@dataclass(frozen=True)
class NoiseTrials:
    """What noise is made of, and over what."""

    retriever: Retriever
    k: int
    typo_share: float
    sampling: Sampling

    def noisy(self, asked: Sequence[AskedQuestion], noise: Noise) -> list[AskedQuestion]:
        """``asked`` under ``noise``, with what is retrieved for them then."""
        pool = [hit for item in asked for hit in item.hits]
        return [self._noisy_one(item, noise, pool) for item in asked]

    def _noisy_one(self, item: AskedQuestion, noise: Noise, pool: Sequence[Hit]) -> AskedQuestion:
        digest = hashlib.sha256(f"{noise}:{item.row['id']}".encode()).digest()
        rng = np.random.default_rng([self.sampling.seed, *digest[:8]])
        if noise == "padding":
            return replace(item, hits=padded(item.hits, pool, rng)[: self.k])
        question = noisy_question(item.question, noise, self.typo_share, rng)
        hits = item.hits if question == item.question else self.retriever.search(question, self.k)
        return replace(item, question=question, hits=hits)

    def measure(
        self,
        rungs: Sequence[Rung],
        asked: Sequence[AskedQuestion],
        recorder: Recorder,
        progress: Progress,
    ) -> dict[str, dict[str, UnderNoise]]:
        """Each rung under each noise; the clean answers are asked too where they are not remembered.

        Nothing where nothing is asked.
        """
        if not asked:
            return {}
        clean = {rung.name: pd.DataFrame(recorder.record(rung, asked, progress)) for rung in rungs}
        found: dict[str, dict[str, UnderNoise]] = {rung.name: {} for rung in rungs}
        for noise in NOISES:
            noisy = self.noisy(asked, noise)
            n_changed = sum(one != other for one, other in zip(asked, noisy, strict=True))
            for rung in rungs:
                rows = pd.DataFrame(recorder.record(rung, noisy, _under_name(progress, noise)))
                found[rung.name][noise] = self._under(rows, clean[rung.name], n_changed)
        return found

    def _under(self, rows: pd.DataFrame, clean: pd.DataFrame, n_changed: int) -> UnderNoise:
        change = rows["correct"].to_numpy() - clean["correct"].to_numpy()
        intervals = [self.sampling.mean(values) for values in (rows["correct"], rows["answer"] != "", change)]
        f1, share, difference = [interval for interval in intervals if interval is not None]
        return UnderNoise(f1, share, difference, n_changed)


def _under_name(progress: Progress, noise: str) -> Progress:
    """``progress`` that says which noise it is."""
    return lambda done, total, what: progress(done, total, f"{what}, {noise}")


def chosen_for_noise(asked: Sequence[AskedQuestion], n: int) -> list[AskedQuestion]:
    """About ``n`` answerable questions, the languages alike: those with the smallest hashes, always the same ones."""
    answerable = [item for item in asked if item.row["answers"]]
    langs = sorted({item.question.lang for item in answerable})
    chosen = []
    for lang in langs:
        of_lang = [item for item in answerable if item.question.lang == lang]
        of_lang.sort(key=lambda item: hashlib.sha256(str(item.row["id"]).encode()).digest())
        chosen += of_lang[: max(1, n // len(langs))]
    return chosen
