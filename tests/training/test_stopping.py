"""A launched training that is asked to stop, or whose launcher is killed, saves itself, leaves nobody and goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from faults.kit import differences
from faults.stopping import launched, stop

SMALL = [
    *("--max-train-rows", "240", "--max-validation-rows", "64", "--max-test-rows", "32", "--epochs", "6"),
    *("--checkpoint-every", "6", "--evaluate-every", "9"),
]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("config", ["cpu", "cpu_ddp"])
def test_asked_or_orphaned_it_saves_leaves_nobody_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launched(tmp_path / "whole", config, SMALL).wait() == 0
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL):
        run = tmp_path / number.name
        stop(run, config, 8, SMALL, number)
        assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
        assert launched(run, config, SMALL).wait() == 0
        assert differences(tmp_path / "whole", run) == []
