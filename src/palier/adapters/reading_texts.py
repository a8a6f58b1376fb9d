"""Texts with questions in plain text files: what a reader rehearses while it is tuned, so that it still reads others.

A text is its title (`# title`), itself as one line, and its questions (`question | answer`, nothing behind the bar
where the text does not say); an empty line parts it from the next, and a file holds one language. Knows that form and
refuses a line that breaks it, by number. The price: a file is read whole.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args

from palier.adapters.qa_rows import QaRow
from palier.domain.documents import Lang, sha256_text
from palier.domain.reading_tasks import ReadingTask
from palier.domain.spans import occurrences
from palier.errors import InputError


def read_texts(path: Path, lang: Lang) -> Iterator[QaRow]:
    """The questions of ``path`` in its order; raises InputError naming the first line that is not in the form."""
    title, text = "", ""
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            title, text = "", ""
        elif not title:
            title = _title(path, number, line)
        elif not text:
            text = line.strip()
        else:
            question, answer = _question(path, number, line, text)
            yield _row(lang, title, text, question, answer)


def read_folder(folder: Path, names: Collection[str]) -> list[QaRow]:
    """The questions of `en.txt` and `fr.txt` in ``folder``, as far as ``names`` has them.

    Raises InputError where that is nothing.
    """
    langs = [lang for lang in get_args(Lang) if f"{lang}.txt" in names]
    rows = [row for lang in langs for row in read_texts(folder / f"{lang}.txt", lang)]
    if not rows:
        raise InputError(f"{folder} has no question in an en.txt or fr.txt (it lists {', '.join(sorted(names))}).")
    return rows


def rehearsal_task(row: QaRow) -> ReadingTask:
    """``row`` of `read_texts` as an exercise, half of all under the text's title.

    Passages of a workspace stand under a title, and not every text that is read does: both are kept in mind.
    """
    content = f"{row.title}\n{row.context}" if int(row.id, 16) % 2 else row.context
    offset = len(content) - len(row.context)
    spans = [(s + offset, e + offset) for answer in row.answers for s, e in occurrences(row.context, answer)]
    return ReadingTask(row.question, content, tuple(spans))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give a text file in UTF-8.") from error


def _title(path: Path, number: int, line: str) -> str:
    title = line.removeprefix("# ").strip()
    if not line.startswith("# ") or not title:
        raise InputError(f"{path} line {number} begins a text, but is no title: {line[:60]!r}. Write `# title`.")
    return title


def _question(path: Path, number: int, line: str, text: str) -> tuple[str, str]:
    question, bar, answer = (part.strip() for part in line.partition("|"))
    if not bar or not question or "|" in answer:
        raise InputError(
            f"{path} line {number} is no question with its answer: {line[:60]!r}. Write `question | answer`."
        )
    if answer and not (answer in text and occurrences(text, answer)):
        raise InputError(
            f"{path} line {number}: {answer!r} does not stand in the text above it, as whole words. "
            "Quote it to the letter."
        )
    return question, answer


def _row(lang: Lang, title: str, text: str, question: str, answer: str) -> QaRow:
    passage = f"written {lang} {title}"
    return QaRow(
        id=sha256_text(f"{passage}\n{question}")[:16],
        lang=lang,
        title=title,
        passage_id=passage,
        context=text,
        question=question,
        answers=(answer,) if answer else (),
        answerable=bool(answer),
    )
