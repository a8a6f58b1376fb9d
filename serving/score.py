"""POST /v1/score: the release's scorer for other systems: how likely is it that an answer is right?

No rung is asked and nothing is searched: the caller brings question, answer and, if there are any, passages. The head
for answers from elsewhere judges, which has seen none of the signals that only our own rungs give; what it saw comes
back beside the probability. The price: it knows less than the scorer that the cascade asks.
"""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from palier.domain.answering import Citation, Hit, Question, RungAnswer
from palier.domain.documents import Lang, Passage
from palier.domain.language import detect_language
from palier.domain.prompting import best_sentence, n_shared_words
from palier.domain.scoring import ANY_RUNG, OWN_SIGNALS
from palier.errors import NotReadyError
from serving.answers import choose_seat, whole
from serving.auth import Key
from serving.conversation import MAX_QUESTION_CHARS
from serving.desk import Call
from serving.problems import BadRequestProblem, ErrorBody
from serving.releases import Release
from serving.state import GatewayPart

router = APIRouter(prefix="/v1", tags=["score"])
MAX_PASSAGES = 50
MAX_PASSAGE_CHARS = 20_000


class ScoreRequest(BaseModel):
    """``language`` is detected where it is not given. An empty ``answer`` means that the system had none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "question": "When are you open on Sunday?",
                    "passages": ["The Canal Street restaurant is open on Sunday from 12:00 to 22:30."],
                    "answer": "from 12:00 to 22:30",
                }
            ]
        }
    )
    question: str = Field(min_length=1, max_length=MAX_QUESTION_CHARS)
    passages: list[str] = Field(default_factory=list, max_length=MAX_PASSAGES)
    answer: str = Field(max_length=MAX_PASSAGE_CHARS)
    language: Lang | None = None


class ScoreAnswer(BaseModel):
    """``probability`` (0..1) that the answer is acceptable; ``features`` are the numbers that it rests on."""

    object: Literal["score"] = "score"
    release_id: str
    language: Lang
    probability: float
    features: dict[str, float]


@router.post(
    "/score",
    responses={status: {"model": ErrorBody} for status in (400, 401, 503)},
    summary="Estimate whether an answer is right",
)
async def score_answer(body: ScoreRequest, response: Response, gateway: GatewayPart, key: Key) -> ScoreAnswer:
    """Calibrated on answers to the release's golden questions; about 5 ms."""
    for place, text in enumerate(body.passages):
        if not text.strip() or len(text) > MAX_PASSAGE_CHARS:
            raise BadRequestProblem(
                f"passages[{place}] has {len(text)} characters; it must say something, in at most {MAX_PASSAGE_CHARS}.",
                param="passages",
            )
    question = Question(body.question, body.language or detect_language(body.question))
    release = choose_seat(gateway.releases.served, key.key_id, rung=None).champion
    probability, features = await gateway.desk.run(Call(lambda: _judged(release, question, body)))
    response.headers["x-palier-release"] = release.manifest.release_id
    return ScoreAnswer(
        release_id=release.manifest.release_id,
        language=question.lang,
        probability=probability,
        features={name: value for name, value in features.items() if name not in OWN_SIGNALS},
    )


def _judged(release: Release, question: Question, body: ScoreRequest) -> tuple[float, dict[str, float]]:
    hits = [Hit(_passage(place, text, question.lang), 0.0) for place, text in enumerate(body.passages)]
    answer = body.answer.strip()
    said = RungAnswer(ANY_RUNG, answer, _citations(answer, hits))
    try:
        return release.scorer.explain(question, hits, said, ())
    except KeyError as error:
        raise NotReadyError(
            "This release's scorer was made before answers from elsewhere could be scored. Run `palier train-scorer` "
            "and release again."
        ) from error


def _citations(answer: str, hits: list[Hit]) -> tuple[Citation, ...]:
    """The sentence of all passages that shares most words with ``answer``; none for no answer or no passages."""
    if not answer or not hits:
        return ()
    quotes = [(hit, best_sentence(hit.passage.text, answer)) for hit in hits]
    hit, quote = max(quotes, key=lambda pair: n_shared_words(pair[1], answer))
    return (Citation(hit.passage.passage_id, hit.passage.document_id, quote),)


def _passage(place: int, text: str, lang: Lang) -> Passage:
    name = f"given#{place}"
    return Passage(name, name, lang, "", "", whole(text), 1, 1 + text.count("\n"))
