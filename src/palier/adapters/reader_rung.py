"""The rung that answers with a span of a retrieved passage, or says that no passage holds an answer.

It never writes a word of its own: what it says stands in a passage, and its citation is the sentence, line or block
around it. Cost is the processor time that this thread spent reading.
"""

import time
from collections.abc import Sequence

from palier.adapters.onnx_reader import OnnxReader, Reading
from palier.domain.answering import Citation, Hit, Question, RungAnswer
from palier.domain.money import cpu_cost_nanousd
from palier.domain.spans import quote_around
from palier.domain.text_metrics import normal

NO_SECOND = 10.0  # the gap to a runner-up where there is none


class ReaderRung:
    """Reads the best ``n_passages`` passages; ``name`` is its place on the ladder.

    Margins of different passages compare badly, so a passage's retrieval score counts too: ``retrieval_weight``
    logits for each unit of it.
    """

    def __init__(
        self,
        name: str,
        reader: OnnxReader,
        n_passages: int,
        cpu_usd_per_hour: float,
        retrieval_weight: float = 0.0,
    ) -> None:
        self.name = name
        self._reader = reader
        self._n_passages = n_passages
        self._usd_per_hour = cpu_usd_per_hour
        self._retrieval_weight = retrieval_weight

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        """The best span; an empty text when its margin is below the reader's threshold.

        Signals: `margin` (its spans minus null), `null` (of its passage), `second` (gap to the best reading that says
        something else), all in logits, and `expected_f1` (token F1 to expect of this place, if it answers at all).
        """
        used = hits[: self._n_passages]
        started, busy = time.perf_counter(), time.thread_time()
        found = self._reader.read(question.standalone, [hit.passage.content for hit in used])
        readings = sorted(found, key=lambda reading: -self._belief(reading, used))
        busy, latency = time.thread_time() - busy, time.perf_counter() - started
        best = readings[0] if readings else None
        said = best is not None and best.margin >= self._reader.config.null_threshold
        return RungAnswer(
            rung=self.name,
            text=best.text if best and said else "",
            citations=(_citation(best, used[best.passage_index]),) if best and said else (),
            signals=_signals(readings, question) if best else {},
            cost_nanousd=cpu_cost_nanousd(busy, self._usd_per_hour),
            latency_ms=1000 * latency,
            withheld=(best.text, _citation(best, used[best.passage_index])) if best and not said else None,
        )

    def _belief(self, reading: Reading, used: Sequence[Hit]) -> float:
        return reading.margin + self._retrieval_weight * used[reading.passage_index].score


def _signals(readings: Sequence[Reading], question: Question) -> dict[str, float]:
    best = readings[0]
    said = normal(best.text, question.lang)
    others = [reading.margin for reading in readings[1:] if normal(reading.text, question.lang) != said]
    second = best.margin - others[0] if others else NO_SECOND
    return {
        "margin": best.margin,
        "null": best.null_score,
        "second": second,
        "expected_f1": best.expected_f1,
    }


def _citation(reading: Reading, hit: Hit) -> Citation:
    """The quote stands word for word in the passage's text; an answer in the headings cites the text's first words."""
    passage = hit.passage
    shift = len(passage.content) - len(passage.text)
    start, end = max(0, reading.start - shift), max(0, reading.end - shift)
    return Citation(passage.passage_id, passage.document_id, quote_around(passage.text, start, end))
