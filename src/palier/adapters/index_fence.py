"""Which index is live, and who may change that: tokens, the swap, and the way back.

Every run that may change what is live takes a rising token when it begins. What is live is told by aliases alone, and
each change is one request that Elasticsearch does whole or not at all:

    <alias>              the live index; its only write index, so that no second one can be added beside it
    <alias>.token-<n>    on the live index: the token of the run that made it live
    <alias>.previous     what was live before, for the way back

A swap removes the alias *and the token* that it saw. If either is gone, somebody was faster: nothing happens, and it
looks again. So a run on another machine that began earlier and ends later cannot win, and neither can one that slept
between looking and acting, not even when the same index has become live again meanwhile. The numbers come from one
document per alias, changed by compare-and-swap.

Going back takes a token too: a build that began before cannot undo it. One that begins afterwards can, of the same
documents as well, for it is a newer decision. Price: an index of its own for the counters, and numbers with gaps.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elasticsearch import ApiError, Elasticsearch, TransportError

from palier.adapters.search import search_error, url_of
from palier.adapters.search_index import asking, index_meta
from palier.errors import NotReadyError, SearchError

FENCE = "palier-fence"
"""The index of the counters, and of the marks of running builds (`build_marks`)."""
_TRIES = 100
_PAUSE_S = 0.01
_SWAP_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the aliases tell. ``token`` is 0 where none was ever taken."""

    indexes: tuple[str, ...] = ()
    token: int = 0
    token_on: str | None = None
    previous: str | None = None

    @property
    def index(self) -> str | None:
        """The live index; none before the first build."""
        return self.indexes[0] if self.indexes else None


def prepare_fence(client: Elasticsearch) -> None:
    """Make the index of counters and marks where it is missing; on return it can be read and written."""
    settings = {"number_of_shards": 1, "auto_expand_replicas": "0-1", "hidden": True}
    mapping = {"dynamic": False, "properties": {"alias": {"type": "keyword"}}}
    with asking(client, f"make the index {FENCE}"):
        if not client.indices.exists(index=FENCE):
            # 400: another run has made it since.
            quiet = client.options(ignore_status=400)
            quiet.indices.create(index=FENCE, mappings=mapping, settings=settings)
        # Whoever came second finds it before its shard has started, which answers nobody yet. Its status says nothing:
        # a new index is yellow from the first moment.
        patient = client.options(request_timeout=_SWAP_TIMEOUT_S)
        patient.cluster.health(index=FENCE, wait_for_active_shards=1, timeout="30s")


def take_token(client: Elasticsearch, alias: str, now: datetime) -> int:
    """A number higher than any that was taken for ``alias`` before, on whichever machine.

    It also exceeds the live one, should the counters have been lost.
    """
    prepare_fence(client)
    floor = live_state(client, alias).token
    with asking(client, f"take a token for {alias}"):
        for _ in range(_TRIES):
            token = _next_token(client, alias, floor, now)
            if token is not None:
                return token
            time.sleep(_PAUSE_S)
    raise SearchError(
        f"Elasticsearch at {url_of(client)} gave no token for {alias} in {_TRIES} tries: too many runs begin at once. "
        "Run the command again."
    )


def _next_token(client: Elasticsearch, alias: str, floor: int, now: datetime) -> int | None:
    """None when another run took a number between the two requests."""
    key = _counter(alias)
    found = client.options(ignore_status=404).get(index=FENCE, id=key).body
    last = found["_source"]["token"] if found.get("found") else 0
    token = int(max(last, floor)) + 1
    document = {"token": token, "taken_at": now.isoformat()}
    quiet = client.options(ignore_status=409)
    if found.get("found"):
        seen = {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
        answer = quiet.index(index=FENCE, id=key, document=document, **seen)
    else:
        answer = quiet.index(index=FENCE, id=key, document=document, op_type="create")
    return token if answer.meta.status in (200, 201) else None


def forget_alias(client: Elasticsearch, alias: str) -> None:
    """Delete the counter of an alias that is gone for good."""
    with asking(client, f"forget the tokens of {alias}"):
        client.options(ignore_status=404).delete(index=FENCE, id=_counter(alias))


def live_state(client: Elasticsearch, alias: str) -> LiveState:
    """What is live behind ``alias`` now, all of it from one look."""
    with asking(client, f"look up the alias {alias}"):
        found = client.indices.get_alias(name=f"{alias}*", expand_wildcards="all").body
    holders = {name: set(part["aliases"]) for name, part in found.items()}
    prefix = _token_alias(alias, "")
    tokens = [(int(n[len(prefix) :]), index) for index, names in holders.items() for n in names if n.startswith(prefix)]
    token, token_on = max(tokens, default=(0, None))
    previous = [index for index, names in holders.items() if _previous_alias(alias) in names]
    live = sorted(index for index, names in holders.items() if alias in names)
    return LiveState(tuple(live), token, token_on, next(iter(previous), None))


def swap(client: Elasticsearch, alias: str, token: int, choose: Callable[[LiveState], str]) -> LiveState:
    """Point ``alias`` at the chosen index alone, in one step: no question finds it pointing at nothing, or at two.

    ``choose`` is told what is live, and is asked again when that changed before the swap; what it raises goes through.
    What was live becomes the previous one. Raises SearchError, and changes nothing, when a run with a higher token was
    there first.
    """
    for _ in range(_TRIES):
        seen = live_state(client, alias)
        if seen.token > token:
            raise _overtaken(client, alias, token, seen)
        index = choose(seen)
        if _is_swapped(client, alias, index, token, seen):
            return _confirmed(client, alias, token)
    raise SearchError(f"The alias {alias} at {url_of(client)} moved {_TRIES} times within one swap. Run it again.")


def _confirmed(client: Elasticsearch, alias: str, token: int) -> LiveState:
    """What is live after the swap of ``token``; SearchError when a newer run's was swept away, and is put back first.

    Two runs that both see nothing live may add their tokens to one and the same index, which no conflict tells apart;
    whoever looked between the two then takes away the older token only.
    """
    swept = False
    for _ in range(_TRIES):
        live = live_state(client, alias)
        if live.token_on in (None, live.index):
            if swept:
                raise _overtaken(client, alias, token, live)
            return live
        swept = True
        _is_swapped(client, alias, str(live.token_on), live.token, live)
    raise SearchError(f"The alias {alias} at {url_of(client)} moved {_TRIES} times within one swap. Run it again.")


def make_live(client: Elasticsearch, alias: str, index: str, token: int) -> LiveState:
    """`swap` to ``index``, whatever is live."""
    return swap(client, alias, token, lambda _: index)


def roll_back(client: Elasticsearch, alias: str, now: datetime, to: str | None = None) -> LiveState:
    """Make the previous index live again (or ``to``, a complete index of this alias), and say what is live now.

    Raises NotReadyError when there is none to go back to, SearchError when a run that began later was faster.
    """
    return swap(client, alias, take_token(client, alias, now), lambda seen: _way_back(client, alias, seen, to))


def _way_back(client: Elasticsearch, alias: str, seen: LiveState, to: str | None) -> str:
    target = to or seen.previous
    if target is None:
        raise NotReadyError(
            f"No index before {seen.index} is kept behind the alias {alias}, so there is no way back. "
            "`palier index status` lists what there is."
        )
    meta = index_meta(client, target) or {}
    if not meta.get("complete") or (target != seen.previous and meta.get("alias") != alias):
        raise NotReadyError(
            f"{target} is no complete index of the alias {alias}: it cannot be made live. "
            "`palier index status` lists those that can."
        )
    return target


def _is_swapped(client: Elasticsearch, alias: str, index: str, token: int, seen: LiveState) -> bool:
    """False when somebody was faster. A request whose answer was lost is recognised by what it did."""
    if (seen.indexes, seen.token) == ((index,), token):
        return True
    try:
        patient = client.options(request_timeout=_SWAP_TIMEOUT_S)
        patient.indices.update_aliases(actions=_actions(alias, index, token, seen))
    except (ApiError, TransportError) as error:
        if live_state(client, alias) == seen:  # nobody was faster: the request itself is wrong
            raise search_error(url_of(client), f"point the alias {alias} at {index}", error) from error
        return False
    return True


def _actions(alias: str, index: str, token: int, seen: LiveState) -> list[Mapping[str, Any]]:
    """Take away exactly what was seen, and put the new in its place."""
    gone = [(name, alias) for name in seen.indexes]
    if seen.token_on:
        gone.append((seen.token_on, _token_alias(alias, seen.token)))
    added = [_added(index, alias, is_write_index=True), _added(index, _token_alias(alias, token), is_hidden=True)]
    if seen.index not in (None, index):
        if seen.previous:
            gone.append((seen.previous, _previous_alias(alias)))
        added.append(_added(str(seen.index), _previous_alias(alias), is_hidden=True))
    removed = [{"remove": {"index": name, "alias": held, "must_exist": True}} for name, held in gone]
    return [*removed, *added]


def _counter(alias: str) -> str:
    return f"token:{alias}"


def _added(index: str, alias: str, **settings: bool) -> Mapping[str, Any]:
    return {"add": {"index": index, "alias": alias, **settings}}


def _token_alias(alias: str, token: int | str) -> str:
    return f"{alias}.token-{token}"


def _previous_alias(alias: str) -> str:
    return f"{alias}.previous"


def _overtaken(client: Elasticsearch, alias: str, token: int, seen: LiveState) -> SearchError:
    return SearchError(
        f"{seen.index} is live behind the alias {alias} at {url_of(client)} by run {seen.token}, which began after "
        f"this one (run {token}). Nothing was changed. Run the command again if what it does is still wanted."
    )
