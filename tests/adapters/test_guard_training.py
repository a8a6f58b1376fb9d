"""Guard examples: patterns filled with topics."""

import json
from pathlib import Path

import numpy as np

from palier.adapters.guard_training import read_examples

LE_MUSEE = {"org": "le musée", "item": "une visite", "staff": "les guides", "account": "abonnement", "topic": "l'eau"}
THE_MUSEUM = {"org": "the museum", "item": "a tour", "staff": "the guides", "account": "pass", "topic": "water"}


def test_a_french_gap_is_contracted_with_what_stands_before_it(tmp_path: Path) -> None:
    asked = ["À {org} de le dire", "Que {item} de {org} aille à {staff}", "de {item} et de {topic}", "{org}, {account}"]
    (tmp_path / "topics.jsonl").write_text(json.dumps({"topic": "museum", "fr": LE_MUSEE, "en": THE_MUSEUM}))
    for kind in ("injection", "fraud", "abuse", "off_topic", "honest"):
        rows = [{"family": "asked", "lang": "fr", "texts": asked}] if kind == "honest" else []
        (tmp_path / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [example.text for example in read_examples(tmp_path, np.random.default_rng(0))]
    assert texts == [
        "Au musée de le dire",
        "Qu'une visite du musée aille aux guides",
        "D'une visite et de l'eau",
        "Le musée, abonnement",
    ]
