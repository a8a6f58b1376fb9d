"""`params.yaml` as strict, frozen models: what changes an answer, and nothing else.

One section per stage, under the stage's own name, and three shared ones (retrieval, ladder, rollout). Read with
ruamel (YAML 1.2, as DVC does): PyYAML would read 1e-4 as text and `no` as false. The environment never overrides a
param.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from palier.domain.documents import Lang
from palier.domain.fusion import RRF_CONSTANT, Fusion, SearchMode
from palier.domain.money import NANOUSD_PER_USD, TokenPrice
from palier.errors import ParamsError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
SearchedField = Literal["title", "headings", "text"]
Item = TypeVar("Item")
Grid = Annotated[tuple[Item, ...], Field(min_length=1, strict=False)]


_NO_OPTION = r"^[^-\s][^\n]*$"
"""What a command would not take for an option of its own."""


class Section(BaseModel):
    """Frozen, strict, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class GitSource(Section):
    """A folder of a git repository, at a branch, a tag or a commit (40 digits); at its default branch if not told."""

    git: Annotated[str, Field(pattern=_NO_OPTION)]
    revision: Annotated[str, Field(pattern=_NO_OPTION)] | None = None
    folder: Annotated[str, Field(pattern=_NO_OPTION)] = "."

    @field_validator("git")
    @classmethod
    def _without_secret(cls, url: str) -> str:
        if urlsplit(url).password or "::" in url:
            raise ValueError("must hold no password and no command; let git's credential helper sign in")
        return url

    @property
    def origin(self) -> str:
        return f"{self.git} ({self.folder} at {self.revision or 'its default branch'})"

    @property
    def remedy(self) -> str:
        return "Check version_documents.source (git, revision, folder) and that `git ls-remote` reaches it."


class S3Source(Section):
    """All objects under a prefix of a bucket; endpoint, region and keys stand in the environment (AWS_...)."""

    s3: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9._-]+(?:/.*)?$")]

    @property
    def origin(self) -> str:
        return self.s3

    @property
    def remedy(self) -> str:
        return "Check version_documents.source and AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."


class VersionDocumentsParams(Section):
    source: GitSource | S3Source | None = None
    passage_words: Positive
    overlap_words: Annotated[int, Field(ge=0)] = 0
    max_document_bytes: Positive
    max_bad_share: Share
    min_golden_questions: Annotated[int, Field(ge=0)]


class TrainEncoderParams(Section):
    base: str
    starter: str | None
    reranker: str | None
    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    batch_passages: Annotated[int, Field(ge=2)]


class BuildIndexParams(Section):
    engine: Literal["process", "ray"]
    workers: Positive | None
    dense_options: Literal["hnsw", "int8_hnsw", "bbq_hnsw", "flat"]
    keep_indexes: Positive
    max_quality_drop: Share
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]


class RetrievalParams(Section):
    """How passages are found. What has a default was added later: bundles of older releases do not hold it.

    ``retrieval: none`` in the file is short for ``mode: none``: the rungs get the question alone, and
    there is no index.
    """

    mode: Literal["passages", "none"] = "passages"
    k: Positive
    candidates: Positive
    dense_weight: Mapping[Lang, Share]
    fusion: Fusion = "min_max"
    rrf_constant: Mapping[Lang, Positive] = Field(default={"en": RRF_CONSTANT, "fr": RRF_CONSTANT})
    fields: Annotated[tuple[SearchedField, ...], Field(min_length=1, strict=False)] = ("title", "headings", "text")
    exact_weight: Annotated[float, Field(ge=0)] = 0.5
    wording_weight: Share = 0.0
    rerank: Mapping[Lang, Annotated[int, Field(ge=0, le=100)]] = Field(default_factory=dict)
    rerank_weight: Mapping[Lang, Share] = Field(default_factory=dict)
    collapse_duplicates: bool = True
    only_valid: bool = True

    @model_validator(mode="before")
    @classmethod
    def _without_passages(cls, value: object) -> object:
        return {"mode": "none", "k": 1, "candidates": 1, "dense_weight": {}} if value == "none" else value

    @property
    def searches(self) -> bool:
        """Whether there are passages at all."""
        return self.mode == "passages"

    @property
    def reranks(self) -> bool:
        """Whether any language's passages go through the reranker."""
        return self.searches and any(self.rerank.values())

    def search_mode(self, lang: Lang) -> SearchMode:
        """How passages of ``lang`` are found for an answer."""
        return "reranked" if self.rerank.get(lang) else "hybrid"


class SweepRetrievalParams(Section):
    """The grid of `sweep-retrieval`; what is in use now is always tried as well."""

    passage_words: Grid[Positive]
    overlap_words: Grid[Annotated[int, Field(ge=0)]]
    fields: Grid[Annotated[tuple[SearchedField, ...], Field(min_length=1, strict=False)]]
    exact_weight: Grid[Annotated[float, Field(ge=0)]]
    wording_weight: Grid[Share] = (0.0, 0.6)
    candidates: Grid[Positive]
    dense_weight: Grid[Share]
    rrf_constant: Grid[Positive]
    rerank: Grid[Annotated[int, Field(ge=0, le=100)]]
    rerank_weight: Grid[Share]
    tie_margin: Share
    end_to_end: Annotated[int, Field(ge=0)]


class TrainReaderParams(Section):
    starter: str | None
    verifier: str | None = None
    base: str
    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Positive
    lora_rank: Positive
    tuned_share: Share = 1.0
    rehearsal: str | None = None
    rehearsal_share: Annotated[float, Field(gt=0)] = 1.0
    max_tokens: Annotated[int, Field(ge=128, le=512)]
    negatives: Annotated[int, Field(ge=0)]
    use_feedback: bool


class CollectFeedbackParams(Section):
    """What may be learned from use, and how much of it one key may teach."""

    window_days: Positive
    keep_text_days: Positive | None
    heavy_rows: Annotated[int, Field(ge=0)]
    heavy_min_score: Share
    near: Annotated[float, Field(gt=0.0, le=1.0)]
    min_support: Annotated[float, Field(gt=0.0, le=1.0)]
    corrections_need_passage: bool
    max_key_share: Annotated[float, Field(gt=0.0, le=1.0)]
    max_key_rows: Positive
    free_key_rows: Annotated[int, Field(ge=0)]
    validation_percent: Annotated[int, Field(ge=0, le=50)]
    thumb_trust: Annotated[float, Field(gt=0.5, lt=1.0)]


class TrainWriterParams(Section):
    """How the small model that writes is tuned; ``epochs: 0`` takes the starter as it is."""

    starter: str | None
    base: str
    epochs: Annotated[int, Field(ge=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Positive
    lora_rank: Positive
    evidence_words: Annotated[int, Field(ge=20, le=200)]
    exam_questions: Positive
    use_feedback: bool


class ReaderRung(Section):
    """A span out of the best `passages` passages."""

    kind: Literal["reader"]
    passages: Positive
    retrieval_weight: float = Field(default=0.0, ge=0.0)
    """Logits that one unit of a passage's retrieval score adds to the margins of its spans."""


class WriterRung(Section):
    """A small local language model over llama.cpp."""

    kind: Literal["writer"]
    model: str
    passages: Positive
    max_prompt_words: Positive
    max_new_tokens: Positive


RequestFields = Mapping[str, str | int | float | bool | None]
"""What is sent to an endpoint beside model and messages: a value is sent as it is, null leaves a field of ours out."""


class HeavyRung(Section):
    """Any OpenAI-compatible endpoint; its URL and key stand in the environment (PALIER_HEAVY_...).

    Two rungs may be one model, with fewer passages (0: the question alone) or a ``prompt`` of its own: the cascade
    chooses between them as between models.
    """

    kind: Literal["heavy"]
    provider: Literal["openai", "azure"]
    model: str
    passages: Annotated[int, Field(ge=0)]
    max_new_tokens: Positive
    price: TokenPrice
    prompt: str | None = None
    request: RequestFields = Field(default_factory=dict)


RungParams = Annotated[ReaderRung | WriterRung | HeavyRung, Field(discriminator="kind")]


class GuardParams(Section):
    """What happens before any rung is asked. Thresholds come with the guard's weights and are moved, where golden
    questions say so, until at most ``max_refused`` of these would be refused."""

    enabled: bool
    off_topic: bool
    max_refused: Annotated[float, Field(ge=0.0, le=0.2)]


class LadderParams(Section):
    cpu_usd_per_hour: Annotated[float, Field(ge=0)]
    cached_answers: Annotated[int, Field(ge=0)] = 0
    rungs: Annotated[Mapping[str, RungParams], Field(min_length=1)]


class RecordedFiles(Section):
    """Outcomes that were recorded elsewhere, in the contract's form; paths are relative to the workspace."""

    outcomes: str
    queries: str


class JudgeParams(Section):
    """A model that says how two answers relate, at the heavy rungs' endpoint; it labels what has no gold answer.

    ``check_questions`` answers that have a gold label are judged as well, to know how far the judge can be trusted.
    """

    provider: Literal["openai", "azure"]
    model: str
    max_new_tokens: Positive
    price: TokenPrice
    request: RequestFields = Field(default_factory=dict)
    check_questions: Annotated[int, Field(ge=0)] = 100


class RecordOutcomesParams(Section):
    probation_questions: Positive
    probation_quality: Share
    recorded: RecordedFiles | None = None
    judge: JudgeParams | None = None


class TrainScorerParams(Section):
    starter: str | None = None
    hear_earlier: bool = False
    regularisation: Annotated[float, Field(gt=0)]
    folds: Annotated[int, Field(ge=2)]
    thumb_weight: Share


class TuneCascadeParams(Section):
    """What an owner asks of the cascade; all at once, each beside ``margin`` and ``confidence`` optional."""

    budget_usd_per_1000: Annotated[float, Field(gt=0)] | None
    margin: Share
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    max_depth: Annotated[int, Field(ge=1, le=4)]
    budget_usd_per_month: Annotated[float, Field(gt=0)] | None = None
    requests_per_month: Positive | None = None
    max_latency_ms_p95: Annotated[float, Field(gt=0)] | None = None
    max_top_share: Share | None = None
    forbidden: Mapping[Lang, Annotated[tuple[str, ...], Field(strict=False)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _month_is_whole(self) -> "TuneCascadeParams":
        if (self.budget_usd_per_month is None) != (self.requests_per_month is None):
            raise ValueError("budget_usd_per_month and requests_per_month belong together: give both or none")
        return self

    @property
    def budget_nanousd(self) -> int | None:
        """The tighter of the two budgets, in nano-dollars per question."""
        budgets = [] if self.budget_usd_per_1000 is None else [self.budget_usd_per_1000 / 1000]
        if self.budget_usd_per_month is not None and self.requests_per_month is not None:
            budgets.append(self.budget_usd_per_month / self.requests_per_month)
        return round(min(budgets) * NANOUSD_PER_USD) if budgets else None


class EvaluateReleaseParams(Section):
    bootstrap_samples: Annotated[int, Field(ge=100)]
    min_f1: Share
    max_f1_drop: Share


class EvaluateModelsParams(Section):
    """How much `evaluate-models` asks anew, and what it counts. Nothing here changes an answer that is served."""

    bootstrap_samples: Annotated[int, Field(ge=100)]
    noise_questions: Annotated[int, Field(ge=0)]
    typo_share: Share
    writer_questions: Annotated[int, Field(ge=0)]
    min_slice_rows: Annotated[int, Field(ge=2)]
    learning_shares: Grid[Annotated[float, Field(gt=0.0, le=1.0)]]
    thresholds: Annotated[tuple[Share, ...], Field(strict=False)]


class PackageReleaseParams(Section):
    """Nothing to set yet: a bundle follows from what it bundles."""


class RolloutParams(Section):
    """What has a default was added later: workspaces, and rollouts that were running then, do not hold it."""

    shadow_requests: Annotated[int, Field(ge=0)]
    canary_shares: Annotated[tuple[Share, ...], Field(min_length=1, strict=False)]
    requests_per_share: Positive
    max_requests: Positive
    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    quality_margin: Share
    silence_margin: Share = 0.1
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
    sweep_retrieval: SweepRetrievalParams
    collect_feedback: CollectFeedbackParams
    train_reader: TrainReaderParams
    train_writer: TrainWriterParams
    guard: GuardParams
    ladder: LadderParams
    prompt: str
    record_outcomes: RecordOutcomesParams
    train_scorer: TrainScorerParams
    tune_cascade: TuneCascadeParams
    evaluate_release: EvaluateReleaseParams
    evaluate_models: EvaluateModelsParams
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
    if item["type"] == "value_error":  # a rule of ours says what is wrong; the value may hold a secret
        return f"{place}: {item['msg']}"
    return f"{place}: {item['msg']}, got {item['input']!r}"
