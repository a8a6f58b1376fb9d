"""How long the served reader takes over two passages, against torch in single precision.

Both read the same windows on one core and one thread of the same process, question by question in turns, so that a
machine that is busy for a while is busy for both. Ours is the whole of a reading: windows, int8 model, choice of spans.
Of torch only the forward pass counts, both windows in one batch. Times are those of the processor: what another process
takes of the core does not count, what it leaves in the caches does.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tokenizers import Tokenizer

from bench.paired_readers import Exercise
from bench.report import percentile, tell
from bench.scale_speed import TOKENS_WANTED, on_one_core, ratio_interval
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.reader_windows import WindowCutter, padded
from palier.params import Params

N_PAIRS = 120
WARM_UP = 5


def reader_speed(
    params: Params, folder: Path, exercises: Sequence[Exercise], rng: np.random.Generator
) -> dict[str, Any] | None:
    """Processor milliseconds of both (p50, p95) over up to 120 questions a language, and torch's over ours.

    ``folder`` holds the starter of ``params`` as it is served. A question is asked of its own passage and of the next
    one of its language, each cut to its first 175 tokens; shorter passages are left out. None where nothing is left.
    """
    import torch

    from palier.adapters.catalogue import resolve
    from palier.adapters.reader_adapter import starter_reader

    section = params.train_reader
    model = starter_reader(resolve(section.base), resolve(str(section.starter)), params.seed).eval()
    reader = OnnxReader(folder)
    cutter = WindowCutter(folder, reader.config.max_tokens)

    def of_torch(question: str, contents: Sequence[str]) -> None:
        windows = [window for content in contents for window in cutter.windows(question, content)]
        inputs = {name: torch.from_numpy(values) for name, values in padded(windows).items()}
        with torch.inference_mode():
            model(**inputs)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with on_one_core({"benchmark": psutil.Process()}):
            found = {
                lang: _times(pairs, reader.read, of_torch, rng)
                for lang, pairs in _pairs(exercises, folder).items()
                if pairs
            }
    finally:
        torch.set_num_threads(threads)
    return found or None


_Pair = tuple[str, tuple[str, str]]
_Read = Callable[[str, Sequence[str]], object]


def _pairs(exercises: Sequence[Exercise], folder: Path) -> dict[str, list[_Pair]]:
    """(question, two passages of 175 tokens) by language."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found: dict[str, list[_Pair]] = {"en": [], "fr": []}
    for lang, pairs in found.items():
        asked = []
        for item in (item for item in exercises if item.question.lang == lang):
            content = item.hits[0].passage.content
            offsets = tokenizer.encode(content, add_special_tokens=False).offsets
            if len(offsets) >= TOKENS_WANTED:
                asked.append((item.question.standalone, content[: offsets[TOKENS_WANTED - 1][1]]))
        following = [content for _, content in asked[1:] + asked[:1]]
        pairs += [(question, (own, other)) for (question, own), other in zip(asked, following, strict=True)][:N_PAIRS]
    return found


def _times(pairs: Sequence[_Pair], ours: _Read, theirs: _Read, rng: np.random.Generator) -> dict[str, Any]:
    """Both sides over ``pairs`` in turns; who begins is drawn."""
    sides = (ours, theirs)
    spent = np.zeros((len(pairs), 2))
    for question, contents in pairs[:WARM_UP]:
        for side in sides:
            side(question, contents)
    for place, (question, contents) in enumerate(pairs):
        for side in rng.permutation(2):
            started = time.process_time()
            sides[side](question, contents)
            spent[place, side] = 1000 * (time.process_time() - started)
    told = {
        name: {"p50": percentile(times, 50), "p95": percentile(times, 95), "n": len(times)}
        for name, times in zip(("ours_cpu_ms", "torch_fp32_cpu_ms"), spent.T.tolist(), strict=True)
    }
    tell(f"two passages of {TOKENS_WANTED} tokens: {told}")
    return told | {"ratio": ratio_interval(spent[:, 1], spent[:, 0], rng)}
