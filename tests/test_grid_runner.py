"""Cells run as processes: kept, continued, failing alone, on several devices, after one another."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from registry.grid_runner import DONE, FAILED, KEPT, Outcome, Runner, last_words
from registry.grids import Cell, build_grid, expand

TRAIN = '''
"""Stands in for train.py: writes what a finished run has, unless its seed is 13."""
import json, os, pathlib, sys, time
import yaml
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
options = yaml.safe_load(open(given["--config"]))
run = pathlib.Path(given["--output-dir"])
run.mkdir(parents=True, exist_ok=True)
if options.get("seed") == 13:
    print("error: the loss is not finite at update 3")
    sys.exit(2)
if "/" in options["model"]:
    assert (pathlib.Path(options["model"]).parent / "metrics.json").is_file()
(run / "run.json").write_text(json.dumps({"status": "finished"}))
(run / "metrics.json").write_text(json.dumps({"device": os.environ.get("CUDA_VISIBLE_DEVICES"), **options}))
'''


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    script = tmp_path / "train.py"
    script.write_text(TRAIN, encoding="utf-8")
    return Runner(tmp_path / "out", [sys.executable, str(script)])


def cells(**values: object) -> list[Cell]:
    return expand(build_grid({"tasks": ["demo"], "models": ["tiny"], **values}))


def run(runner: Runner, wanted: list[Cell]) -> tuple[list[Outcome], list[Outcome]]:
    reported: list[Outcome] = []
    return runner.run(wanted, reported.append), reported


def test_finished_cells_are_kept_and_new_ones_run(runner: Runner) -> None:
    outcomes, reported = run(runner, cells(seeds=[1, 2]))
    assert [outcome.state for outcome in outcomes] == [DONE, DONE]
    assert reported == outcomes
    stamp = (outcomes[0].directory / "metrics.json").stat().st_mtime_ns
    outcomes, _ = run(runner, cells(seeds=[1, 2, 3]))
    assert [outcome.state for outcome in outcomes] == [KEPT, KEPT, DONE]
    assert (outcomes[0].directory / "metrics.json").stat().st_mtime_ns == stamp


def test_a_cell_that_was_interrupted_is_run_again(runner: Runner) -> None:
    (cell,) = cells(seeds=[5])
    directory = runner.directory(cell)
    directory.mkdir(parents=True)
    (directory / "run.json").write_text('{"status": "running"}')
    assert runner.state(cell) == "begun"
    (outcome,), _ = run(runner, [cell])
    assert outcome.state == DONE
    assert runner.state(cell) == "finished"


def test_a_failed_cell_fails_alone_and_says_why(runner: Runner) -> None:
    outcomes, _ = run(runner, cells(seeds=[1, 13, 2]))
    assert [outcome.state for outcome in outcomes] == [DONE, FAILED, DONE]
    assert "the loss is not finite at update 3" in outcomes[1].reason


def test_a_log_keeps_what_earlier_attempts_said_and_the_reason_is_the_last_ones(tmp_path: Path) -> None:
    (cell,) = cells(seeds=[13])
    run(Runner(tmp_path, [sys.executable, "-c", "print('error: no memory'); exit(2)"]), [cell])
    (outcome,), _ = run(Runner(tmp_path, [sys.executable, "-c", "print('killed'); exit(9)"]), [cell])
    log = tmp_path / "logs" / f"{cell.slug}.log"
    assert log.read_text() == "error: no memory\nkilled\n"
    assert outcome.reason == f"exit code 9: killed (see {log})"


def test_a_run_that_others_start_from_goes_first_and_takes_them_with_it(runner: Runner) -> None:
    adapted = {"name": "adapted", "model": "tiny", "after": {"task": "demo-mlm"}}
    (good, bad), _ = run(runner, cells(models=[adapted], seeds=[1, 13]))
    assert good.state == DONE
    options = json.loads((good.directory / "metrics.json").read_text())
    assert Path(options["model"]).parts[-1] == "model"
    assert bad.state == FAILED
    assert "the run that it starts from failed" in bad.reason


def test_every_device_is_used(runner: Runner, tmp_path: Path) -> None:
    wide = Runner(runner.output, runner.launch, devices=("0", "1"))
    outcomes, _ = run(wide, cells(seeds=list(range(6))))
    used = {json.loads((o.directory / "metrics.json").read_text())["device"] for o in outcomes}
    assert used == {"0", "1"}


def test_asked_to_stop_the_run_saves_first_and_the_rest_does_not_begin(tmp_path: Path) -> None:
    launcher, script = tmp_path / "launcher.py", tmp_path / "train.py"
    launcher.write_text("import subprocess, sys\nsys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))\n")
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "run = pathlib.Path(sys.argv[4])\n"
        "run.mkdir(parents=True)\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), (run / 'saved').touch(), sys.exit(75)))\n"
        "(run / 'begun').touch()\n"
        "time.sleep(60)\n"
    )
    runner = Runner(tmp_path / "out", [sys.executable, str(launcher), str(script)])
    first, second = cells(seeds=[1, 2])

    def interrupt() -> None:
        while not (runner.directory(first) / "begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    reported: list[Outcome] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a training in this process may have set its own
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.run([first, second], reported.append)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (runner.directory(first) / "saved").exists()
    assert not runner.directory(second).exists()
    assert not reported


def test_last_words_prefer_the_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("loading\nValueError: no such thing\n[rank0] closing\n\n")
    assert last_words(log) == "ValueError: no such thing"
    log.write_text("error: no such file\nsubprocess.CalledProcessError: it returned 2\n")
    assert last_words(log) == "error: no such file"
    log.write_text("a\nkilled\n")
    assert last_words(log) == "killed"
    log.write_text("")
    assert last_words(log) == "it printed nothing"
