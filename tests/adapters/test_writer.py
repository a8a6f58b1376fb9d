"""The writer from training to llama.cpp: real weights, a few real steps, real files."""

import copy
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.low_rank import merge_pressed
from palier.adapters.onnx_reader import OnnxReader, ReaderConfig
from palier.adapters.reader_export import export_reader
from palier.adapters.torch_reader import bare_reader
from palier.adapters.workspace import write_json
from palier.adapters.writer_adapter import both_changes, gguf_of, learn_on, learnt_change, load_base, with_lora
from palier.adapters.writer_exam import exam_metrics, replies_of_llama, replies_of_torch, smallest_good
from palier.adapters.writer_export import export_writer, regrouped
from palier.adapters.writer_rows import IGNORED, RowMaker, WriterRow, batch_of
from palier.adapters.writer_rung import (
    CONFIG,
    CONTEXT_TOKENS,
    STOP,
    WRITER_FILE,
    LlamaCpp,
    WriterConfig,
    WriterLimits,
    WriterRung,
    point,
    tuned_writer,
    writer_hashes,
)
from palier.adapters.writer_training import WriterPlan, backward, own_adapter_off, train_writer, writer_loss
from palier.domain.answering import Hit, Question, Turn
from palier.domain.documents import Passage
from palier.domain.evidence import EVIDENCE_TOKENS, about_tokens
from palier.domain.money import cpu_cost_nanousd
from palier.domain.prompting import DONT_KNOW
from palier.domain.writing_tasks import Asked, WritingTask, exam_task
from palier.errors import IntegrityError, ModelEndpointError

pytestmark = pytest.mark.model

BASE = "smollm2-135m-instruct"
TASKS = [
    WritingTask("When does York close?", "en", ("Hours\nYork closes at 22:30.",), "22:30 [1]", ("22:30",)),
    WritingTask("Quand ferme Lyon ?", "fr", ("Horaires\nLyon ferme à 21 h.",), "21 h [1]", ("21 h",), ("21 h [1]",)),
    WritingTask("When does Bath close?", "en", ("Menu\nThe Regina is £11.",), DONT_KNOW["en"]),
    WritingTask("Where is it?", "en", ("A\nDogs may come in.", "B\nThe shop is in Leeds."), "in Leeds [2]", ("Leeds",)),
]
PLAN = WriterPlan(learning_rate=2e-3, batch_size=2, n_steps=3, seed=1, checkpoint_steps=1)


@pytest.fixture(scope="module")
def base() -> Path:
    return gguf_of(resolve(BASE))


@pytest.fixture(scope="module")
def maker(base: Path) -> RowMaker:
    return RowMaker(base, 200)


@pytest.fixture(scope="module")
def plain(base: Path) -> Any:
    """The base in torch; tests work on copies of it, since loading takes seconds."""
    return load_base(base)


@pytest.fixture(scope="module")
def trained(plain: Any, maker: RowMaker, tmp_path_factory: pytest.TempPathFactory) -> Sequence[dict[str, torch.Tensor]]:
    """The change that three steps make, and the one that two steps and a resumed third make."""
    rows, changes = maker.rows(TASKS), []
    for name in ("whole", "broken"):
        checkpoint = tmp_path_factory.mktemp("training") / "checkpoint.safetensors"
        model = with_lora(copy.deepcopy(plain), rank=4, seed=1)
        if name == "broken":
            with pytest.raises(KeyboardInterrupt):
                train_writer(model, lambda _epoch: rows, PLAN, checkpoint, _killed_after_two)
            model = with_lora(copy.deepcopy(plain), rank=4, seed=1)
        train_writer(model, lambda _epoch: rows, PLAN, checkpoint, lambda *_: None)
        changes.append(learnt_change(model))
    return changes


def _killed_after_two(done: int, _total: int, _what: str) -> None:
    if done == 2:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def tuned(plain: Any, trained: Sequence[dict[str, torch.Tensor]]) -> Any:
    """The base with those three steps merged."""
    model = copy.deepcopy(plain).eval()
    merge_pressed(model.state_dict(), trained[0])
    return model


@pytest.fixture(scope="module")
def exported(base: Path, tuned: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/writer with those three steps, in the finest rounding."""
    folder = tmp_path_factory.mktemp("models") / "writer"
    export_writer(tuned.state_dict(), base, folder / WRITER_FILE, "Q8_0")
    write_json(folder / CONFIG, WriterConfig(base=BASE, quantisation="Q8_0", max_words=60).model_dump())
    return folder


def test_a_killed_training_takes_the_steps_that_it_would_have_taken(trained: Sequence[dict[str, torch.Tensor]]) -> None:
    """Bit for bit; and the steps changed something."""
    whole, broken = trained
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert sum(float(tensor.abs().sum()) for name, tensor in whole.items() if name.endswith(".up")) > 0


def test_the_gradient_in_parts_through_merged_weights_is_that_of_the_adapter() -> None:
    """On a tiny model, against PEFT's own layers and all rows at once; bfloat16 aside."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=64, num_key_value_heads=2, tie_word_embeddings=True, **sizes)
    torch.manual_seed(1)
    model = with_lora(LlamaForCausalLM(config), rank=4, seed=1)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1)
    rng = np.random.default_rng(1)
    rows = [WriterRow(tuple(rng.integers(64, size=n)), tuple(rng.integers(64, size=3))) for n in (250, 300, 260) * 3]
    loss = writer_loss(model.get_base_model().model, {}, rows)
    loss.backward()
    wanted = torch.cat([parameter.grad.flatten() for parameter in trained])
    model.zero_grad()
    with own_adapter_off(model):
        found = backward(model, rows)
    gradient = torch.cat([parameter.grad.flatten() for parameter in trained])
    assert found == pytest.approx(loss.item(), rel=0.01)
    assert float(torch.cosine_similarity(wanted, gradient, dim=0)) > 0.995


def test_the_change_of_three_steps_is_small_enough_to_commit(trained: Sequence[dict[str, torch.Tensor]]) -> None:
    """Rank 16 is four times this one."""
    n_bytes = sum(tensor.nbytes for tensor in trained[0].values())
    assert 4 * n_bytes < 10e6


def test_only_the_answer_is_learnt_and_it_ends(maker: RowMaker) -> None:
    """Labels hold the target and the end of the turn, and nothing of the prompt."""
    row = maker.row(TASKS[0])
    assert row is not None
    labels = batch_of([row, WriterRow((1,), (2,))]).labels
    assert maker.tokenizer.decode(labels[0][labels[0] != IGNORED]) == "22:30 [1]<|im_end|>"
    assert labels[1].tolist() == [IGNORED, 2, *[IGNORED] * (len(row) - 2)]


def test_a_prompt_is_what_llama_cpp_makes_of_the_same_messages(maker: RowMaker, base: Path) -> None:
    """Counted in tokens by llama.cpp itself."""
    model = LlamaCpp(base)
    for task in TASKS:
        used = model.chat(task.messages(), 1)["usage"]["prompt_tokens"]
        assert used == len(maker.prompt(task))


def test_a_row_that_is_too_long_is_left_out(base: Path, maker: RowMaker) -> None:
    long = WritingTask("Why?", "en", ("word " * 300,), "because [1]", ("because",))
    assert maker.rows([long, *TASKS]) == maker.rows(TASKS)


def test_rows_of_heads_are_regrouped_as_pairs() -> None:
    """Two heads of four rows: halves (0 1 | 2 3) become pairs (0 2 1 3)."""
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert regrouped(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_base_without_a_change_comes_back_as_it_was(base: Path, plain: Any, tmp_path: Path) -> None:
    """All metadata, all tensors that tuning leaves alone, and, rounded finer than before, every weight."""
    target = tmp_path / "same.gguf"
    export_writer(plain.state_dict(), base, target, "Q8_0")
    before, after = gguf.GGUFReader(base), gguf.GGUFReader(target)
    assert after.fields["palier.base_sha256"].contents() == sha256_file(base)
    for name, field in before.fields.items():
        if not name.startswith("GGUF.") and name != "general.file_type":
            assert after.fields[name].contents() == field.contents(), name
    kept = {tensor.name: tensor for tensor in after.tensors}
    assert [tensor.name for tensor in before.tensors] == [tensor.name for tensor in after.tensors]
    for old in before.tensors:
        new = kept[old.name]
        one, two = (gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in (old, new))
        assert np.abs(one - two).max() <= np.abs(one).max() / 100, old.name


@pytest.mark.parametrize("task", TASKS)
def test_llama_cpp_writes_what_torch_would_write(
    maker: RowMaker, exported: Path, tuned: Any, task: WritingTask
) -> None:
    """The exported file, the heads' rows regrouped, is as sure of its reply as the weights are.

    The words are not compared: three steps leave near ties, which a processor's own way of adding bytes decides.
    """
    (choice,) = LlamaCpp(exported / WRITER_FILE).chat(task.messages(), 12, STOP)["choices"]
    tokens = choice["logprobs"]["content"]
    ids, prompt = [token["id"] for token in tokens], maker.prompt(task)
    with torch.inference_mode():
        wanted = tuned(torch.tensor([[*prompt, *ids]])).logits[0].float().log_softmax(-1)
    sure = [float(wanted[len(prompt) - 1 + place, token]) for place, token in enumerate(ids)]
    assert np.mean([token["logprob"] for token in tokens]) == pytest.approx(np.mean(sure), abs=0.5)
    assert "\n" not in choice["message"]["content"]


def test_replies_in_a_batch_are_those_of_one_by_one(maker: RowMaker, tuned: Any) -> None:
    """Prompts of other lengths beside one change nothing; a reply is one line."""
    together = replies_of_torch(tuned, maker, TASKS, 12)
    assert together == [replies_of_torch(tuned, maker, [task], 12)[0] for task in TASKS]
    assert all(reply and "\n" not in reply for reply in together)


def test_a_tuned_writer_answers_on_the_ladder_with_a_citation(exported: Path) -> None:
    """Two passages, no reader: the nearest words point, the answer cites a passage, and its cost is its seconds (but
    those in which this thread pointed to nothing, since others kept its core).
    """
    config = tuned_writer(exported, BASE)
    assert config is not None
    limits = WriterLimits(2, config.max_words, 12)
    rung = WriterRung("writer", LlamaCpp(exported / WRITER_FILE), None, limits, prompt="p", cpu_usd_per_hour=0.04)
    texts = {"hours": "York closes at 22:30. Dogs may come in.", "menu": "The Regina is £11."}
    hits = [Hit(Passage(f"{key}#1", key, "en", key, "", text, 1, 1), 0.5) for key, text in texts.items()]
    answer = rung.answer(Question("When does York close?", "en"), hits)
    assert bool(answer.text) == bool(answer.citations)
    for citation in answer.citations:
        assert citation.quote in texts[citation.document_id]
    paid = cpu_cost_nanousd(answer.latency_ms / 1000, 0.04)
    assert 0.8 * paid < answer.cost_nanousd <= paid


class Heard(LlamaCpp):
    """llama.cpp that remembers what it was asked, and how many tokens it read of it."""

    asked: list[list[Mapping[str, str]]]
    n_tokens: int

    def chat(
        self, chat_messages: Sequence[Mapping[str, str]], max_tokens: int, stop: Sequence[str] = ()
    ) -> dict[str, Any]:
        self.asked = [*getattr(self, "asked", []), list(chat_messages)]
        reply = super().chat(chat_messages, max_tokens, stop)
        self.n_tokens = reply["usage"]["prompt_tokens"]
        return reply


def test_an_answer_is_asked_for_in_the_words_of_the_exam(base: Path, tmp_path: Path) -> None:
    """A real reader, untaught, points and suggests; what is dear in tokens is cut, suggestions counted."""
    encoder = resolve("all-minilm-l6-v2")
    export_reader(bare_reader(encoder, seed=1), encoder, tmp_path, ReaderConfig(max_tokens=128, answer_tokens=4))
    reader, model = OnnxReader(tmp_path), Heard(base)
    rung = WriterRung("writer", model, reader, WriterLimits(2, 60, 4), prompt="p", cpu_usd_per_hour=0.04)
    dear = " ".join(str(number) for number in range(1000, 1200))
    texts = ["York closes at 22:30. Dogs may come in.", f"Leeds has the numbers {dear}."]
    hits = [Hit(Passage(f"{n}#1", f"{n}", "en", f"{n}", "", text, 1, 1), 0.5) for n, text in enumerate(texts)]
    for found in (hits[:1], hits):
        rung.answer(Question("When does York close?", "en"), found)
    plain, long = model.asked
    contents = [hit.passage.content for hit in hits]
    exam = exam_task(Asked("When does York close?", "en"), contents[:1], partial(point, reader), 60)
    assert plain == exam.messages()
    assert "\nPerhaps: " in plain[-1]["content"]
    assert about_tokens(long[-1]["content"]) <= EVIDENCE_TOKENS + about_tokens(
        "[1] [2] Question: When does York close?"
    )


@pytest.fixture(scope="module")
def heard(base: Path) -> Heard:
    return Heard(base)


def plain_rung(model: LlamaCpp) -> WriterRung:
    return WriterRung("writer", model, None, WriterLimits(2, 80, 4), prompt="Answer.", cpu_usd_per_hour=0.04)


def hit_of(text: str) -> Hit:
    return Hit(Passage("a#1", "a", "en", "a", "", text, 1, 1), 0.5)


def test_what_waits_for_another_answer_is_not_paid_nor_slow(heard: Heard) -> None:
    """As `record-outcomes` asks, from two threads: together the answers took no longer than the clock says."""
    rung, hits = plain_rung(heard), [hit_of("York closes at 22:30. Dogs may come in.")]
    questions = [Question(f"When does shop {number} close?", "en") for number in range(6)]
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda question: rung.answer(question, hits), questions))
    spent = time.perf_counter() - started
    assert sum(answer.latency_ms for answer in answers) / 1000 < 1.25 * spent
    assert sum(answer.cost_nanousd for answer in answers) < 1.25 * cpu_cost_nanousd(spent, 0.04)


EMAIL = (Turn("user", "Hello, " + "we are a party of nine and we would like to come on a Sunday. " * 210),)
LONG = {
    "a pasted e-mail before it": (Question("When does York close?", "en", EMAIL), "York closes at 22:30."),
    "emoji": (Question("🍕" * 1200, "en"), "York closes at 22:30."),
    "white space": (Question("When" + " \n\t" * 1300 + "?", "en"), "York closes at 22:30."),
    "a path": (Question("Where is the invoice?", "en"), "invoice/" + "/".join(f"v{n}/{n:x}.bak" for n in range(300))),
    "a script without spaces": (
        Question("When does York close?", "en"),
        "York:" + "営業時間は午前九時から午後五時まで" * 60,
    ),
}


@pytest.mark.parametrize("case", LONG)
def test_whatever_is_asked_or_found_the_writer_reads_little_of_it(heard: Heard, case: str) -> None:
    """Evidence of about 300 tokens, and of a question no more tokens than its last thousand bytes."""
    question, text = LONG[case]
    answer = plain_rung(heard).answer(question, [hit_of(text)])
    asked = min(len(question.standalone.encode()), 1000)
    assert heard.n_tokens < EVIDENCE_TOKENS + asked + 60
    assert answer.cost_nanousd > 0


def test_without_passages_the_last_turns_of_a_long_conversation_are_read(heard: Heard) -> None:
    turns = tuple(Turn(role, f"{role} {n} " + "says so. " * 90) for n in range(10) for role in ("user", "assistant"))
    rung = plain_rung(heard)
    rung.answer(Question("And on Sunday?", "en", turns), [])
    begins = [message["content"][:11] for message in heard.asked[-1]]
    assert begins == ["Answer.", "user 9 says", "assistant 9", "And on Sund"]
    rung.answer(Question("And on Sunday?", "en", (Turn("user", "Is it open?"), Turn("assistant", "Yes."))), [])
    assert [message["content"] for message in heard.asked[-1]] == ["Answer.", "Is it open?", "Yes.", "And on Sunday?"]


def test_a_chat_that_is_too_long_is_a_failed_endpoint(heard: Heard) -> None:
    """Which a cascade climbs past; an exam says so too."""
    with pytest.raises(ModelEndpointError, match=rf"llama\.cpp gave no answer.*{CONTEXT_TOKENS}"):
        heard.chat([{"role": "user", "content": "word " * 3000}], 4)
    with pytest.raises(ModelEndpointError, match="gave no answer"):
        replies_of_llama(heard, [WritingTask("Why?", "en", ("word " * 3000,), "because [1]")], 4)


def test_what_a_writer_answers_with_is_known_by_its_hashes(exported: Path, tmp_path: Path) -> None:
    """The tuned files where they are of the rung's model, else the catalogue's."""
    assert tuned_writer(exported, "another-model") is None
    assert writer_hashes(exported.parent, BASE)[f"writer/{WRITER_FILE}"] == sha256_file(exported / WRITER_FILE)
    assert list(writer_hashes(tmp_path, BASE)) == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    (exported / CONFIG).rename(tmp_path / CONFIG)
    with pytest.raises(IntegrityError, match="palier train-writer"):
        tuned_writer(exported, BASE)
    (tmp_path / CONFIG).rename(exported / CONFIG)


def test_two_changes_are_one_with_both_ranks(tmp_path: Path) -> None:
    """Merging the joined change gives what merging one after the other gives; it survives its file."""
    generator = torch.Generator().manual_seed(1)
    first, second = (
        {
            f"{name}.{end}": torch.randn(shape, generator=generator)
            for name in names
            for end, shape in (("up", (6, 2)), ("down", (2, 4)))
        }
        for names in (("a", "b"), ("b", "c"))
    )
    one, two = ({name: torch.zeros(6, 4) for name in "abc"} for _ in range(2))
    merge_pressed(one, first)
    merge_pressed(one, second)
    save_file(both_changes(first, second), tmp_path / "both.safetensors")
    merge_pressed(two, load_file(tmp_path / "both.safetensors"))
    for name in "abc":
        assert torch.allclose(one[name], two[name], atol=1e-5)


def test_a_training_can_go_on_from_a_change(plain: Any, trained: Sequence[dict[str, torch.Tensor]]) -> None:
    """The matrices say again what they said, and another rank is refused."""
    model = with_lora(copy.deepcopy(plain), rank=4, seed=2)
    learn_on(model, trained[0])
    again = learnt_change(model)
    assert all(torch.equal(again[name], tensor) for name, tensor in trained[0].items())
    with pytest.raises(IntegrityError, match="another rank"):
        learn_on(with_lora(copy.deepcopy(plain), rank=2, seed=2), trained[0])


def test_a_change_for_another_base_is_refused(base: Path) -> None:
    with pytest.raises(IntegrityError, match="does not fit"):
        load_base(base, {"model.layers.0.self_attn.q_proj.weight.up": torch.zeros(3, 1),
                         "model.layers.0.self_attn.q_proj.weight.down": torch.zeros(1, 3)})  # fmt: skip


def test_the_exam_counts_silence_and_language() -> None:
    """F1 counts silence as 0, quality counts a right one as 1, an answer in the other language is seen."""
    metrics = exam_metrics(TASKS, ["22:30 [1]", "Lyon closes at 21 h [1]", "I don't know.", "I don't know. [1]"])
    assert metrics["f1.en"] == 0.5
    assert metrics["share_answered.en"] == 0.5
    assert metrics["in_language.fr"] == 0.0
    assert metrics["in_language.en"] == 1.0
    assert metrics["no_answer_f1.en"] == pytest.approx(2 / 3)
    assert metrics["quality"] > metrics["f1"] * 3 / 4


def test_the_smallest_file_that_is_good_enough_is_kept() -> None:
    assert smallest_good({"Q4_0": 0.700, "Q4_1": 0.7052, "Q8_0": 0.710}) == "Q4_1"
    assert smallest_good({"Q4_0": 0.720, "Q4_1": 0.7052, "Q8_0": 0.710}) == "Q4_0"
    assert smallest_good({"Q4_0": 0.1, "Q4_1": 0.2, "Q8_0": 0.7}) == "Q8_0"
