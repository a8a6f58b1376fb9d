"""Tunes the sentence encoder: each question is pulled to its passage and pushed from the other passages of its batch.

Hard negatives are mined by putting passages that are easily confused into one batch: neighbours by BM25 of their own
questions first, by the encoder itself later. A passage is embedded once per step, with several of its questions, since
questions are ten times cheaper; every other passage of the batch is a negative to all of them. The price: a passage
that would answer as well, and stands in the same batch, is pushed away too.

Arrays are kept small enough for one machine: similarity between all passages is a matrix of n x n in float32.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

from palier.adapters.torch_precision import autocast

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SCALE = 20.0
"""Cosines times this are the logits (Henderson et al. 2017 section 4; the value MiniLM was trained with)."""
NEIGHBOURS = 8
_QUESTION_TOKENS = 64
_PART = 8  # texts that go through the encoder together
_BM25_K1, _BM25_B = 0.9, 0.4

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class TrainingPassage:
    """A passage and the questions it answers; ``questions`` may be translations or headings as well."""

    text: str
    questions: tuple[str, ...]

    def fits(self, question: str) -> bool:
        """Whether it is the passage's own question, or words that stand in it."""
        return question in self.questions or question in self.text


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    """How long and how fast; the rate rises over the first twentieth of the steps, then falls to zero."""

    n_steps: int
    learning_rate: float
    batch_passages: int = 24
    questions_per_passage: int = 3
    seed: int = 7
    n_threads: int = 2


def train_steps(
    model: "SentenceTransformer",
    batches: Iterator[Sequence[TrainingPassage]],
    plan: EncoderPlan,
    after_step: Callable[[int, float], None],
) -> None:
    """Take ``plan.n_steps`` steps over ``batches``; ``after_step`` is told the step's number and loss."""
    torch.set_num_threads(plan.n_threads)
    torch.manual_seed(plan.seed)
    rng = np.random.default_rng((plan.seed, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=0.01)
    model.train()
    without_attention_dropout(model)
    for step, batch in zip(range(plan.n_steps), batches, strict=False):
        optimiser.param_groups[0]["lr"] = plan.learning_rate * _schedule(step, plan.n_steps)
        with autocast():
            loss = contrastive_loss(model, batch, plan.questions_per_passage, rng)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        after_step(step + 1, float(loss.detach()))
    model.eval()


def without_attention_dropout(model: torch.nn.Module) -> None:
    """Switch the dropout of attention off for good: with it attention takes the slow path. That of states stays.

    Without any dropout a step of 24 passages took 4.2 CPU seconds instead of 6.0.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and name.endswith("self.dropout"):
            module.p = 0.0


def _schedule(step: int, n_steps: int) -> float:
    warm_up = max(1, n_steps // 20)
    return min((step + 1) / warm_up, (n_steps - step) / max(1, n_steps - warm_up))


def contrastive_loss(
    model: "SentenceTransformer", batch: Sequence[TrainingPassage], n_questions: int, rng: np.random.Generator
) -> torch.Tensor:
    """Mean cross-entropy of each question's passage among the batch's, and of each passage's questions among all.

    A passage that the question fits as well (two versions of one page may stand in a batch) is no counter-example.
    """
    asked = [
        (row, passage.questions[i])
        for row, passage in enumerate(batch)
        for i in rng.permutation(len(passage.questions))[:n_questions]
    ]
    passages = _embed(model, [passage.text for passage in batch], None)
    questions = _embed(model, [question for _, question in asked], _QUESTION_TOKENS)
    own = torch.tensor([row for row, _ in asked])
    fits = torch.tensor([[passage.fits(question) for passage in batch] for _, question in asked])
    fits[torch.arange(len(asked)), own] = False
    logits = SCALE * questions.float() @ passages.float().T  # (questions, passages)
    logits = logits.masked_fill(fits, -1e4)
    forward = torch.nn.functional.cross_entropy(logits, own)
    is_own = own[None, :] == torch.arange(len(batch))[:, None]  # (passages, questions)
    # A passage's other questions are no counter-examples to it: the likelihood of all its own together counts.
    held = torch.logsumexp(logits.T.masked_fill(~is_own, -torch.inf), 1)
    backward = (torch.logsumexp(logits.T, 1) - held).mean()
    return forward + 0.3 * backward


def _embed(model: "SentenceTransformer", texts: Sequence[str], max_tokens: int | None) -> torch.Tensor:
    """Unit vectors of ``texts``, in parts of like length: padding all of them to the longest costs a third more."""
    features = model.preprocess(list(texts))
    ids, mask = (features[name][:, :max_tokens] for name in ("input_ids", "attention_mask"))
    by_length = mask.sum(1).argsort()
    parts = []
    for rows in by_length.split(_PART):
        longest = int(mask[rows].sum(1).max())
        part = {"input_ids": ids[rows, :longest], "attention_mask": mask[rows, :longest]}
        parts.append(model({**features, **part, "token_type_ids": torch.zeros_like(part["input_ids"])}))
    return torch.cat([part["sentence_embedding"] for part in parts])[by_length.argsort()]


def neighbour_batches(
    similarity: NDArray[np.float32], size: int, rng: np.random.Generator, neighbours: int = NEIGHBOURS
) -> list[list[int]]:
    """Row numbers in batches of ``size``, each made of groups of up to ``neighbours`` that resemble each other.

    ``similarity`` has shape (n, n). Each row occurs once; a last batch of fewer than two rows is dropped.
    """
    free = np.ones(len(similarity), dtype=bool)
    groups: list[list[int]] = []
    for seed in rng.permutation(len(similarity)):
        if not free[seed]:
            continue
        free[seed] = False
        scores = np.where(free, similarity[seed], -np.inf)
        near = [int(i) for i in np.argsort(-scores, kind="stable")[: neighbours - 1] if free[i]]
        free[near] = False
        groups.append([int(seed), *near])
    flat = [row for i in rng.permutation(len(groups)) for row in groups[i]]
    batches = [flat[i : i + size] for i in range(0, len(flat), size)]
    return [batch for batch in batches if len(batch) > 1]


def bm25_scores(questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
    """BM25 of each text for each question, over plain words without accents; shape (questions, texts)."""
    counter = CountVectorizer(strip_accents="unicode", token_pattern=r"\w+")
    counts = csr_matrix(counter.fit_transform(texts), dtype=np.float32)
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    document_frequency = np.asarray((counts > 0).sum(axis=0)).ravel()
    rarity = np.log(1 + (len(texts) - document_frequency + 0.5) / (document_frequency + 0.5))
    norms = _BM25_K1 * (1 - _BM25_B + _BM25_B * lengths / lengths.mean())
    weighted = counts.tocoo()
    weighted.data = rarity[weighted.col] * weighted.data / (weighted.data + norms[weighted.row])
    asked = csr_matrix(counter.transform(questions) > 0, dtype=np.float32)
    return np.asarray((asked @ weighted.tocsr().T).todense(), dtype=np.float32)


def bm25_similarity(passages: Sequence[TrainingPassage]) -> NDArray[np.float32]:
    """How well each passage fits the questions of each other one by BM25; shape (n, n), symmetric."""
    asked = [" ".join(passage.questions) for passage in passages]
    scores = bm25_scores(asked, [passage.text for passage in passages])
    return np.maximum(scores, scores.T)


def own_similarity(model: "SentenceTransformer", passages: Sequence[TrainingPassage]) -> NDArray[np.float32]:
    """Cosines between all passages as the encoder sees them now, float32 of shape (n, n)."""
    model.eval()
    by_length = np.argsort([len(passage.text) for passage in passages], kind="stable")
    vectors = np.zeros((len(passages), model.get_embedding_dimension() or 0), dtype=np.float32)
    with torch.inference_mode(), autocast():
        for start in range(0, len(passages), 32):
            rows = by_length[start : start + 32]
            vectors[rows] = _embed(model, [passages[i].text for i in rows], None).float().numpy()
    model.train()
    return np.asarray(vectors @ vectors.T, dtype=np.float32)
