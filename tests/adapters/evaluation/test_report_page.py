"""The page is one file that says everything in words too: captions, headers, alternative texts; and escapes all."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from palier.adapters.evaluation import plots
from palier.adapters.evaluation.answer_measures import Sampling, by_language, measures, with_scores
from palier.adapters.evaluation.findings import Findings
from palier.adapters.evaluation.noise_trials import UnderNoise
from palier.adapters.evaluation.page import Figure, Table, render, said
from palier.adapters.evaluation.scorer_measures import Bin, CurvePoint, scorer_measures
from palier.adapters.evaluation.sections import page_of
from palier.domain.bootstrap import Interval
from palier.domain.slices import SliceGap, slice_gaps

SAMPLING = Sampling(seed=7, samples=100)


class Seen(HTMLParser):
    """Every element with its attributes, and the text that follows its start."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements:
            self.texts.append((self.elements[-1][0], data.strip()))

    def cells(self, tag):
        return [text for name, text in self.texts if name == tag and text]

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def findings() -> Findings:
    """Of forty made-up outcomes, with every section but the writer's."""
    rng = np.random.default_rng(0)
    quality = rng.random(40)
    table = with_scores(
        pd.DataFrame(
            {
                "query_id": [f"q{i}" for i in range(40)],
                "answer": ["the oven"] * 40,
                "correct": quality,
                "cites_gold": 1.0,
                "cost_nanousd": 10,
                "latency_ms": 5.0,
                "lang": ["en", "fr"] * 20,
                "reference": json.dumps(["oven"]),
                "answerable": True,
            }
        )
    )
    found = Findings({"all": 40, "en": 20, "fr": 20})
    found.rungs["<reader>"] = by_language(table, ("en", "fr"), lambda rows: measures(rows, SAMPLING))
    found.baselines["first_bm25_sentence"] = found.rungs["<reader>"]
    scorer = found.scorer["all"] = scorer_measures(table.assign(score=1 - quality), (0.5,), SAMPLING)
    measured = {"auc": scorer.auc, "ece": scorer.ece, "ece_by_chance": None}
    found.scorer_curve = [CurvePoint(share, 10, measured) for share in (0.5, 1.0)]
    one = Interval(0.5, 0.4, 0.6, 40)
    found.noise = {"<reader>": {"typos": UnderNoise(one, one, Interval(-0.1, -0.2, 0.0, 40), 38)}}
    gaps = slice_gaps(quality, table["lang"].tolist(), SAMPLING.rng, min_rows=5, samples=100)
    found.slices["<reader>"] = {"language": gaps}
    found.not_measured["writer"] = "no writer & no reason"
    return found


def test_the_page_needs_nothing_beside_it_and_names_every_table_and_drawing():
    seen = Seen(render(page_of(findings(), "Models: <b>files</b>", [("Rungs", "<reader>")])))
    assert seen.all("html")[0]["lang"] == "en"
    assert not [a for tag, a in seen.elements if tag in {"script", "link", "iframe"}]
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in seen.all("img"))
    assert len(seen.all("img")) == 4
    assert all(len(image["alt"]) > 30 for image in seen.all("img"))
    assert len(seen.all("caption")) == len(seen.all("table")) > 6
    assert {header["scope"] for header in seen.all("th")} == {"col", "row"}
    targets = {attributes["id"] for attributes in seen.all("section")}
    assert {link["href"].removeprefix("#") for link in seen.all("a")} == targets


def test_what_documents_and_names_hold_is_text_and_never_markup():
    html = render(page_of(findings(), "Models: <b>files</b>", [("Rungs", "<reader>")]))
    assert "<b>" not in html
    assert "<reader>" not in html
    assert "&lt;reader&gt;" in html
    assert "no writer &amp; no reason" in html


def test_english_and_french_stand_side_by_side_with_f1_beside_the_share_answered():
    seen = Seen(render(page_of(findings(), "Models", [])))
    heads = seen.cells("th")
    columns = heads.index("Measure")
    assert heads[columns : columns + 4] == ["Measure", "All", "English", "French"]
    assert heads[columns:][heads[columns:].index("F1\u00a0↑") + 1] == "Share answered"


def test_a_number_may_break_between_its_parts_and_not_inside_its_interval():
    """A table on a narrow screen is a column of values, intervals and counts."""
    assert said(None) == "–"
    assert said(Interval(0.5, 0.25, 0.75, 8), 2).split(" ") == ["0.50", "(0.25\u00a0to\u00a00.75),", "n\u00a08"]


def test_rungs_stand_side_by_side_first_with_their_cost_in_a_unit_that_can_be_read():
    found = findings()
    cheap = {"f1": Interval(0.5, 0.4, 0.6, 9), "cost_usd": Interval(3.36e-07, 3.1e-07, 3.6e-07, 9)}
    found.rungs = {"<reader>": found.rungs["<reader>"], "wide": {"all": cheap}}
    section = page_of(found, "Models", []).sections[0]
    table, figure = section.parts
    assert section.key == "overview"
    assert [row[0] for row in table.rows] == ["<reader>", "wide"]
    cost = table.columns.index("Cost, USD per 1,000 questions\u00a0↓")
    assert table.rows[1][cost] == said(Interval(0.000336, 0.00031, 0.00036, 9), 6)
    assert table.rows[1][1] == said(cheap["f1"])
    assert "wide 0.50, baseline: first bm25 sentence" in figure.alt


def test_what_is_better_or_worse_beyond_chance_is_said_in_words():
    """Of a change under noise, and, before all tables of slices, of those whose gap misses 0."""
    found = findings()
    change = found.noise["<reader>"]["typos"]
    found.noise = {"<reader>": {"typos": change, "upper_case": replace(change, change=Interval(-0.1, -0.2, -0.01, 9))}}
    gaps = [
        SliceGap("when", Interval(0.3, 0.2, 0.4, 9), Interval(-0.2, -0.3, -0.1, 40)),
        SliceGap("where", Interval(0.5, 0.4, 0.6, 31), Interval(0.0, -0.1, 0.1, 40)),
    ]
    found.slices = {"<reader>": {"kind": gaps}}
    sections = {section.key: section for section in page_of(found, "Models", []).sections}
    assert [row[-2] for row in sections["noise"].parts[0].rows] == ["no clear difference", "worse"]
    apart = sections["slices"].parts[0]
    assert [(row[2], row[-1]) for row in apart.rows] == [("when", "worse")]


def test_a_drawing_stands_behind_its_table_with_the_line_of_all_questions():
    parts = {section.key: section.parts for section in page_of(findings(), "Models", []).sections}
    kinds = [type(part) for part in parts["slices"] if part.caption.startswith("<reader>")]
    assert kinds == [Table, Figure]
    assert "all questions: " in parts["slices"][-1].svg


def test_a_name_of_many_words_leaves_room_for_the_drawing():
    """Its table has it whole."""
    one = Interval(0.5, 0.4, 0.6, 9)
    assert plots.bars({"x" * 80: one}, "quality") == plots.bars({"x" * 35 + "…": one}, "quality")


def test_measures_of_a_curve_are_told_apart_without_colours():
    measured = {"auc": 0.8, "ece": 0.1, "ece_by_chance": 0.05}
    points = [CurvePoint(share, 10, measured) for share in (0.5, 1.0)]
    lines = re.findall(r'stroke-dasharray: [^;"]+', plots.curve(points, dict.fromkeys(measured, "one")))
    assert len(set(lines)) >= 2, "a dashed and a dotted line beside a whole one"


def test_an_ece_stands_without_an_interval_beside_what_of_it_is_chance():
    found = findings()
    cells = Seen(render(page_of(found, "Models", []))).cells("td")
    scorer = found.scorer["all"]
    place = cells.index(f"{scorer.ece:.3f}")
    assert cells[place - 1 : place + 2] == [said(scorer.auc), f"{scorer.ece:.3f}", f"{scorer.ece_by_chance:.3f}"]
    assert found.metrics["scorer.ece"] == found.plain()["scorer"]["all"]["ece"] == scorer.ece > 0.3


def test_a_value_outside_its_interval_is_drawn_outside_of_it():
    outside, at_its_end = Interval(0.5, 0.6, 0.7, 9), Interval(0.5, 0.5, 0.7, 9)
    assert plots.bars({"a": outside}, "quality") != plots.bars({"a": at_its_end}, "quality")
    drawn = [plots.reliability([Bin(0.5, interval)]) for interval in (outside, at_its_end)]
    assert drawn[0] != drawn[1]


def test_the_same_findings_give_the_same_page_and_plain_data():
    pages = [render(page_of(findings(), "Models", [])) for _ in range(2)]
    assert pages[0] == pages[1]
    plain = json.loads(json.dumps(findings().plain()))
    assert plain["rungs"]["<reader>"]["fr"]["f1"]["n"] == 20
    assert plain["noise"]["<reader>"]["typos"]["change"]["value"] == -0.1


def test_tracking_gets_flat_numbers():
    metrics = findings().metrics
    assert {
        "<reader>.f1",
        "<reader>.f1.fr",
        "baseline.first_bm25_sentence.f1",
        "scorer.auc",
        "scorer.ece_by_chance",
    } <= set(metrics)
    assert metrics["noise.<reader>.typos.f1_change"] == -0.1
    assert "curve.scorer.auc.50" in metrics
    assert "curve.scorer.ece.50" in metrics
    assert "curve.scorer.ece_by_chance.50" not in metrics
    assert all(isinstance(value, float) for value in metrics.values())


def test_what_a_cheap_answer_costs_is_not_rounded_away():
    found = Findings({"all": 1}, rungs={"reader": {"all": {"cost_usd": Interval(3.36e-07, 3.1e-07, 3.6e-07, 9)}}})
    assert found.plain()["rungs"]["reader"]["all"]["cost_usd"]["value"] == 3.36e-07


def test_a_dollar_in_a_name_is_a_letter():
    """Kinds of recorded questions are the user's own words; two dollars would begin a formula."""
    assert "a $x_$ b" in plots.bars({"a $x_$ b": Interval(0.5, 0.4, 0.6, 9)}, "quality")
