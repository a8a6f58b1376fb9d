"""What tuning on a workspace's documents brings its reader there, and what it costs elsewhere.

`palier bench tuning --workspace DIR [--workspace DIR …] --data FILE… --out FILE.json`. Each workspace has been through
`palier train-reader`; its tuned reader (models/reader, with the threshold that its validation questions chose) and the
starter it began from (with the starter's threshold) read the same things:

- `golden_gold`: golden test questions, each beside its gold passages (questions without an answer are left out, as
  nothing says what should lie beside them);
- `golden_retrieved`: all golden test questions, over what the first reader rung of its ladder reads of the passages
  that the workspace's encoder and BM25 find, searched in memory;
- `public`: public questions on articles that the starter was not trained on (`--titles`, else test articles), each
  beside its passage.

Every measure holds both readers and the paired `change` (see `bench.paired_readers`). Of several workspaces, which then
differ in their seed, `spread` has mean, least and most of the changes.

The price: golden questions of one document are taken as independent, and a sample of test questions is small.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.exported_models import exported_reader
from bench.paired_readers import Exercise, answers_of, compared, read_gold
from bench.report import Report, TitlesAsked, tell
from palier.adapters.catalogue import sha256_file
from palier.adapters.corpus_files import load_corpus
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import MODEL, OnnxReader
from palier.adapters.question_pools import Pool, hits_of
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.workspace import Workspace, read_jsonl
from palier.domain.answering import Hit
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.title_split import Split
from palier.errors import InputError
from palier.params import Params, ReaderRung, load_params

GROUPS = ("golden_gold", "golden_retrieved", "public")


def run(
    data: Sequence[Path],
    out: Path,
    *,
    workspaces: Sequence[Path] = (),
    max_questions: int | None = 200,
    asked_titles: TitlesAsked = "test",
    golden_split: Split = "test",
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds; ``max_questions`` of each language are public ones.

    Raises InputError without a workspace, NotReadyError for one that has no reader yet.
    """
    if not workspaces:
        raise InputError("Name a workspace in which `palier train-reader` has run: --workspace DIR.")
    params = [load_params(Workspace(root).params) for root in workspaces]
    tuned = [OnnxReader(Workspace(root).reader) for root in workspaces]
    told = {"max_questions": max_questions, "asked_titles": asked_titles, "golden_split": golden_split, "seed": seed}
    readers = [
        {"seed": one.seed, **one.train_reader.model_dump(), "sha256": sha256_file(Workspace(root).reader / MODEL)}
        for one, root in zip(params, workspaces, strict=True)
    ]
    report = Report("tuning", told | {"readers": readers})
    public = read_gold(data, report, asked_titles, max_questions, np.random.default_rng(seed))
    for root in workspaces:
        for path in (Workspace(root).corpus / name for name in ("golden.jsonl", "passages.jsonl")):
            report.add_data(path, len(read_jsonl(path, "version-documents")))
    found = [
        _measured(one, Workspace(root), reader, public, np.random.default_rng(seed), golden_split)
        for one, root, reader in zip(params, workspaces, tuned, strict=True)
    ]
    return report.write(out, {"runs": found, "spread": _spread(found)})


def _measured(
    params: Params,
    workspace: Workspace,
    tuned: OnnxReader,
    public: Sequence[Exercise],
    rng: np.random.Generator,
    golden_split: str,
) -> dict[str, Any]:
    passages, golden = load_corpus(workspace)
    asked = [row for row in golden if row.split == golden_split]
    rung = next((rung for rung in params.ladder.rungs.values() if isinstance(rung, ReaderRung)), None)
    if rung is None:
        raise InputError(f"No reader among the rungs of {workspace.params}: there is nothing to compare.")
    starter = exported_reader(params)
    readers = {"starter": OnnxReader(starter), "tuned": tuned}
    groups: Mapping[str, tuple[Sequence[Exercise], int, float]] = {
        "golden_gold": (_beside_gold(asked, passages), 10, 0.0),
        "golden_retrieved": (
            _over_retrieved(asked, passages, params, workspace),
            rung.passages,
            rung.retrieval_weight,
        ),
        "public": (public, 1, 0.0),
    }
    results: dict[str, Any] = {"seed": params.seed, "starter_sha256": sha256_file(starter / MODEL)}
    for name, (exercises, depth, weight) in groups.items():
        if not exercises:
            continue
        said = {
            which: answers_of(reader, exercises, f"{name}, {which}", passages=depth, retrieval_weight=weight)
            for which, reader in readers.items()
        }
        results[name] = compared(exercises, said, rng)
        tell(f"{name}: {results[name]['all']}")
    return results


def _beside_gold(asked: Sequence[GoldenQuestion], passages: Mapping[str, Passage]) -> list[Exercise]:
    found = []
    for row in asked:
        hits = tuple(Hit(passages[key], 1.0) for key in row.passage_ids if key in passages)
        if row.answers and hits:
            found.append(Exercise(row.asked(), hits, row.answers))
    return found


def _over_retrieved(
    asked: Sequence[GoldenQuestion], passages: Mapping[str, Passage], params: Params, workspace: Workspace
) -> list[Exercise]:
    encoder = RecentVectors(OnnxEncoder(workspace.encoder), size=10_000)
    found = []
    for lang in sorted({row.lang for row in asked}):
        own = [row for row in asked if row.lang == lang]
        pool = Pool("all", lang, tuple(one for one in passages.values() if one.lang == lang), ())
        hits = hits_of(pool, [row.asked() for row in own], encoder, params.retrieval.dense_weight.get(lang, 0.0))
        found += [Exercise(row.asked(), tuple(listed), row.answers) for row, listed in zip(own, hits, strict=True)]
    return found


def _spread(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, least and most of each group's change over the runs, by measure; all languages."""
    spread: dict[str, Any] = {}
    for name in GROUPS:
        own = [run[name]["all"] for run in found if name in run]
        changes = {measure: [one[measure]["change"]["value"] for one in own] for measure in (own[0] if own else ())}
        spread[name] = {
            measure: {"mean": round(float(np.mean(values)), 4), "least": min(values), "most": max(values)}
            for measure, values in changes.items()
            if None not in values  # F1, where no question has an answer
        }
    return spread
