"""Who writes a workspace's data: one at a time, the next one waits, and gives up with a name."""

import threading
from pathlib import Path

import pytest

from tests.ports import isolated_settings
from training.adapters.ingest import ingest
from training.errors import BusyError
from training.lock import held
from training.pipeline.turn import FILE, writing


def test_who_waits_too_long_is_told_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = isolated_settings(tmp_path)
    with (
        held(settings.workspace / FILE),
        pytest.raises(BusyError, match=r"pid \d+ still writes"),
        writing(settings, 0.2),
    ):
        raise AssertionError("two at once")
    assert "waiting for pid" in capsys.readouterr().err


def test_the_next_one_begins_when_the_one_before_ended(tmp_path: Path) -> None:
    settings = isolated_settings(tmp_path)
    began, order = threading.Event(), []

    def hourly() -> None:
        with writing(settings):
            began.set()
            threading.Event().wait(0.3)
            order.append("hourly ends")

    other = threading.Thread(target=hourly)
    other.start()
    began.wait()
    with writing(settings):
        order.append("daily begins")
    other.join()
    assert order == ["hourly ends", "daily begins"]


def test_an_ingest_changes_nothing_while_another_stage_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = isolated_settings(tmp_path, source="sample", size="tiny")
    said = ""
    with held(settings.workspace / FILE):
        waits = threading.Thread(target=ingest, args=(settings,), daemon=True)
        waits.start()
        while "waiting for pid" not in said:
            assert waits.is_alive(), "it did not wait"
            waits.join(0.05)
            said += capsys.readouterr().err
        assert not settings.raw.exists()
    waits.join()
    assert settings.raw.exists()
