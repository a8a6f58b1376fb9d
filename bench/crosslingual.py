"""A French question, an English passage: does the encoder bring the two together?

`palier bench crosslingual --out FILE.json [--encoder FOLDER] [--epochs N]`, on the sample documents. Twelve of them
exist in both languages under one name (`en/policies/refunds-and-fraud`, `fr/policies/refunds-and-fraud`): they speak of
the same things, freely written and not translated. So each French golden question on one of them has the English
document of that name as the right one, found where any of its passages is among the first ten. Nearest vectors only,
exact, without the language filter that serving uses, once among the English passages and once among those of both
languages (where the French originals take their places first). The menus share a name too, but each lists its own
country's dishes: they are left out. The price of pairing by name: a question on a detail that only the French document
tells counts as well, which no encoder can answer.

Measured beside MiniLM as it comes and, with `--epochs`, beside what `train-encoder` makes of the encoder of
`params.yaml` on these documents in so many epochs (`tuned`; `tuning` is what the stage tells). That has read questions
of the `train` split only, but passages of all documents, as it would in any workspace: figures stand by split, and of
`test` and `validation` it knows which passages say the same in both languages, and no question.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.exported_models import exported_encoder
from bench.report import Metric, Report, metric, tell
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.workspace import Workspace, read_jsonl
from palier.domain import ranking_metrics
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.errors import InputError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import train_encoder, version_documents

NOT_PAIRED = ("menus/",)
DEPTH = 10
SPLITS = ("all", "train", "validation", "test")
DIFFERENCES = (("encoder", "as_it_comes"), ("tuned", "as_it_comes"), ("tuned", "encoder"))


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages of both languages, and the French questions whose document has an English counterpart."""

    passages: Sequence[Passage]
    asked: Sequence[GoldenQuestion]

    @property
    def n_paired(self) -> int:
        return len({row.document_id for row in self.asked})


def run(
    out: Path,
    *,
    encoder_folder: Path | None = None,
    epochs: int | None = None,
    samples: Path | None = None,
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds; ``samples`` holds `documents` and `golden`, ours by default."""
    params = load_params(repository_root() / "params.yaml")
    section = params.train_encoder
    encoders = {
        "as_it_comes": OnnxEncoder(exported_encoder(section.base)),
        "encoder": OnnxEncoder(encoder_folder or exported_encoder(section.base, section.starter)),
    }
    samples = samples or repository_root() / "samples"
    tuning: dict[str, Any] = {}
    with versioned(samples, params) as place:
        corpus = read_corpus(place)
        if epochs:
            folder, told = tuned(place, params, epochs)
            encoders["tuned"] = OnnxEncoder(folder)
            tuning = {"tuning": told}
        hashes = {f"{name}_sha256": encoder.sha256 for name, encoder in encoders.items()}
        found = {name: _found(name, encoder, corpus) for name, encoder in encoders.items()}
    report = Report("crosslingual", {"seed": seed, "epochs": epochs, "n_documents_paired": corpus.n_paired, **hashes})
    golden = samples / "golden" / "fr.jsonl"
    report.add_data(golden, len(golden.read_text(encoding="utf-8").splitlines()))
    return report.write(out, summary(found, corpus, np.random.default_rng(seed)) | tuning)


@contextmanager
def versioned(samples: Path, params: Params) -> Iterator[Workspace]:
    """A workspace of the samples as `version-documents` makes it, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        place = Workspace(Path(folder))
        shutil.copytree(samples / "documents", place.documents)
        shutil.copytree(samples / "golden", place.golden)
        version_documents.run(params, place.root)
        yield place


def read_corpus(place: Workspace) -> Corpus:
    """Its passages and the questions asked; raises InputError when no document has a counterpart."""
    passages = [Passage(**row) for row in read_jsonl(place.corpus / "passages.jsonl", "version-documents")]
    golden = (place.corpus / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [GoldenQuestion.model_validate_json(line) for line in golden]
    english = {passage.document_id for passage in passages if passage.document_id.startswith("en/")}
    asked = [row for row in rows if row.lang == "fr" and row.answerable and counterpart(row.document_id) in english]
    if not asked:
        raise InputError("No French question is on a document that exists in English under its name.")
    return Corpus(passages, asked)


def tuned(place: Workspace, params: Params, epochs: int) -> tuple[Path, dict[str, Any]]:
    """The encoder that `train-encoder` makes of ``place``, and what it tells of it, seconds included."""
    section = params.train_encoder.model_copy(update={"epochs": epochs})
    started, cpu = time.perf_counter(), time.process_time()
    result = train_encoder.run(params.model_copy(update={"train_encoder": section}), place.root, _tell_steps)
    seconds = {"wall_s": round(time.perf_counter() - started), "cpu_s": round(time.process_time() - cpu)}
    return result.folder, {"epochs": epochs, "n_pairs": result.n_pairs, **seconds, **result.metrics}


def _tell_steps(done: int, total: int, what: str) -> None:
    if done % 10 == 0 or done == total:
        tell(f"{what}: {done}/{total}")


def counterpart(document_id: str) -> str | None:
    """The English document of the same name; None where the name does not stand for the same content."""
    lang, _, name = document_id.partition("/")
    return f"en/{name}" if lang == "fr" and not name.startswith(NOT_PAIRED) else None


def _found(name: str, encoder: OnnxEncoder, corpus: Corpus) -> dict[str, list[list[str]]]:
    """By pool, the distinct documents of the first ten passages of each question."""
    tell(f"{name}: {len(corpus.passages)} passages, {len(corpus.asked)} questions")
    vectors = encoder.embed([passage.content for passage in corpus.passages])
    near = encoder.embed([row.asked().standalone for row in corpus.asked]) @ vectors.T  # (questions, passages)
    documents = [passage.document_id for passage in corpus.passages]
    is_english = np.array([document.startswith("en/") for document in documents])
    pools = {"english_passages": np.where(is_english, near, -np.inf), "both_languages": near}
    return {pool: [documents_found(line, documents) for line in scores] for pool, scores in pools.items()}


def documents_found(scores: np.ndarray[Any, np.dtype[np.float32]], documents: Sequence[str]) -> list[str]:
    """The distinct documents of the ten passages with the highest ``scores`` (n,), best first."""
    best = np.argsort(-scores, kind="stable")[:DEPTH]
    return list(dict.fromkeys(documents[i] for i in best))


def summary(
    found: Mapping[str, Mapping[str, list[list[str]]]], corpus: Corpus, rng: np.random.Generator
) -> dict[str, Any]:
    """Recall@10 of ``found`` {encoder: {pool: documents of each question}} by split, and what the encoder gains."""

    def of_split(measure: Callable[[str, int], float], pool: str) -> dict[str, Metric]:
        rows = {split: [i for i, row in enumerate(corpus.asked) if split in ("all", row.split)] for split in SPLITS}
        return {split: metric([measure(pool, i) for i in chosen], rng) for split, chosen in rows.items()}

    def recall(name: str) -> Callable[[str, int], float]:
        return lambda pool, i: ranking_metrics.recall(found[name][pool][i], _right(corpus.asked[i]), DEPTH)

    def gain(better: str, rival: str) -> Callable[[str, int], float]:
        return lambda pool, i: recall(better)(pool, i) - recall(rival)(pool, i)

    pools = ("english_passages", "both_languages")
    return {
        **{name: {pool: {"recall_at_10": of_split(recall(name), pool)} for pool in pools} for name in found},
        "differences": {
            f"{better}-{rival}": {pool: {"recall_at_10": of_split(gain(better, rival), pool)} for pool in pools}
            for better, rival in DIFFERENCES
            if better in found
        },
    }


def _right(row: GoldenQuestion) -> set[str]:
    return {str(counterpart(row.document_id))}
