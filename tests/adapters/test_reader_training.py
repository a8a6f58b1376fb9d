"""The reader's training loop: a kill loses nothing, and one run's checkpoint is never taken for another's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from palier.adapters.reader_training import TrainingPlan, refuse_another, train_reader
from palier.adapters.torch_reader import SpanReader, TrainingWindow
from palier.errors import ParamsError
from tests.adapters.tiny_reader import tiny_reader, tiny_windows

pytestmark = pytest.mark.model

PLAN = TrainingPlan(learning_rate=1e-3, batch_size=4, n_steps=6, seed=1, mask_id=3, checkpoint_steps=1)


def test_an_epoch_whose_end_was_killed_is_told_again(tmp_path: Path) -> None:
    """What `on_epoch` leaves is there for each epoch, and the weights are those of an unbroken run."""
    rows, told = tiny_windows(8), []

    def killed(epoch: int, _model: SpanReader) -> None:
        raise KeyboardInterrupt(epoch)

    def tell(epoch: int, model: SpanReader) -> None:
        assert not model.training
        told.append(epoch)

    with pytest.raises(KeyboardInterrupt):
        train_reader(tiny_reader(), lambda _: rows, PLAN, tmp_path / "broken.safetensors", lambda *_: None, killed)
    broken, whole = tiny_reader(), tiny_reader()
    train_reader(broken, lambda _: rows, PLAN, tmp_path / "broken.safetensors", lambda *_: None, tell)
    assert told == [0, 1, 2]
    train_reader(whole, lambda _: rows, PLAN, tmp_path / "whole.safetensors", lambda *_: None)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, broken.state_dict()[name]), name


def test_a_run_that_goes_on_builds_no_epoch_that_lies_behind_it(tmp_path: Path) -> None:
    """Whether it was killed within an epoch or at the end of one; epochs of unlike lengths, and the same weights."""
    built: list[int] = []

    def rows_of(epoch: int) -> Sequence[TrainingWindow]:
        built.append(epoch)
        return tiny_windows(16)[4 * epoch :]

    def killed_after(step: int) -> Callable[[int, int, str], None]:
        def stop(done: int, _total: int, _what: str) -> None:
            if done == step:
                raise KeyboardInterrupt

        return stop

    plan = replace(PLAN, n_steps=9)  # epochs of 4, 3 and 2 steps
    broken, whole = tmp_path / "broken.safetensors", tmp_path / "whole.safetensors"
    for step in (2, 5, 7):
        with pytest.raises(KeyboardInterrupt):
            train_reader(tiny_reader(), rows_of, plan, broken, killed_after(step))
    resumed, unbroken = tiny_reader(), tiny_reader()
    position = train_reader(resumed, rows_of, plan, broken, lambda *_: None)
    assert built == [0, 0, 1, 1, 2]
    assert (position.step, position.epoch, position.epoch_start) == (9, 3, 9)
    train_reader(unbroken, rows_of, plan, whole, lambda *_: None)
    for name, weight in unbroken.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """Under other facts, or none that were written down; gone on from under the same; with none there all may begin."""
    checkpoint = tmp_path / "work" / "checkpoint.safetensors"
    refuse_another(checkpoint, {"learning_rate": 3e-4, "written": ("fr.txt",)})
    refuse_another(checkpoint, {"learning_rate": 1e-4, "written": ("fr.txt",)})
    checkpoint.touch()
    refuse_another(checkpoint, {"learning_rate": 1e-4, "written": ["fr.txt"]})
    with pytest.raises(ParamsError, match=r"start was 'not written down', now 'ab12'.*--work"):
        refuse_another(checkpoint, {"learning_rate": 1e-4, "written": ["fr.txt"], "start": "ab12"})
    with pytest.raises(ParamsError, match=r"\(learning_rate was 0\.0001, now 0\.0003\)"):
        refuse_another(checkpoint, {"learning_rate": 3e-4, "written": ["fr.txt"]})
    checkpoint.with_suffix(".json").unlink()
    with pytest.raises(ParamsError, match="start was 'not written down', now None"):
        refuse_another(checkpoint, {"start": None})
