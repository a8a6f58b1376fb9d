"""From a bundle on disk to something that answers: every file checked, every model loaded, one object back.

The gateway and `evaluate-release` use this same door, so that what was measured is what is served. Loads ONNX, GGUF,
JSON and safetensors only: nothing in a bundle can execute.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from palier.adapters.beliefs.store import BELIEFS_FILE, load_believer
from palier.adapters.catalogue import resolve, verify_files
from palier.adapters.heavy_rung import HeavyRung, heavy_client
from palier.adapters.onnx_cross_encoder import cross_encoder_in, reranker_for
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import MODEL as READER_FILE
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.reader_rung import ReaderRung
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.release_index import ReleaseIndex
from palier.adapters.search import HybridRetriever, connect
from palier.adapters.writer_rung import WRITER_FILE, LlamaCpp, WriterLimits, WriterRung, tuned_writer
from palier.domain.answering import Climb, Hit, NoPassages, Question, Retriever, Rung, climb
from palier.domain.beliefs.believer import Believer
from palier.domain.bundle import MANIFEST, Manifest
from palier.domain.guarding import Guard, GuardWeights
from palier.domain.scoring import LearnedScorer, ScorerWeights, TextEncoder
from palier.errors import IntegrityError
from palier.params import HeavyRung as HeavyRungParams
from palier.params import (
    LadderParams,
    RungParams,
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
    scorer: LearnedScorer
    encoder: TextEncoder
    guard: Guard | None = None

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
    recent = RecentVectors(encoder)
    weights = ScorerWeights.model_validate_json((models / "scorer" / "scorer.json").read_text(encoding="utf-8"))
    return LoadedRelease(
        manifest=manifest,
        retriever=_load_retriever(manifest, encoder, models / "reranker", settings),
        rungs=load_rungs(manifest.ladder, models, manifest.prompt, settings, _copied(manifest)),
        scorer=LearnedScorer(weights, recent, cross_encoder_in(models / "verifier"), _load_believer(models / "scorer")),
        encoder=recent,
        guard=_load_guard(manifest, models / "guard", recent),
    )


def _copied(manifest: Manifest) -> list[str]:
    return [name for name, model in manifest.models.items() if not model.from_catalogue]


def _load_believer(folder: Path) -> Believer | None:
    path = folder / BELIEFS_FILE
    return load_believer(path) if path.is_file() else None


def _load_guard(manifest: Manifest, folder: Path, encoder: TextEncoder) -> Guard | None:
    if manifest.guard is None or not manifest.guard.enabled:
        return None
    weights = GuardWeights.model_validate_json((folder / "guard.json").read_text(encoding="utf-8"))
    return Guard(weights, encoder, cross_encoder_in(folder) if weights.classifier else None)


def _load_retriever(manifest: Manifest, encoder: OnnxEncoder, reranker_folder: Path, settings: Settings) -> Retriever:
    if not manifest.retrieval.searches:
        return NoPassages()
    key = settings.elasticsearch_api_key
    client = connect(settings.search_url, key.get_secret_value() if key else None)
    index = ReleaseIndex(client, settings.index_alias, manifest.index, encoder.sha256)
    reranker = reranker_for(manifest.retrieval, reranker_folder)
    return HybridRetriever(client, index, encoder, manifest.retrieval, reranker)


def load_rungs(
    ladder: LadderParams, models: Path, prompt: str, settings: Settings, bundled: Collection[str] = ()
) -> dict[str, Rung]:
    """All rungs of ``ladder`` by name, from the folder of ``models``; they share one reader in memory.

    The catalogue's models in ``bundled`` lie there too, each in the folder of its name, and were verified.
    """
    shared = _Shared(models, _shared_reader(ladder, models / "reader"), prompt, settings, bundled)
    return {name: _load_rung(name, rung, shared, ladder.cpu_usd_per_hour) for name, rung in ladder.rungs.items()}


@dataclass(frozen=True)
class _Shared:
    """What several rungs are made from."""

    models: Path
    reader: OnnxReader | None
    prompt: str
    settings: Settings
    bundled: Collection[str]


def _shared_reader(ladder: LadderParams, folder: Path) -> OnnxReader | None:
    """The reader where a rung needs it; a writer lets it point to evidence if it is there, and goes on without."""
    kinds = {rung.kind for rung in ladder.rungs.values()}
    is_wanted = "reader" in kinds or ("writer" in kinds and (folder / READER_FILE).is_file())
    return OnnxReader(folder) if is_wanted else None


def _load_rung(name: str, rung: RungParams, shared: _Shared, usd_per_hour: float) -> Rung:
    if isinstance(rung, WriterRungParams):
        return _load_writer(name, rung, shared, usd_per_hour)
    if isinstance(rung, HeavyRungParams):
        return HeavyRung(name, heavy_client(rung.provider, shared.settings), rung, prompt=shared.prompt)
    assert shared.reader is not None
    return ReaderRung(name, shared.reader, rung.passages, usd_per_hour, rung.retrieval_weight)


def _load_writer(name: str, rung: WriterRungParams, shared: _Shared, usd_per_hour: float) -> WriterRung:
    """The writer that was tuned, if it was tuned from the rung's model; else that model as it comes, from the bundle
    or by the catalogue.
    """
    folder = shared.models / "writer"
    tuned = tuned_writer(folder, rung.model)
    if tuned is None and rung.model in shared.bundled:
        folder = shared.models / rung.model
    elif tuned is None:
        cache = shared.settings.state_dir / "models"
        folder = resolve(rung.model, cache=cache, hub_url=shared.settings.hub_url)
    words = tuned.max_words if tuned else rung.max_prompt_words
    return WriterRung(
        name,
        LlamaCpp(folder / WRITER_FILE if tuned else next(folder.glob("*.gguf"))),
        shared.reader,
        WriterLimits(rung.passages, words, rung.max_new_tokens),
        prompt=shared.prompt,
        cpu_usd_per_hour=usd_per_hour,
    )
