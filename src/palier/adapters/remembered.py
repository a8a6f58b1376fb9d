"""Results by the content that led to them, so that a killed piece of work goes on where it was.

One JSON line per result, appended as it comes: a kill loses at most the line being written. Knows nothing of what the
results mean. The price: nothing is ever forgotten; deleting the file is safe and only costs the work again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any


def content_key(*parts: object) -> str:
    """Hex sha256 of ``parts`` (anything that JSON can hold): the same content, the same key."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class Remembered:
    """The results in ``path``; `n_found` counts what did not have to be done again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._results: dict[str, Any] = {}
        self.n_found = 0
        for line in path.read_bytes().split(b"\n") if path.is_file() else ():
            self._read(line)

    def get(self, key: str) -> Any | None:
        """The result under ``key``, or None."""
        found = self._results.get(key)
        self.n_found += found is not None
        return found

    def put(self, key: str, result: Any) -> None:
        """Keep ``result`` (JSON data, not None) under ``key``."""
        self._results[key] = result
        line = json.dumps({"key": key, "result": result}, ensure_ascii=False).encode("utf-8")
        with self._path.open("ab") as handle:
            # A line that a kill cut short must not swallow this one.
            handle.write(b"\n" + line + b"\n")

    def _read(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            self._results[entry["key"]] = entry["result"]
        except (ValueError, KeyError, TypeError):
            return  # an empty line, or the one that a killed run was writing
