"""What a person sees of long passes that train nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from registry.reports import terminal
from registry.reports.terminal import Screen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the screen sees: its only item."""
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_every_ten_seconds_of_a_long_pass_and_none_of_a_short_one(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen(shown=True)
    screen.update(150, 150, {"loss": 0.5})
    count = screen.counter("scoring test", 25_000)
    for seconds, rows in ((4, 5_000), (4, 5_000), (4, 5_000), (9, 9_000), (2, 1_500)):
        clock[0] += seconds
        count(rows)
    short = screen.counter("scoring validation", 10)
    clock[0] += 9
    short(10)
    assert capsys.readouterr().out.splitlines() == [
        "update 150/150  loss 0.5000",
        "scoring test: 15,000 of 25,000 rows",
        "scoring test: 25,000 of 25,000 rows",
    ]


def test_a_terminal_has_a_second_bar_so_long_as_the_pass_lasts() -> None:
    screen, shown = Screen(shown=True), io.StringIO()
    screen.console = Console(file=shown, force_terminal=True, width=100)
    screen.start(3, 10)
    count = screen.counter("scoring test", 100)
    count(60)
    bars = screen._progress
    assert bars is not None
    assert [(bar.description, bar.completed, bar.total) for bar in bars.tasks] == [
        ("training", 3, 10),
        ("scoring test", 60, 100),
    ]
    count(60)  # the last batch of several processes may be repeated
    assert [bar.description for bar in bars.tasks] == ["training"]
    screen.stop()
    assert "training" in shown.getvalue()


def test_what_to_run_next_names_the_plugin_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Screen(shown=True).closing({"train": {}}, Path("runs/moods-1"), "my task.py")
    told = capsys.readouterr().out
    assert "predict.py runs/moods-1 --plugin-file 'my task.py' --text" in told
    assert "evaluate.py runs/moods-1 --plugin-file 'my task.py' --split" in told


def test_another_process_than_the_first_shows_nothing(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    screen = Screen(shown=False)
    count = screen.counter("scoring test", 10)
    clock[0] += 60
    count(10)
    assert capsys.readouterr().out == ""
