"""Being asked to stop: what asks, what it ends with, and whom it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.training.interruption import LAUNCHED, REQUEUE, SAME_KEYSTROKE, Interruption

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
WAITING = "import time; from registry.training.interruption import leave_when_asked; leave_when_asked(0.02);"
LAUNCHER = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", sys.argv[1]]).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def interruption(tmp_path: Path) -> Iterator[Interruption]:
    """One that listens in this process."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listening = Interruption(tmp_path / "STOP")
    listening.listen()
    yield listening
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_asks(interruption: Interruption, number: signal.Signals) -> None:
    assert not interruption.requested()
    os.kill(os.getpid(), number)
    assert interruption.requested()
    assert interruption.reason == number.name


def test_a_file_asks_once(interruption: Interruption) -> None:
    interruption.stop_file.touch()
    assert interruption.requested()
    interruption.honoured()
    assert not interruption.stop_file.exists()
    assert not Interruption(interruption.stop_file).requested()


def test_the_second_keystroke_forces_but_not_the_first_one_passed_on(
    interruption: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    now = time.monotonic()
    for after, status in ((0.0, []), (SAME_KEYSTROKE / 2, []), (SAME_KEYSTROKE * 2, [128 + signal.SIGINT])):
        monkeypatch.setattr(time, "monotonic", lambda after=after: now + after)
        os.kill(os.getpid(), signal.SIGINT)
        assert left == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_before_there_is_anything_to_save_it_leaves_and_wants_to_be_started_again(number: signal.Signals) -> None:
    waiting = subprocess.Popen(
        [sys.executable, "-c", f"{WAITING} print(flush=True); time.sleep(60)"], stdout=-1, stderr=-1, text=True
    )
    assert waiting.stdout is not None
    waiting.stdout.readline()
    waiting.send_signal(number)
    said = waiting.communicate()[1]
    assert waiting.returncode == REQUEUE
    assert said == "asked to stop before the first update; the same command begins again\n"


@pytest.mark.parametrize("launched", [True, False])
def test_a_launcher_that_dies_without_a_word_takes_its_child_along(launched: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    environment |= {LAUNCHED[0]: "no"} if launched else {}
    child = f"{WAITING} print('waits', flush=True); time.sleep(2); print('still there', flush=True)"
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, child], env=environment, stdin=-1, stdout=-1)
    assert launcher.stdout is not None
    assert b"waits\n" in [launcher.stdout.readline(), launcher.stdout.readline()]
    launcher.kill()
    assert launcher.stdout.read() == (b"" if launched else b"still there\n")  # ends when nobody is left to write
    launcher.wait()
