"""`params.yaml` as strict, frozen models: what changes an answer, and nothing else.

One section per stage, under the stage's own name, and three shared ones (retrieval, ladder, rollout). Read with
ruamel (YAML 1.2, as DVC does): PyYAML would read 1e-4 as text and `no` as false. The environment never overrides a
param.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from palier.domain.documents import Lang
from palier.domain.money import TokenPrice
from palier.errors import ParamsError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Frozen, strict, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class VersionDocumentsParams(Section):
    passage_words: Positive
    max_document_bytes: Positive
    max_bad_share: Share
    min_golden_questions: Annotated[int, Field(ge=0)]


class TrainEncoderParams(Section):
    base: str
    epochs: Annotated[int, Field(ge=0)]


class BuildIndexParams(Section):
    dense_options: Literal["hnsw", "int8_hnsw", "bbq_hnsw", "flat"]
    keep_indexes: Positive


class RetrievalParams(Section):
    k: Positive
    candidates: Positive
    dense_weight: Mapping[Lang, Share]


class TrainReaderParams(Section):
    starter: str | None
    base: str
    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Positive
    lora_rank: Positive
    max_tokens: Annotated[int, Field(ge=64, le=512)]
    negatives: Annotated[int, Field(ge=0)]


class ReaderRung(Section):
    """A span out of the best `passages` passages."""

    kind: Literal["reader"]
    passages: Positive


class WriterRung(Section):
    """A small local language model over llama.cpp."""

    kind: Literal["writer"]
    model: str
    passages: Positive
    max_prompt_words: Positive
    max_new_tokens: Positive


class HeavyRung(Section):
    """Any OpenAI-compatible endpoint; its URL and key stand in the environment (PALIER_HEAVY_...)."""

    kind: Literal["heavy"]
    provider: Literal["openai", "azure"]
    model: str
    passages: Positive
    max_new_tokens: Positive
    price: TokenPrice


RungParams = Annotated[ReaderRung | WriterRung | HeavyRung, Field(discriminator="kind")]


class LadderParams(Section):
    cpu_usd_per_hour: Annotated[float, Field(ge=0)]
    rungs: Annotated[Mapping[str, RungParams], Field(min_length=1)]


class RecordOutcomesParams(Section):
    probation_questions: Positive
    probation_quality: Share


class TrainScorerParams(Section):
    regularisation: Annotated[float, Field(gt=0)]
    folds: Annotated[int, Field(ge=2)]


class TuneCascadeParams(Section):
    budget_usd_per_1000: Annotated[float, Field(gt=0)] | None
    margin: Share
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    max_depth: Annotated[int, Field(ge=1, le=4)]


class EvaluateReleaseParams(Section):
    bootstrap_samples: Annotated[int, Field(ge=100)]
    min_f1: Share
    max_f1_drop: Share


class PackageReleaseParams(Section):
    """Nothing to set yet: a bundle follows from what it bundles."""


class RolloutParams(Section):
    shadow_requests: Annotated[int, Field(ge=0)]
    canary_shares: Annotated[tuple[Share, ...], Field(min_length=1, strict=False)]
    requests_per_share: Positive
    max_requests: Positive
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    quality_margin: Share
    error_margin: Share
    latency_margin: Share
    latency_slo_ms: Annotated[float, Field(gt=0)]
    cost_margin: Annotated[float, Field(ge=0)]


class CheckDriftParams(Section):
    window_days: Positive
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    min_rows: Positive


class Params(Section):
    seed: int
    languages: Annotated[tuple[Lang, ...], Field(min_length=1, strict=False)]
    version_documents: VersionDocumentsParams
    train_encoder: TrainEncoderParams
    build_index: BuildIndexParams
    retrieval: RetrievalParams
    train_reader: TrainReaderParams
    ladder: LadderParams
    prompt: str
    record_outcomes: RecordOutcomesParams
    train_scorer: TrainScorerParams
    tune_cascade: TuneCascadeParams
    evaluate_release: EvaluateReleaseParams
    package_release: PackageReleaseParams
    rollout: RolloutParams
    check_drift: CheckDriftParams


def load_params(path: Path) -> Params:
    """The params of ``path``; raises ParamsError naming each wrong key, its value and what was expected."""
    if not path.is_file():
        raise ParamsError(f"No params file at {path}. Make a workspace with `palier init DIR`, or go to one.")
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML 1.2: {error}") from error
    return parse_params(raw, str(path))


def parse_params(raw: object, origin: str) -> Params:
    """Params out of plain YAML or JSON data; ``origin`` is named in the error."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        findings = "\n".join(f"  {_finding(dict(item))}" for item in error.errors())
        raise ParamsError(f"{origin}: {error.error_count()} wrong value(s)\n{findings}") from error


def _finding(item: Mapping[str, object]) -> str:
    place = ".".join(str(part) for part in item["loc"])  # type: ignore[attr-defined]
    if item["type"] == "extra_forbidden":
        return f"{place}: no such parameter (a typo? see the params.yaml of the repository)"
    if item["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: {item['msg']}, got {item['input']!r}"
