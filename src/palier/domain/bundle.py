"""The manifest of a release bundle: all that the gateway must know, and the sha256 of all that it loads.

A release id is a content hash: the same corpus, index, models, cascade and prompt make the same release, whenever
and wherever they are packaged.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from palier.domain.answering import Cascade
from palier.params import GuardParams, LadderParams, RetrievalParams

MANIFEST = "manifest.json"


class Interval95(BaseModel):
    """A mean with its 95 % bootstrap interval over ``n`` rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    value: float
    low: float
    high: float
    n: int


class BundledModel(BaseModel):
    """One model of a release: files relative to ``models/<key>/`` of the bundle, or to the catalogue's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: str
    licence: str
    files: Mapping[str, str]
    data: Mapping[str, str] = Field(default_factory=dict)
    """Training data by name with its hash."""
    from_catalogue: bool = False
    """True where the files are not copied: a model hub has them, and the model catalogue fetches and checks them.
    What lies in a package of this environment is copied: a gateway has no such packages.
    """


class Manifest(BaseModel):
    """`manifest.json` of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    created_at: datetime
    git_sha: str
    corpus_revision: str
    index: str
    index_settings: Mapping[str, Any]
    prompt: str
    retrieval: RetrievalParams
    ladder: LadderParams
    models: Mapping[str, BundledModel]
    cascade: Cascade
    reference_rung: str
    reference_cost_nanousd: int
    """Mean cost of answering a question with the reference rung alone, as recorded: an estimate for live ones."""
    guarantee: Mapping[str, Any]
    evaluation: Mapping[str, Interval95]
    guard: GuardParams | None = None
    """None in bundles of before there was one: nothing is refused."""


def release_id(identity: Mapping[str, Any]) -> str:
    """``r-`` and 16 hex digits of the sha256 of ``identity`` as canonical JSON."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str, ensure_ascii=False)
    return "r-" + hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:16]
