"""What is asked of Elasticsearch: dates are asked about in both searches or in none."""

import unicodedata
from datetime import date

import numpy as np

from palier.adapters.search_bodies import dense_body, lexical_body, without_accents

DAY = date(2026, 3, 1)
INVALID = [{"range": {"valid_until": {"lt": "2026-03-01"}}}, {"range": {"valid_from": {"gt": "2026-03-01"}}}]
VECTOR = np.ones(4, dtype=np.float32)


def test_without_a_day_nothing_is_asked_about_dates():
    bodies = [lexical_body("pizza", "en", 5), dense_body(VECTOR, "en", 5)]
    assert "valid_" not in str([{**body, "_source": []} for body in bodies])


def test_with_a_day_both_searches_leave_out_what_does_not_hold_and_ask_the_same_otherwise():
    plain, dated = lexical_body("pizza", "en", 5)["query"], lexical_body("pizza", "en", 5, as_of=DAY)["query"]
    assert dated["bool"] == plain["bool"] | {"minimum_should_match": 1, "must_not": INVALID}
    knn, dated_knn = dense_body(VECTOR, "en", 5)["knn"], dense_body(VECTOR, "en", 5, as_of=DAY)["knn"]
    assert dated_knn == knn | {"filter": {"bool": {"filter": knn["filter"], "must_not": INVALID}}}


def test_without_accents_is_what_a_hurried_person_types():
    assert without_accents("Été à l'œuvre, ça coûte 2 €") == "Ete a l'oeuvre, ca coute 2 €"


def test_a_question_is_asked_in_composed_letters_as_documents_are_indexed():
    asked = unicodedata.normalize("NFD", "été à la crème")
    assert lexical_body(asked, "fr", 5) == lexical_body("été à la crème", "fr", 5)
