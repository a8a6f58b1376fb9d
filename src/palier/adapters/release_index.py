"""Which index a release searches: what is live, for as long as the release's encoder can read its vectors.

The alias may move at any moment, also to an index that another encoder embedded, whose vectors lie nowhere near ours.
So every answer is judged by the index that it really came from. What an index was embedded with is written in its
build mark and never changes: it is asked once for each index, not for each question. While the alias leads to vectors
that cannot be read, the release searches the index that it was packaged with, and looks at the alias again every few
seconds.

The price: during that time one question in `RECHECK_S` is searched twice, and a key of Elasticsearch needs the right
to read mappings (`view_index_metadata`) beside the right to search.
"""

import time
from collections.abc import Callable

from elasticsearch import Elasticsearch

from palier.adapters.search_index import aliased_index, index_meta

RECHECK_S = 5.0


class ReleaseIndex:
    """An `IndexChoice`: ``alias``, or ``own`` while ``alias`` leads to vectors of another encoder, or to nothing.

    ``encoder_sha256`` names the release's encoder. Safe to use from several threads.
    """

    def __init__(
        self,
        client: Elasticsearch,
        alias: str,
        own: str,
        encoder_sha256: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._alias = alias
        self._own = own
        self._encoder_sha256 = encoder_sha256
        self._clock = clock
        self._readable = {own: True}
        self._alias_again_at = float("-inf")

    def name(self) -> str:
        """The alias; the release's own index for a few seconds after the alias was found to lead elsewhere."""
        return self._own if self._clock() < self._alias_again_at else self._alias

    def accepts(self, searched: str, found: str | None) -> bool:
        """Whether our encoder embedded the index ``found``: what it gave can be read, and if it refused, that has
        another cause. None stands for what the alias leads to now. Raises SearchError.
        """
        if searched == self._own or found == "":  # nothing found is nothing to mix up
            return True
        index = found or aliased_index(self._client, self._alias)
        if index is not None and self._reads(index):
            return True
        self._alias_again_at = self._clock() + RECHECK_S
        return False

    def _reads(self, index: str) -> bool:
        if index not in self._readable:
            meta = index_meta(self._client, index) or {}
            self._readable[index] = meta.get("settings", {}).get("encoder_sha256") == self._encoder_sha256
        return self._readable[index]
