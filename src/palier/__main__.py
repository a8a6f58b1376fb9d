"""The command line `palier`: one root over the rooms of `palier.commands`; errors become one clear message."""

import os
import sys

import typer

from palier.errors import PalierError


def main() -> None:
    """Run a command. Exit status 2 for what the caller can mend, 1 for the rest that was raised on purpose."""
    # Bounded before numpy, torch or onnxruntime start their pools: two cores are shared by all services.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "2")
    # A thread that waits by spinning holds a core that another process wants: beside one, four times slower and more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from palier.errors import InputError

    try:
        build_app()()
    except PalierError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def build_app() -> typer.Typer:
    """All commands under one root."""
    from palier.commands import indexes, questions, releases, rollback_demo, services, stages, tour, workspaces

    root = typer.Typer(
        help="Keep a retrieval-augmented assistant cheap and right.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for room in (workspaces.app, stages.app, questions.app, tour.app, rollback_demo.app):
        root.registered_commands += room.registered_commands
    root.add_typer(releases.app, name="release")
    root.add_typer(indexes.app, name="index")
    root.add_typer(questions.keys_app, name="keys")
    root.add_typer(services.app, name="services")
    return root


if __name__ == "__main__":
    main()
