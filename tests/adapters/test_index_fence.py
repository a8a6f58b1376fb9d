"""What is live changes in one step, by the newest decision, whoever else decides at the same moment."""

import contextlib
import threading
from datetime import UTC, datetime

import pytest
from elasticsearch import Elasticsearch

from palier.adapters.index_fence import (
    LiveState,
    _actions,
    forget_alias,
    live_state,
    make_live,
    roll_back,
    swap,
    take_token,
)
from palier.adapters.search_index import add_meta, create_index, index_mapping
from palier.errors import NotReadyError, SearchError

NOW = datetime(2026, 1, 2, tzinfo=UTC)

pytestmark = pytest.mark.service


@pytest.fixture
def indexes(client: Elasticsearch, alias: str) -> list[str]:
    """Three complete, empty indexes of the alias."""
    names = [f"passages-{alias}-{i}" for i in range(3)]
    for name in names:
        create_index(client, name, index_mapping("flat", 8), {"alias": alias})
        add_meta(client, name, {"complete": True})
    return names


def test_tokens_rise_and_no_two_runs_get_the_same(client: Elasticsearch, alias: str) -> None:
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.append(take_token(client, alias, NOW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 8
    assert take_token(client, alias, NOW) > max(taken)


def test_a_lost_counter_does_not_go_below_what_is_live(client: Elasticsearch, alias: str, indexes: list[str]) -> None:
    make_live(client, alias, indexes[0], token=41)
    assert take_token(client, alias, NOW) == 42
    forget_alias(client, alias)
    assert take_token(client, alias, NOW) == 42


def test_a_swap_moves_alias_token_and_previous_together(client: Elasticsearch, alias: str, indexes: list[str]) -> None:
    assert live_state(client, alias) == LiveState()
    make_live(client, alias, indexes[0], token=1)
    assert live_state(client, alias) == LiveState((indexes[0],), 1, indexes[0], None)
    make_live(client, alias, indexes[1], token=2)
    make_live(client, alias, indexes[2], token=3)
    assert live_state(client, alias) == LiveState((indexes[2],), 3, indexes[2], indexes[1])
    again = make_live(client, alias, indexes[2], token=4)  # the same content once more: a newer decision
    assert again == LiveState((indexes[2],), 4, indexes[2], indexes[1])


def test_an_older_run_that_ends_later_changes_nothing(client: Elasticsearch, alias: str, indexes: list[str]) -> None:
    make_live(client, alias, indexes[0], token=2)
    with pytest.raises(SearchError, match=rf"{indexes[0]} is live .* run 2, which began after this one \(run 1\)"):
        make_live(client, alias, indexes[1], token=1)
    assert live_state(client, alias) == LiveState((indexes[0],), 2, indexes[0], None)


def test_a_run_that_slept_between_looking_and_acting_looks_again(
    client: Elasticsearch, alias: str, indexes: list[str]
) -> None:
    """Meanwhile others went away from the index that it saw, and came back: only the token tells."""
    make_live(client, alias, indexes[0], token=1)
    seen: list[LiveState] = []

    def choose(live: LiveState) -> str:
        if not seen:
            make_live(client, alias, indexes[1], token=3)
            make_live(client, alias, indexes[0], token=4)
        seen.append(live)
        return indexes[2]

    with pytest.raises(SearchError, match="run 4"):
        swap(client, alias, 2, choose)
    assert [live.token for live in seen] == [1]
    assert live_state(client, alias).index == indexes[0]


def test_whoever_is_faster_the_newest_run_wins(client: Elasticsearch, alias: str, indexes: list[str]) -> None:
    """Also at the very first swap, when there is no index yet to be taken away."""
    seen: list[LiveState] = []

    def choose(live: LiveState) -> str:
        if not seen:
            make_live(client, alias, indexes[1], token=1)
        seen.append(live)
        return indexes[2]

    assert swap(client, alias, 2, choose) == LiveState((indexes[2],), 2, indexes[2], indexes[1])
    assert [live.index for live in seen] == [None, indexes[1]]


def test_a_newer_run_that_saw_nothing_live_is_put_back_when_an_older_one_sweeps_it_away(
    client: Elasticsearch, alias: str, indexes: list[str]
) -> None:
    """Two first swaps to one index do not exclude each other, and a third run may have looked between them."""

    def choose(live: LiveState) -> str:
        if live.token == 1:
            client.indices.update_aliases(actions=_actions(alias, indexes[1], 3, LiveState()))
        return indexes[0]

    make_live(client, alias, indexes[1], token=1)
    with pytest.raises(SearchError, match="run 3"):
        swap(client, alias, 2, choose)
    live = live_state(client, alias)
    assert (live.indexes, live.token, live.token_on) == ((indexes[1],), 3, indexes[1])


def test_runs_at_the_same_moment_leave_one_index_live_that_of_the_highest_token(
    client: Elasticsearch, alias: str, indexes: list[str]
) -> None:
    def run(token: int) -> None:
        with contextlib.suppress(SearchError):
            make_live(client, alias, indexes[token % 3], token)

    threads = [threading.Thread(target=run, args=(token,)) for token in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live = live_state(client, alias)
    assert (live.indexes, live.token) == ((indexes[8 % 3],), 8)


def test_an_index_that_is_not_there_is_an_error_and_nothing_moves(
    client: Elasticsearch, alias: str, indexes: list[str]
) -> None:
    make_live(client, alias, indexes[0], token=1)
    with pytest.raises(SearchError, match="no such index"):
        make_live(client, alias, f"passages-{alias}-gone", token=2)
    assert live_state(client, alias) == LiveState((indexes[0],), 1, indexes[0], None)


def test_an_alias_of_before_there_were_tokens_is_taken_over(
    client: Elasticsearch, alias: str, indexes: list[str]
) -> None:
    for name in indexes[:2]:
        client.indices.put_alias(index=name, name=alias)
    make_live(client, alias, indexes[2], token=1)
    assert live_state(client, alias) == LiveState((indexes[2],), 1, indexes[2], indexes[0])


def test_the_way_back_and_back_again(client: Elasticsearch, alias: str, indexes: list[str]) -> None:
    for name in indexes[:2]:
        make_live(client, alias, name, take_token(client, alias, NOW))
    back = roll_back(client, alias, NOW)
    assert (back.index, back.previous) == (indexes[0], indexes[1])
    again = roll_back(client, alias, NOW)
    assert (again.index, again.previous) == (indexes[1], indexes[0])
    assert roll_back(client, alias, NOW, to=indexes[2]).index == indexes[2]


def test_a_build_that_began_before_a_rollback_cannot_undo_it(
    client: Elasticsearch, alias: str, indexes: list[str]
) -> None:
    for name in indexes[:2]:
        make_live(client, alias, name, take_token(client, alias, NOW))
    token = take_token(client, alias, NOW)
    roll_back(client, alias, NOW)
    with pytest.raises(SearchError, match="Nothing was changed"):
        make_live(client, alias, indexes[2], token)
    assert live_state(client, alias).index == indexes[0]
    assert make_live(client, alias, indexes[2], take_token(client, alias, NOW)).index == indexes[2]


def test_there_is_no_way_back_to_what_is_missing_unfinished_or_of_another_alias(
    client: Elasticsearch, alias: str, indexes: list[str]
) -> None:
    make_live(client, alias, indexes[0], token=1)
    with pytest.raises(NotReadyError, match="no way back"):
        roll_back(client, alias, NOW)
    add_meta(client, indexes[1], {"complete": False})
    add_meta(client, indexes[2], {"alias": "another"})
    for name in (*indexes[1:], f"passages-{alias}-gone"):
        with pytest.raises(NotReadyError, match=f"{name} is no complete index"):
            roll_back(client, alias, NOW, to=name)
    assert live_state(client, alias).index == indexes[0]
