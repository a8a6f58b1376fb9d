"""Outcomes over a live endpoint and out of files: probation per language, labels by a judge, and what is refused."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.replay_endpoint import Endpoint, PriceList, recording_of, run_endpoint
from palier.adapters.catalogue import resolve
from palier.adapters.outcome_recorder import rung_fingerprint, turns_of
from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_json, write_jsonl
from palier.adapters.writer_rung import LlamaCpp
from palier.domain.answering import Turn
from palier.errors import InputError, ModelEndpointError, NotReadyError, ParamsError
from palier.params import Params, load_params, parse_params
from palier.settings import Settings, repository_root
from palier.stages import package_release, record_outcomes
from tests.adapters import openai_server
from tests.adapters.tiny_encoder import write_tiny_encoder

QUESTIONS = {
    "en": [f"How many lakes has country {n}?" for n in range(12)],
    "fr": [f"Combien de lacs y a-t-il dans le pays {n} ?" for n in range(12)],
}
PRICES = PriceList({name: (Decimal("1"), Decimal("2")) for name in ("polyglot", "english", "judge")})


def no_progress(*_: object) -> None:
    """Nobody watches."""


def recorded() -> tuple[pd.DataFrame, pd.DataFrame]:
    """`polyglot` is right in both languages, `english` in one."""
    asked, said = [], []
    for lang, texts in QUESTIONS.items():
        for n, text in enumerate(texts):
            key = f"{lang}-{n}"
            asked.append({"query_id": key, "query": text, "lang": lang, "reference": f"{n} lakes"})
            for model in ("polyglot", "english"):
                answer = f"{n} lakes" if model == "polyglot" or lang == "en" else "many"
                right = float(answer != "many")
                said.append({"query_id": key, "model": model, "answer": answer, "correct": right, "cost_usd": 1e-6})
    return pd.DataFrame(said), pd.DataFrame(asked)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with run_endpoint(Endpoint(recording_of(*recorded()), PRICES)) as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "workspace")
    write_tiny_encoder(place.encoder, ["lakes"])
    rows = [
        {
            "id": f"{lang}-{n}",
            "lang": lang,
            "question": text,
            "answers": [f"{n} lakes"],
            "document_id": f"{lang}/{n}",
            "kind": "fact",
            "split": "test" if n % 3 == 0 else "validation",
        }
        for lang, texts in QUESTIONS.items()
        for n, text in enumerate(texts)
    ]
    write_jsonl(place.corpus / "golden.jsonl", rows)
    return place


def rung(model: str) -> dict[str, Any]:
    price = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0, "date": "2026-01-01"}
    told = {"kind": "heavy", "provider": "openai", "model": model, "passages": 0, "max_new_tokens": 9}
    return {**told, "price": price}


def params_of(**changes: Any) -> Params:
    """The repository's params without passages, with two heavy rungs."""
    raw = load_params(repository_root() / "params.yaml").model_dump(mode="json")
    raw |= {
        "retrieval": "none",
        "ladder": {"cpu_usd_per_hour": 0.0, "rungs": {m: rung(m) for m in ("english", "polyglot")}},
    }
    raw["record_outcomes"] |= {"probation_questions": 8, **changes}
    return Params.model_validate(raw, strict=False)


def settings_of(tmp_path: Path, endpoint: Endpoint | None = None) -> Settings:
    url = endpoint.url if endpoint else "http://127.0.0.1:9"
    return Settings(state_dir=tmp_path / "state", heavy_url=f"{url}/v1", heavy_api_key="none")


def write_recorded(workspace: Workspace, said: pd.DataFrame, asked: pd.DataFrame) -> dict[str, Any]:
    workspace.golden.mkdir(parents=True)
    said.to_parquet(workspace.golden / "o.parquet")
    asked.to_parquet(workspace.golden / "q.parquet")
    return {"recorded": {"outcomes": "golden/o.parquet", "queries": "golden/q.parquet"}}


def test_a_rung_that_knows_one_language_is_left_out_of_the_other_before_it_costs_much(
    endpoint: Endpoint, workspace: Workspace, tmp_path: Path
) -> None:
    """`english` is asked eight French questions and no more, and has no French outcomes."""
    result = record_outcomes.run(params_of(), workspace.root, settings_of(tmp_path, endpoint), no_progress)
    assert result.languages == {"english": ("en",), "polyglot": ("en", "fr")}
    assert list(result.left_out) == ["english (fr)"]
    rows = pd.read_parquet(workspace.outcomes / "outcomes.parquet").merge(
        pd.read_parquet(workspace.outcomes / "queries.parquet"), on="query_id"
    )
    assert rows.groupby(["model", "lang"]).size().to_dict() == {
        ("english", "en"): 12,
        ("polyglot", "en"): 12,
        ("polyglot", "fr"): 12,
    }
    asked_french = {c.query_id for c in endpoint.charges if c.model == "english" and c.query_id.startswith("fr")}
    assert len(asked_french) == 8
    assert rows["cost_nanousd"].sum() < endpoint.total_nanousd


def test_nothing_is_asked_twice(endpoint: Endpoint, workspace: Workspace, tmp_path: Path) -> None:
    """A second run has all answers in its memory, and writes the same outcomes."""
    settings = settings_of(tmp_path, endpoint)
    first = record_outcomes.run(params_of(), workspace.root, settings, no_progress)
    charged, before = endpoint.total_nanousd, (workspace.outcomes / "outcomes.parquet").read_bytes()
    again = record_outcomes.run(params_of(), workspace.root, settings, no_progress)
    assert (again.n_asked, again.n_remembered) == (0, first.n_asked)
    assert endpoint.total_nanousd == charged
    assert (workspace.outcomes / "outcomes.parquet").read_bytes() == before


@pytest.fixture(scope="module")
def filtering() -> Iterator[openai_server.Endpoint]:
    """A real model behind OpenAI's protocol, with a content filter to be set."""
    with openai_server.run_endpoint(LlamaCpp(next(resolve("smollm2-135m-instruct").glob("*.gguf")))) as running:
        yield running


def over_filtering(endpoint: openai_server.Endpoint, tmp_path: Path) -> tuple[Params, Settings]:
    """One rung that stays whatever it says; nothing remembered by the endpoint."""
    endpoint.reset()
    params = params_of(probation_quality=0.0)
    ladder = {"cpu_usd_per_hour": 0.0, "rungs": {"heavy": rung(openai_server.MODEL)}}
    told = params.model_dump(mode="json") | {"ladder": ladder}
    settings = Settings(state_dir=tmp_path, heavy_url=f"{endpoint.url}/v1", heavy_api_key=openai_server.KEY)
    return Params.model_validate(told, strict=False), settings


@pytest.mark.model
def test_a_question_that_an_endpoint_always_refuses_is_recorded_as_not_answered_and_told(
    filtering: openai_server.Endpoint, workspace: Workspace, tmp_path: Path
) -> None:
    """At no cost and of quality 0, also where no answer would be right: nobody is given it. The others are recorded,
    and a rerun asks only the refused ones again, and finds them answered once the filter is open."""
    rows = read_jsonl(workspace.corpus / "golden.jsonl", "version-documents")
    write_jsonl(
        workspace.corpus / "golden.jsonl", [row | {"answers": []} if row["id"] == "en-4" else row for row in rows]
    )
    params, settings = over_filtering(filtering, tmp_path)
    filtering.filters = r"country [34]\?|pays 3 \?"
    seen: list[str] = []
    result = record_outcomes.run(params, workspace.root, settings, lambda _done, _total, what: seen.append(what))
    assert result.refused == {"heavy": {"HTTP 400, content_filter": 3}}
    assert result.metrics["heavy.n_refused"] == 3
    assert read_json(workspace.outcomes / "rungs.json", "record-outcomes")["refused"] == result.refused
    said = [what for what in seen if "refused by the endpoint (HTTP 400, content_filter: " in what]
    assert sum(int(what.split()[1]) for what in said) == 3
    outcomes = pd.read_parquet(workspace.outcomes / "outcomes.parquet").set_index("query_id")
    assert len(outcomes) == 24
    refused = outcomes.loc[["en-3", "en-4", "fr-3"]]
    assert refused[["answer", "correct", "cost_nanousd"]].drop_duplicates().values.tolist() == [["", 0.0, 0]]
    assert (outcomes.drop(refused.index)["cost_nanousd"] > 0).all()
    filtering.reset()
    again = record_outcomes.run(params, workspace.root, settings, no_progress)
    assert (again.n_asked, again.n_remembered, again.refused) == (3, 21, {})
    assert len(filtering.bodies) == 3


@pytest.mark.model
def test_an_endpoint_that_refuses_more_than_a_few_questions_stops_the_stage_and_nothing_is_lost(
    filtering: openai_server.Endpoint, workspace: Workspace, tmp_path: Path
) -> None:
    """The reason is told; what was answered before is not asked again."""
    params, settings = over_filtering(filtering, tmp_path)
    filtering.filters = r"pays [2457] \?"
    with pytest.raises(
        ModelEndpointError, match=r"Rung 'heavy': 4 of 8 .*\(HTTP 400, content_filter: 4\), more than 10%"
    ):
        record_outcomes.run(params, workspace.root, settings, no_progress)
    assert not (workspace.outcomes / "outcomes.parquet").exists()
    n_answered = len(filtering.replies)
    assert n_answered >= 12
    filtering.reset()
    again = record_outcomes.run(params, workspace.root, settings, no_progress)
    assert (again.n_asked, again.n_remembered) == (24 - n_answered, n_answered)


@pytest.mark.model
def test_a_model_that_is_not_there_is_no_refusal(
    filtering: openai_server.Endpoint, workspace: Workspace, tmp_path: Path
) -> None:
    """It stops at the first question, and names what to check."""
    _, settings = over_filtering(filtering, tmp_path)
    with pytest.raises(ModelEndpointError, match="Check PALIER_HEAVY_URL"):
        record_outcomes.run(params_of(), workspace.root, settings, no_progress)


def test_conversations_are_written_down_with_the_questions(
    endpoint: Endpoint, workspace: Workspace, tmp_path: Path
) -> None:
    """The guard's thresholds are chosen on them."""
    rows = read_jsonl(workspace.corpus / "golden.jsonl", "version-documents")
    rows[1]["history"] = [{"role": "user", "content": "Où ?"}, {"role": "assistant", "content": "Là."}]
    write_jsonl(workspace.corpus / "golden.jsonl", rows)
    record_outcomes.run(params_of(), workspace.root, settings_of(tmp_path, endpoint), no_progress)
    history = pd.read_parquet(workspace.outcomes / "queries.parquet").set_index("query_id")["history"]
    assert turns_of(history["en-1"]) == (Turn("user", "Où ?"), Turn("assistant", "Là."))
    assert turns_of(history["en-2"]) == ()


def test_without_a_golden_question_to_ask_the_split_that_is_missing_is_named(
    endpoint: Endpoint, workspace: Workspace, tmp_path: Path
) -> None:
    """Training questions alone are none: nobody is asked, and nothing is written."""
    rows = read_jsonl(workspace.corpus / "golden.jsonl", "version-documents")
    for left in ([row | {"split": "train"} for row in rows], []):
        write_jsonl(workspace.corpus / "golden.jsonl", left)
        with pytest.raises(NotReadyError, match="No golden question is left: mark some `split: validation`"):
            record_outcomes.run(params_of(), workspace.root, settings_of(tmp_path, endpoint), no_progress)
    assert endpoint.charges == []
    assert not workspace.outcomes.exists()


def test_a_reader_that_withholds_more_is_asked_again(tmp_path: Path) -> None:
    """What a reader said is remembered by its weights and by its config, where its threshold stands."""
    params, place = load_params(repository_root() / "params.yaml"), Workspace(tmp_path)
    place.reader.mkdir(parents=True)
    (place.reader / "model.onnx").write_bytes(b"weights")
    told = []
    for threshold in (0.5, 0.5, 0.7):
        write_json(place.reader / "config.json", {"null_threshold": threshold})
        told.append(rung_fingerprint(params, "reader", place))
    assert told[0] == told[1] != told[2]


def test_recorded_outcomes_are_taken_without_asking_anybody(workspace: Workspace, tmp_path: Path) -> None:
    """Costs and labels are the file's own, and a rung without outcomes is left out with the reason."""
    said, asked = recorded()
    files = write_recorded(workspace, said[said["model"] == "polyglot"], asked)
    result = record_outcomes.run(params_of(**files), workspace.root, settings_of(tmp_path), no_progress)
    assert (result.n_questions, result.n_asked) == (24, 0)
    assert result.left_out == {"english": "no recorded outcomes"}
    rows = pd.read_parquet(workspace.outcomes / "outcomes.parquet")
    assert set(rows["cost_nanousd"]) == {1000}
    assert set(rows["labelled_by"]) == {"gold"}


def test_recorded_questions_that_are_left_out_are_told(workspace: Workspace, tmp_path: Path) -> None:
    """One outcome is missing, so its question teaches nothing."""
    said, asked = recorded()
    seen: list[str] = []
    result = record_outcomes.run(
        params_of(**write_recorded(workspace, said[1:], asked)),
        workspace.root,
        settings_of(tmp_path),
        lambda _done, _total, what: seen.append(what),
    )
    assert result.n_questions == 23
    assert "1 recorded questions left out: not every rung has an outcome of them" in seen


def test_a_missing_label_without_a_judge_is_an_error_that_names_the_remedy(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Nothing is guessed."""
    said, asked = recorded()
    said.loc[0, "correct"] = None
    with pytest.raises(ParamsError, match=r"1 recorded outcomes have no `correct`.*record_outcomes\.judge"):
        record_outcomes.run(
            params_of(**write_recorded(workspace, said, asked)), workspace.root, settings_of(tmp_path), no_progress
        )


def test_recorded_answers_do_not_go_with_passages(workspace: Workspace, tmp_path: Path) -> None:
    """They were given without ours."""
    files = write_recorded(workspace, *recorded())
    params = params_of(**files)
    searching = params.model_copy(update={"retrieval": load_params(repository_root() / "params.yaml").retrieval})
    with pytest.raises(InputError, match="retrieval: none"):
        record_outcomes.run(searching, workspace.root, settings_of(tmp_path), no_progress)


def test_a_judge_labels_what_has_no_label_and_its_agreement_with_gold_is_told(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The judge here is recorded too: it was once asked these very pairs, and says its reasons in words."""
    said, asked = recorded()
    unknown = (said["query_id"] == "fr-3") & (said["model"] == "english")
    files = write_recorded(workspace, said.assign(correct=said["correct"].mask(unknown)), asked)
    verdicts = judge_recording(said, asked)
    with run_endpoint(Endpoint(recording_of(*verdicts), PRICES)) as endpoint:
        price = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0, "date": "2026-01-01"}
        judge = {"provider": "openai", "model": "judge", "max_new_tokens": 50, "price": price, "check_questions": 20}
        params = params_of(**files, judge=judge)
        record_outcomes.run(params, workspace.root, settings_of(tmp_path, endpoint), no_progress)
        assert endpoint.n_not_recorded == 0
    rows = pd.read_parquet(workspace.outcomes / "outcomes.parquet").set_index(["query_id", "model"])
    labelled = rows.loc[("fr-3", "english")]
    assert labelled["labelled_by"] == "judge"
    assert labelled["correct"] < 0.2, "it disagrees with the reference, and such answers are wrong where gold is known"
    assert labelled["correct_low"] <= labelled["correct"] <= labelled["correct_high"]
    told = read_json(workspace.outcomes / "rungs.json", "record-outcomes")["judge"]
    assert told["n"] == 20, "each is paid for: no more than check_questions"
    assert told["agreement"] == 1.0
    assert told["low"] < 1.0
    assert told["consistent"] == 1.0


def judge_recording(said: pd.DataFrame, asked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a judge that is always right says to every pair, in both orders, as an outcome file."""
    from palier.domain.judging import judging_messages

    texts, golden = asked.set_index("query_id")["query"], asked.set_index("query_id")["reference"]
    queries, outcomes = [], []
    for row in said.itertuples(index=False):
        relation = "C" if row.correct else "D"
        for one, other in ((row.answer, golden[row.query_id]), (golden[row.query_id], row.answer)):
            key, prompt = len(queries), judging_messages(texts[row.query_id], one, other)[-1]["content"]
            queries.append({"query_id": key, "query": prompt})
            told = f"They say what they say.\nRelation: {relation}"
            outcomes.append({"query_id": key, "model": "judge", "answer": told, "correct": 1.0, "cost_usd": 1e-6})
    unique = pd.DataFrame(queries).drop_duplicates("query")
    kept = pd.DataFrame(outcomes)
    return kept[kept["query_id"].isin(unique["query_id"])], unique


def test_retrieval_none_can_be_written_in_one_word(tmp_path: Path) -> None:
    """The short form means the long one, and a bundle holds the long one."""
    raw = load_params(repository_root() / "params.yaml").model_dump(mode="python") | {"retrieval": "none"}
    params = parse_params(raw, "here")
    assert not params.retrieval.searches
    assert not params.retrieval.reranks
    again = type(params.retrieval).model_validate_json(params.retrieval.model_dump_json())
    assert again == params.retrieval
    assert package_release.SERVED.keys() >= {"encoder", "scorer"}
