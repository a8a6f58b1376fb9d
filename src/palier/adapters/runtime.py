"""From a bundle on disk to something that answers: every file checked, every model loaded, one object back.

The gateway and `evaluate-release` use this same door, so that what was measured is what is served. Loads ONNX, GGUF,
JSON only: nothing in a bundle can execute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elasticsearch import Elasticsearch
from pydantic import ValidationError

from palier.adapters.catalogue import resolve, verify_files
from palier.adapters.heavy_rung import HeavyRung, heavy_client
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.onnx_reranker import reranker_for
from palier.adapters.reader_rung import ReaderRung
from palier.adapters.search import HybridRetriever, connect
from palier.adapters.search_index import aliased_index, index_meta
from palier.adapters.writer_rung import LlamaCpp, WriterRung
from palier.domain.answering import Climb, Hit, Question, Retriever, Rung, Scorer, climb
from palier.domain.bundle import MANIFEST, Manifest
from palier.domain.scoring import LearnedScorer, ScorerWeights
from palier.errors import IntegrityError, SearchError
from palier.params import HeavyRung as HeavyRungParams
from palier.params import (
    LadderParams,
    RungParams,
)
from palier.params import (
    ReaderRung as ReaderRungParams,
)
from palier.params import (
    WriterRung as WriterRungParams,
)
from palier.settings import Settings


@dataclass(frozen=True)
class LoadedRelease:
    """A release in memory. Safe to use from several threads."""

    manifest: Manifest
    retriever: Retriever
    rungs: Mapping[str, Rung]
    scorer: Scorer
    encoder: OnnxEncoder

    def answer(self, question: Question) -> tuple[Sequence[Hit], Climb]:
        """Retrieve, then climb the release's cascade."""
        hits = self.retriever.search(question, self.manifest.retrieval.k)
        return hits, climb(question, hits, self.manifest.cascade, self.rungs, self.scorer)


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of ``bundle``; raises IntegrityError when it is absent or not in the form."""
    path = bundle / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path} is no release manifest ({error}). Package the release again.") from error


def verify_bundle(bundle: Path) -> Manifest:
    """The manifest, after every file of every bundled model was compared with its sha256."""
    manifest = read_manifest(bundle)
    for key, model in manifest.models.items():
        if not model.from_catalogue:
            verify_files(bundle / "models" / key, model.files)
    return manifest


def load_release(bundle: Path, settings: Settings) -> LoadedRelease:
    """Verify ``bundle`` and load all that its cascade needs; about a second, so call it beside the event loop.

    Raises IntegrityError for a changed file and ParamsError when the heavy rung's endpoint is not set.
    """
    manifest = verify_bundle(bundle)
    models = bundle / "models"
    encoder = OnnxEncoder(models / "encoder")
    weights = ScorerWeights.model_validate_json((models / "scorer" / "scorer.json").read_text(encoding="utf-8"))
    return LoadedRelease(
        manifest=manifest,
        retriever=_load_retriever(manifest, encoder, models / "reranker", settings),
        rungs=load_rungs(manifest.ladder, models / "reader", manifest.prompt, settings),
        scorer=LearnedScorer(weights, encoder),
        encoder=encoder,
    )


def _load_retriever(
    manifest: Manifest, encoder: OnnxEncoder, reranker_folder: Path, settings: Settings
) -> HybridRetriever:
    key = settings.elasticsearch_api_key
    client = connect(settings.search_url, key.get_secret_value() if key else None)
    index = _index_for(manifest, encoder, client, settings)
    reranker = reranker_for(manifest.retrieval, reranker_folder)
    return HybridRetriever(client, index, encoder, manifest.retrieval, reranker)


def _index_for(manifest: Manifest, encoder: OnnxEncoder, client: Elasticsearch, settings: Settings) -> str:
    """The alias, so that an edited document reaches answers as soon as its index is live; the release's own index
    where the live one was embedded by another encoder, whose vectors this release could not read.

    Elasticsearch being away is no reason not to start: the alias is what it will most likely be.
    """
    try:
        live = aliased_index(client, settings.index_alias)
        meta = index_meta(client, live) if live else None
    except SearchError:
        return settings.index_alias
    is_readable = meta is not None and meta.get("settings", {}).get("encoder_sha256") == encoder.sha256
    return settings.index_alias if is_readable else manifest.index


def load_rungs(ladder: LadderParams, reader_folder: Path, prompt: str, settings: Settings) -> dict[str, Rung]:
    """All rungs of ``ladder`` by name; reader rungs share one model in memory."""
    reader = OnnxReader(reader_folder) if _has_reader(ladder) else None
    return {
        name: _load_rung(name, rung, reader, prompt, ladder.cpu_usd_per_hour, settings)
        for name, rung in ladder.rungs.items()
    }


def _has_reader(ladder: LadderParams) -> bool:
    return any(isinstance(rung, ReaderRungParams) for rung in ladder.rungs.values())


def _load_rung(
    name: str,
    rung: RungParams,
    reader: OnnxReader | None,
    prompt: str,
    usd_per_hour: float,
    settings: Settings,
) -> Rung:
    if isinstance(rung, WriterRungParams):
        return _load_writer(name, rung, prompt, usd_per_hour, settings)
    if isinstance(rung, HeavyRungParams):
        return HeavyRung(name, heavy_client(rung.provider, settings), rung, prompt=prompt)
    assert reader is not None
    return ReaderRung(name, reader, rung.passages, usd_per_hour)


def _load_writer(name: str, rung: WriterRungParams, prompt: str, usd_per_hour: float, settings: Settings) -> WriterRung:
    folder = resolve(rung.model, cache=settings.state_dir / "models", hub_url=settings.hub_url)
    return WriterRung(
        name,
        LlamaCpp(next(folder.glob("*.gguf"))),
        prompt=prompt,
        n_passages=rung.passages,
        max_prompt_words=rung.max_prompt_words,
        max_new_tokens=rung.max_new_tokens,
        cpu_usd_per_hour=usd_per_hour,
    )
