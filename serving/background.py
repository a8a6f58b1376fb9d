"""A thread that does one thing again and again until it is stopped, whatever goes wrong on the way."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class BackgroundLoop:
    """Calls ``step`` again and again in a thread of its own; an error is logged and the next call is made."""

    def __init__(self, name: str, step: Callable[[], None], pause_s: float) -> None:
        self._name = name
        self._step = step
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; a step in progress is waited for up to ten seconds."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except Exception:
                log.exception("background loop %s", self._name)
                self._stopping.wait(1.0)
            self._stopping.wait(self._pause_s)
