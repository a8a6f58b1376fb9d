"""An exam for a writer: exercises whose evidence a reader pointed to, what it wrote, and how good that is.

The same tasks go to the model in torch (between steps of a training) and to its GGUF files in llama.cpp (to choose how
far they may be rounded). Knows nothing of how either was made. A text without a clue to its language counts as being in
the question's: a date is as French as it is English.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from palier.adapters.writer_rows import RowMaker
from palier.adapters.writer_rung import STOP, LlamaCpp
from palier.domain.language import detect_language
from palier.domain.prompting import said_of
from palier.domain.text_metrics import best_f1, no_answer_f1
from palier.domain.writing_tasks import WritingTask

if TYPE_CHECKING:
    from peft import PeftModel

BATCH = 16
MAX_F1_LOSS = 0.005
_REPEATED = re.compile(r"\b(\w+(?: \w+){0,3})(?: \1){2,}\b", re.IGNORECASE)


def replies_of_torch(model: "PeftModel", rows: RowMaker, tasks: Sequence[WritingTask], max_tokens: int) -> list[str]:
    """The greedy reply to each task, up to the end of its line."""
    prompts = [rows.prompt(task) for task in tasks]
    order = sorted(range(len(tasks)), key=lambda i: len(prompts[i]))
    replies = [""] * len(tasks)
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        for i, reply in zip(part, _generate(model, rows, [prompts[i] for i in part], max_tokens), strict=True):
            replies[i] = reply
    return replies


def replies_of_llama(model: LlamaCpp, tasks: Sequence[WritingTask], max_tokens: int) -> list[str]:
    """The reply to each task as it would be served. Raises ModelEndpointError as `LlamaCpp.chat` does."""
    replies = [model.chat(task.messages(), max_tokens, STOP) for task in tasks]
    return [reply["choices"][0]["message"]["content"] or "" for reply in replies]


def smallest_good(f1: Mapping[str, float]) -> str:
    """Which of the roundings in ``f1`` (mean F1 of each, smallest file first) to keep: the smallest that loses less
    than MAX_F1_LOSS against the last.
    """
    finest = list(f1.values())[-1]
    return next(name for name, value in f1.items() if finest - value < MAX_F1_LOSS)


@dataclass(frozen=True, slots=True)
class _Graded:
    task: WritingTask
    said: str

    @property
    def f1(self) -> float:
        return best_f1(self.said, self.task.answers, self.task.lang) if self.said and self.task.answers else 0.0

    @property
    def is_in_language(self) -> bool:
        return detect_language(self.said, default=self.task.lang) == self.task.lang


def exam_metrics(tasks: Sequence[WritingTask], replies: Sequence[str]) -> dict[str, float]:
    """Per language: `f1` (of answerable tasks, silence counts 0), `share_answered` (of them), `no_answer_f1` (of all),
    `in_language` (of what was answered); over all also `f1`, `quality` (F1, or 1 for a right silence) and `repeats`.
    """
    graded = [_Graded(task, said_of(reply)) for task, reply in zip(tasks, replies, strict=True)]
    metrics: dict[str, float] = {}
    for lang in sorted({task.lang for task in tasks}):
        own = [item for item in graded if item.task.lang == lang]
        metrics |= {f"{name}.{lang}": value for name, value in _language_metrics(own).items()}
    metrics["f1"] = _mean([item.f1 for item in graded if item.task.answers])
    metrics["quality"] = _mean([item.f1 if item.task.answers else float(not item.said) for item in graded])
    metrics["repeats"] = _mean([float(bool(_REPEATED.search(item.said))) for item in graded])
    return metrics


def _language_metrics(graded: Sequence[_Graded]) -> dict[str, float]:
    answerable = [item for item in graded if item.task.answers]
    return {
        "f1": _mean([item.f1 for item in answerable]),
        "share_answered": _mean([float(bool(item.said)) for item in answerable]),
        "no_answer_f1": no_answer_f1([not item.said for item in graded], [not item.task.answers for item in graded]),
        "in_language": _mean([float(item.is_in_language) for item in graded if item.said]),
    }


def _generate(model: "PeftModel", rows: RowMaker, prompts: Sequence[tuple[int, ...]], max_tokens: int) -> list[str]:
    longest = max(len(prompt) for prompt in prompts)
    end = int(rows.tokenizer.eos_token_id)
    ids = torch.full((len(prompts), longest), end)
    mask = torch.zeros_like(ids)
    for i, prompt in enumerate(prompts):
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
        mask[i, longest - len(prompt) :] = 1
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, pad_token_id=end
        )
    texts = rows.tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
    return [text.split(STOP[0])[0] for text in texts]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
