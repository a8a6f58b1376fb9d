"""Whose a state directory is: one workspace's, noted in it when services are first started for that workspace.

Records, keys, releases, the live index, MLflow's registry and Airflow in it are one assistant's: a second workspace
would replace its index, and be judged against its releases. The price: a workspace that was moved must be let in by
hand, since nothing tells it from another one.
"""

import contextlib
import os
from pathlib import Path

from palier.errors import InputError

NOTE = "workspace.txt"


def require_own_state(state: Path, workspace: Path) -> None:
    """Raises InputError where ``state`` is another workspace's, or cannot be read; it may not be there yet."""
    note, asked = state.resolve() / NOTE, workspace.resolve()
    try:
        bound = Path(note.read_text(encoding="utf-8").removesuffix("\n"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{note} cannot be read ({error.strerror}). Mend PALIER_STATE_DIR.") from error
    if asked == bound or asked.is_relative_to(bound / ".dvc" / "tmp"):  # there `dvc exp run --temp` works on a copy
        return
    remedy = (
        f"Or go on with {bound}"
        if (bound / "params.yaml").is_file()
        else f"{bound} is not there any more: if it is {asked} now, delete {note}"
    )
    raise InputError(
        f"The state directory {state.resolve()} belongs to the workspace {bound}, and {asked} is asked for: its index "
        "and models would replace the other one's, and its releases be judged against them. Stop the services "
        f"(`palier services down`) and give this workspace a state of its own (PALIER_STATE_DIR={asked}-state). "
        f"{remedy}."
    )


def bind_state(state: Path, workspace: Path) -> None:
    """Note that ``state``, made where it is not there, is the workspace's.

    Raises InputError where it is another one's, or cannot be written.
    """
    note = state.resolve() / NOTE
    mine = note.with_name(f".{NOTE}.{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text(f"{workspace.resolve()}\n", encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            note.hardlink_to(mine)  # whole, and by one: of two that begin at once the second sees the first one's
        mine.unlink()
    except OSError as error:
        raise InputError(
            f"Nothing can be written to the state directory {note.parent} ({error.strerror}). Set PALIER_STATE_DIR to "
            "a folder of your own."
        ) from error
    require_own_state(state, workspace)
