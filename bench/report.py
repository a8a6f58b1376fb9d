"""The file that every benchmark writes: what was measured, on which data, by which code, on which machine.

    {benchmark, git_sha, started_at, machine, data: [{path, sha256, rows}], params, results}

Knows no benchmark. Reading the clock and asking git happen here and nowhere else in a benchmark; that is the price of
numbers which can be traced.
"""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from palier.adapters.qa_rows import QaRow as QaRow  # every benchmark on QA files takes it from here
from palier.adapters.qa_rows import read_qa as read_qa
from palier.adapters.workspace import write_json
from palier.domain.bootstrap import Interval, grouped_interval, mean_interval
from palier.domain.documents import Lang
from palier.domain.title_split import Split, title_split
from palier.errors import InputError
from palier.settings import repository_root

Metric = dict[str, float | int | None]

TitlesAsked = Split | Literal["all"]
"""Articles by the split of their titles; all of them for data that no starter was trained on or chosen by."""


def metric(values: Sequence[float], rng: np.random.Generator, samples: int = 1000) -> Metric:
    """``{value, low, high, n}`` with a 95 % bootstrap interval; nulls where there is nothing to average."""
    if len(values) == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    return dict(mean_interval(values, rng, samples).rounded())


def grouped_metric(
    values: Sequence[float] | NDArray[np.generic],
    groups: Sequence[object] | NDArray[np.generic],
    rng: np.random.Generator,
    samples: int = 1000,
) -> Metric:
    """`metric` where values of one of the ``groups`` are no independent trials; ``n`` counts groups."""
    if len(values) == 0:
        return metric([], rng)
    data = np.asarray(values, dtype=np.float64)
    return as_metric(grouped_interval(groups, lambda rows: float(data[rows].mean()), rng, samples))


def as_metric(interval: Interval) -> Metric:
    """As the file writes it; nulls where it is not defined (NaN)."""
    if np.isnan(interval.value):
        return {"value": None, "low": None, "high": None, "n": interval.n}
    return dict(interval.rounded())


def percentile(values: Sequence[float], q: float) -> float | None:
    """The ``q``-th percentile, ``q`` in 0..100, to a microsecond if the values are milliseconds."""
    return round(float(np.percentile(values, q)), 3) if len(values) else None


def check_titles(asked_titles: str) -> None:
    """Raises InputError for what is no `TitlesAsked`."""
    if asked_titles not in ("all", *get_args(Split)):
        raise InputError(f"No split {asked_titles!r} of titles. There are: all, {', '.join(get_args(Split))}.")


def is_asked(row: QaRow, asked_titles: TitlesAsked) -> bool:
    """Whether the row asks something, about an article of ``asked_titles``."""
    return bool(row.question.strip()) and asked_titles in ("all", title_split(row.title))


def on_titles(rows: Sequence[QaRow], asked_titles: TitlesAsked) -> list[QaRow]:
    """The rows in English or French of which `is_asked` is true; raises InputError where there is none."""
    check_titles(asked_titles)
    asking = [row for row in rows if row.lang in get_args(Lang) and is_asked(row, "all")]
    if not asking:
        raise InputError(
            f"None of {len(rows)} rows asks a question in English or French: give --data files whose rows have a "
            "`question` and a `lang` of en or fr (and of --lang, where it is named)."
        )
    asked = [row for row in asking if is_asked(row, asked_titles)]
    if not asked:
        raise InputError(
            f"No row asks about an article of {asked_titles} titles (by their hash 7 % of titles are test, 6 % "
            "validation: palier.domain.title_split). Give files with more articles, or, for data that no starter was "
            "trained on, `--titles all`."
        )
    return asked


def read_all(data: Sequence[Path], report: "Report") -> list[QaRow]:
    """The rows of all files, which ``report`` will name; raises InputError for a file that holds something else."""
    rows: list[QaRow] = []
    for path in data:
        read = read_qa(path)
        report.add_data(path, len(read))
        rows += read
    return rows


class Report:
    """One run of a benchmark, begun when this is made."""

    def __init__(self, benchmark: str, params: Mapping[str, Any]) -> None:
        self._head = {
            "benchmark": benchmark,
            "git_sha": git_sha(repository_root()),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
        }
        self._params = dict(params)
        self._data: list[dict[str, Any]] = []

    def add_data(self, path: Path, n_rows: int) -> None:
        """Name a file that was measured on."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        # The name and the hash say which file it was; where it lay on this machine is nobody's business.
        self._data.append({"path": path.name, "sha256": digest, "rows": n_rows})

    def write(self, out: Path, results: Mapping[str, Any]) -> dict[str, Any]:
        """Write the file, whole, and return what it holds."""
        content = {**self._head, "data": self._data, "params": self._params, "results": dict(results)}
        write_json(out, content)
        return content


def git_sha(root: Path) -> str:
    """The commit of the checkout at ``root``, with ``-dirty`` where files differ from it; ``unknown`` without git.

    Results do not count: of several benchmarks in a row each would find those of the one before.
    """
    try:
        commit = _git(["rev-parse", "HEAD"], root).strip()
        changed = _git(["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)bench/results"], root)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(arguments: Sequence[str], root: Path) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=True).stdout


def machine() -> dict[str, Any]:
    """What the numbers depend on and can be told without guessing."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def tell(text: str) -> None:
    """One line of progress, to stderr: stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)


def every(items: Iterable[Any], total: int, what: str, step: int = 100) -> Iterable[Any]:
    """``items``, telling how far it is each ``step`` of them."""
    for done, item in enumerate(items, 1):
        yield item
        if done % step == 0 or done == total:
            tell(f"{what}: {done}/{total}")
