"""`palier bench economy`: what the ways of saving on prompts save, and what they lose, with a real small model.

    palier bench economy --data QA.jsonl.gz --lang en --max-questions 40 --out FILE.json

The catalogue's writer stands behind an endpoint on loopback and is asked as a heavy rung is (same prompt, same
passages, same reading of the reply, tokens times a price list). Each option is held against the same questions asked
in the plain way: `passages_N` reads the N passages of the article that share most rare words with the question, `short
prompt` says less, `batch_N` puts N questions and their first passages into one prompt (`palier ask --batch`), `cache`
asks everything twice in another spelling. `saving` is a share of the plain way's cost, `change_f1` a paired mean with
its interval. The price: a model of 135 million parameters loses more on long or joined prompts than larger ones do, so
a loss here is an upper bound for those; savings follow from token counts and carry over.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import openai
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from bench.report import QaRow, Report, every, metric, read_qa
from palier.adapters.catalogue import resolve
from palier.adapters.heavy_rung import HeavyRung
from palier.adapters.writer_rung import LlamaCpp
from palier.domain.answering import Attempt, Climb, Hit, Question, Rung, RungAnswer
from palier.domain.concatenation import joined, shared_cost, taken_apart
from palier.domain.documents import Passage
from palier.domain.text_metrics import best_f1
from palier.errors import InputError
from palier.params import HeavyRung as HeavyRungParams
from palier.params import load_params
from palier.settings import repository_root
from serving.answer_cache import AnswerCache, cache_key

WRITER = "smollm2-135m-instruct"
PLAIN = "passages_3"
SHORT_PROMPT = "Answer briefly from the passages."
PRICE = {"input_usd_per_million": 0.15, "output_usd_per_million": 0.6, "date": date(2024, 7, 18)}
N_BATCH = 4


@dataclass(frozen=True)
class Asked:
    """A question, its gold answers, and the passages of its article, best first."""

    question: Question
    answers: tuple[str, ...]
    hits: Sequence[Hit]


def run(data: Sequence[Path], out: Path, *, lang: str = "en", max_questions: int = 40, seed: int = 7) -> dict[str, Any]:
    """Measure and write the JSON; InputError without answerable questions of ``lang``."""
    rng = np.random.default_rng(seed)
    report = Report("economy", {"lang": lang, "max_questions": max_questions, "seed": seed, "model": WRITER})
    rows = [row for path in data for row in read_qa(path)]
    for path in data:
        report.add_data(path, len(rows))
    asked = chosen_questions([row for row in rows if row.lang == lang], max_questions, rng)
    with run_model(LlamaCpp(next(resolve(WRITER).glob("*.gguf")))) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=300)
        answers = _all_options(client, asked)
    return report.write(out, {"plain": PLAIN, "options": summary(asked, answers, rng)})


def chosen_questions(rows: Sequence[QaRow], n: int, rng: np.random.Generator) -> list[Asked]:
    """``n`` answerable questions, each with its article's passages ranked by shared words, rare ones first."""
    passages: dict[str, dict[str, QaRow]] = {}
    for row in rows:
        passages.setdefault(row.title, {})[row.passage_id] = row
    usable = [row for row in rows if row.answerable and row.question and row.answers]
    if not usable:
        raise InputError("No answerable question of this language: name a QA file that has some (--lang).")
    drawn = rng.permutation(len(usable))[:n]
    return [_asked(usable[place], list(passages[usable[place].title].values())) for place in drawn]


def _asked(row: QaRow, article: Sequence[QaRow]) -> Asked:
    bags = [set(one.context.casefold().split()) for one in article]
    spread = Counter(word for bag in bags for word in bag)
    words = set(row.question.casefold().strip("?").split())
    scores = [sum(math.log(1 + len(bags) / spread[word]) for word in words & bag) for bag in bags]
    order = np.argsort([-score for score in scores], kind="stable")
    lang = "fr" if row.lang == "fr" else "en"
    hits = [
        Hit(Passage(one.passage_id, one.title, lang, one.title, "", one.context, 1, 1), scores[place])
        for place in order[:3]
        for one in [article[place]]
    ]
    return Asked(Question(row.question, lang), row.answers, hits)


def _all_options(client: openai.OpenAI, asked: Sequence[Asked]) -> dict[str, list[RungAnswer]]:
    prompt = load_params(repository_root() / "params.yaml").prompt
    plain = {
        PLAIN: _rung(client, prompt, 3),
        "passages_2": _rung(client, prompt, 2),
        "passages_1": _rung(client, prompt, 1),
        "passages_1_short_prompt": _rung(client, SHORT_PROMPT, 1),
    }
    answers = {
        name: [rung.answer(one.question, one.hits) for one in every(asked, len(asked), name, 10)]
        for name, rung in plain.items()
    }
    groups = [asked[start : start + N_BATCH] for start in range(0, len(asked), N_BATCH)]
    batch = _rung(client, prompt, N_BATCH)
    answers[f"passages_1_batch_{N_BATCH}"] = [
        answer for group in every(groups, len(groups), "batches", 5) for answer in asked_together(batch, group)
    ]
    answers["cache"] = _asked_again(asked, answers[PLAIN])
    return answers


def asked_together(rung: Rung, group: Sequence[Asked]) -> list[RungAnswer]:
    """One call for all of ``group``; what the reply leaves out is no answer here, and would be asked again."""
    hits = list({one.hits[0].passage.passage_id: one.hits[0] for one in group}.values())
    together = Question(joined([one.question.text for one in group]), group[0].question.lang)
    reply = rung.answer(together, hits)
    parts = taken_apart(reply.text, len(group))
    costs = shared_cost(reply.cost_nanousd, len(group))
    return [RungAnswer(rung.name, part or "", cost_nanousd=cost) for part, cost in zip(parts, costs, strict=True)]


def _asked_again(asked: Sequence[Asked], first: Sequence[RungAnswer]) -> list[RungAnswer]:
    """What the gateway's cache gives for the same questions in capitals: all free, or something is wrong."""
    cache, again = AnswerCache(), []
    for one, answer in zip(asked, first, strict=True):
        attempt = Attempt(answer, 1.0, accepted=True)
        climb = Climb((attempt,), attempt, abstained=not answer.text)
        cache.put(cache_key("r", None, one.question, one.hits), climb, len(asked))
    for one in asked:
        shouted = Question(f" {one.question.text.upper()} ", one.question.lang)
        found = cache.get(cache_key("r", None, shouted, one.hits))
        again.append(found.final.answer if found else RungAnswer("cache", ""))
    return again


def _rung(client: openai.OpenAI, prompt: str, n_passages: int) -> HeavyRung:
    told = {"kind": "heavy", "provider": "openai", "model": WRITER, "max_new_tokens": 40 * max(1, n_passages - 2)}
    params = HeavyRungParams.model_validate({**told, "passages": n_passages, "price": PRICE})
    return HeavyRung("heavy", client, params, prompt=prompt)


def summary(
    asked: Sequence[Asked], answers: Mapping[str, Sequence[RungAnswer]], rng: np.random.Generator
) -> dict[str, Any]:
    """F1, saving and paired change of each option against the plain way."""

    def scores(name: str) -> list[float]:
        pairs = zip(asked, answers[name], strict=True)
        return [best_f1(answer.text, one.answers, one.question.lang) if answer.text else 0.0 for one, answer in pairs]

    base, paid = scores(PLAIN), sum(answer.cost_nanousd for answer in answers[PLAIN])
    options = {}
    for name, given in answers.items():
        own = scores(name)
        cost = sum(answer.cost_nanousd for answer in given)
        options[name] = {
            "f1": metric(own, rng),
            "change_f1": metric([new - old for new, old in zip(own, base, strict=True)], rng),
            "saving": round(1 - cost / max(1, paid), 4),
            "cost_nanousd_per_question": round(cost / len(given), 1),
            "silent": sum(not answer.text for answer in given),
        }
    return options


@contextmanager
def run_model(model: LlamaCpp) -> Iterator[str]:
    """OpenAI's chat route over a local model, on a free port."""
    app = FastAPI(openapi_url=None)

    @app.post("/v1/chat/completions", response_model=None)
    async def complete(request: Request) -> Response:
        body = await request.json()
        return JSONResponse(await anyio.to_thread.run_sync(model.chat, body["messages"], body["max_tokens"]))

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
