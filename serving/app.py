"""The gateway: `uvicorn --factory serving.app:create_app`.

The one place where its parts are made and joined. Starts without a release, without Elasticsearch and
without MLflow: /livez answers at once, and /readyz says what is missing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from palier.adapters.records import Records
from palier.adapters.runtime import load_release
from palier.settings import Settings
from serving import admin, chat, embeddings, feedback, health, models, problems, score, search, usage
from serving.answer_cache import AnswerCache
from serving.auth_cache import KeyCache
from serving.desk import Desk, Limits, SharedCall
from serving.envelope import Envelope
from serving.metrics import Metrics
from serving.releases import Load, ReleaseStore
from serving.rollout import RolloutWatch, ShadowQueue
from serving.state import Gateway, LifespanState

DESCRIPTION = """Answers from your documents, in OpenAI's protocol: point the `openai` client at `/v1`.

Each answer carries a `palier` object: which rung answered, what it cost, what it rests on. Savings are
estimates: they compare with the mean cost of the dearest rung, as it was recorded."""


def create_app(settings: Settings | None = None, *, load: Load = load_release, limits: Limits | None = None) -> FastAPI:
    """The app; ``load`` turns a bundle into a release (other ways of making one can be put in its place)."""
    metrics = Metrics()
    app = FastAPI(
        title="Palier",
        version="1",
        description=DESCRIPTION,
        responses={"default": {"model": problems.ErrorBody, "description": "An error, in OpenAI's shape."}},
        lifespan=_lifespan(settings or Settings(), load, limits or Limits(), metrics),
    )
    app.add_middleware(Envelope, metrics=metrics)
    problems.install(app)
    for module in (chat, models, search, score, embeddings, feedback, usage, health, admin):
        app.include_router(module.router)
    return app


def _lifespan(
    settings: Settings, load: Load, limits: Limits, metrics: Metrics
) -> Callable[[FastAPI], AbstractAsyncContextManager[LifespanState]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[LifespanState]:
        records = await asyncio.to_thread(Records, settings.database_url)
        releases = ReleaseStore(records, load, settings, metrics)
        desk = Desk(limits, metrics)
        shadows = ShadowQueue(records, desk, metrics, limits.shadow_queue)
        watch = RolloutWatch(records, releases)
        for part in (releases, shadows, watch):
            part.start()
        try:
            keys, answers = KeyCache(records), AnswerCache()
            yield {"gateway": Gateway(settings, records, releases, shadows, desk, SharedCall(), keys, metrics, answers)}
        finally:
            for part in (watch, shadows, releases):
                await asyncio.to_thread(part.stop)
            await asyncio.to_thread(desk.close)
            await asyncio.to_thread(records.close)

    return lifespan
