"""Signals, a full disk, damaged checkpoints and changed data: the run is never lost, and says what happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.kit import ROOT, differences, drive

from registry.training.checkpoints import MANIFEST, Checkpoints
from registry.training.control import Control

ROWS = [f'{{"text": "a {"good" if i % 2 else "bad"} film, number {i}", "label": "{"np"[i % 2]}"}}' for i in range(96)]
SMALL = [
    *("--task", "classification", "--train-file", "rows.jsonl", "--split-ratio", "0.7/0.15/0.15"),
    *("--epochs", "3", "--batch-size", "16", "--evaluate-every", "4", "--log-every", "2", "--checkpoint-every", "3"),
]


def request(run, *, extra=(), **fault):
    return {"arguments": [*SMALL, "--output-dir", run, *extra], **fault}


def saved(run):
    return sorted(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*"))


def harmed(content):
    """The content of a file cut short, emptied, and with one bit flipped in its beginning, middle and end."""
    yield "cut", content[:-1]
    yield "empty", b""
    for place in (0, len(content) // 2, len(content) - 1):
        yield place, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def flip(path):
    path.write_bytes(list(harmed(path.read_bytes()))[-1][1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a run that met no fault."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "rows.jsonl").write_text("\n".join(ROWS))
    assert drive(folder, [request("whole")]) == [0]
    return folder


@pytest.mark.slow
def test_asked_it_saves_and_leaves_and_goes_on(folder):
    asked = request("asked", phase="evaluation", nth=2, fault="SIGTERM")
    at_the_end = request("asked-at-the-end", phase="evaluation", nth=5, fault="SIGUSR1")
    by_file = request("asked-by-file", phase="evaluation", nth=3, fault="STOP")
    forced = request("forced", phase="mid-accumulation", nth=8, fault="SIGINT SIGINT")
    assert drive(folder, [asked, at_the_end, by_file, forced]) == [75, 75, 75, 130]
    for run in ("asked", "asked-at-the-end", "asked-by-file"):
        assert json.loads((folder / run / "run.json").read_text())["status"] == "interrupted"
    assert saved(folder / "asked") == [3, 4]
    assert saved(folder / "asked-by-file") == [6, 8]
    assert saved(folder / "forced") == [3, 6]
    (folder / "asked" / "STOP").touch()
    runs = ("asked", "asked", "asked-at-the-end", "asked-by-file", "forced")
    assert drive(folder, [request(run) for run in runs]) == [75, 0, 0, 0, 0]
    assert not list(folder.glob("*/STOP"))
    assert {run: differences(folder / "whole", folder / run) for run in runs} == {run: [] for run in runs}


@pytest.mark.slow
def test_a_clock_that_jumps_neither_stops_nor_hurries_checkpoints(folder):
    jump = [("clock", "schedule", 6)]
    often, never = ("--checkpoint-every", "0.00001m", "--keep", "30"), ("--checkpoint-every", "60m")
    killed = request("often", earlier=jump, phase="schedule", nth=12, extra=often)
    assert drive(folder, [killed, request("never", earlier=jump, extra=never)]) == [-9, 0]
    assert saved(folder / "often") == list(range(11))
    assert saved(folder / "never") == []
    assert drive(folder, [request("often", extra=often)]) == [0]
    assert differences(folder / "whole", folder / "often") == []
    assert differences(folder / "whole", folder / "never") == []


@pytest.mark.slow
def test_a_second_training_in_the_same_directory_is_refused_until_the_first_is_killed(folder):
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *SMALL, "--output-dir", "taken"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "REGISTRY_CACHE": str(folder / "cache")}
    first = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    while not list((folder / "taken").glob("checkpoints/step-*")):
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    assert drive(folder, [request("taken")]) == [2]
    assert f"process {first.pid} is training in this run directory" in (folder / "log").read_text()
    first.kill()
    first.wait()
    assert drive(folder, [request("taken")]) == [0]
    assert differences(folder / "whole", folder / "taken") == []


@pytest.mark.slow
def test_a_full_disk_is_said_and_loses_nothing(folder):
    assert drive(folder, [request("full", phase="checkpoint", nth=3, fault="full")]) == [2]
    assert "checkpoint 9 could not be written" in (folder / "log").read_text()
    assert saved(folder / "full") == [3, 6]
    model = request("full-model", phase="best-model", fault="full")
    assert drive(folder, [model]) == [2]
    assert "the run goes on from there" in (folder / "log").read_text()
    assert drive(folder, [request("full"), request("full-model")]) == [0, 0]
    assert differences(folder / "whole", folder / "full") == []
    assert differences(folder / "whole", folder / "full-model") == []
    going_on = request("going-on", phase="checkpoint", nth=2, fault="full", extra=("--save-failure", "continue"))
    drive(folder, [going_on])  # its report does not fit on the disk either
    said = (folder / "log").read_text()
    assert "checkpoint 6 could not be written" in said
    assert "the older ones stand" in said
    assert (folder / "going-on" / "metrics.json").is_file()


@pytest.mark.parametrize("clip_norm", ["1", "0"])
def test_an_infinite_gradient_is_said_and_spoils_no_weights_that_are_saved(folder, clip_norm):
    run, extra = f"inf-{clip_norm}", ("--checkpoint-every", "1", "--keep", "9", "--clip-norm", clip_norm)
    bad = request(run, phase="mid-accumulation", nth=4, fault="inf", extra=extra)
    assert drive(folder, [bad]) == [2]
    assert "loss or gradients are not finite at update 4 (epoch 0.80)" in (folder / "log").read_text()
    assert saved(folder / run) == [1, 2, 3]
    assert not (folder / run / "model").exists()  # although update 4 is the first one to be scored
    assert drive(folder, [request(run, extra=extra), request(f"{run}-whole", extra=extra)]) == [0, 0]
    assert differences(folder / f"{run}-whole", folder / run) == []


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(folder):
    assert drive(folder, [request("damaged", phase="schedule", nth=8)]) == [-9]
    kept = Checkpoints(folder / "damaged" / "checkpoints", Control(), main=True, keep=2)
    newest = kept.newest(print)
    assert newest.name == "step-00000006"
    for path in sorted(path for path in newest.rglob("*") if path.is_file()):
        for harm, content in harmed(path.read_bytes()):
            before = path.read_bytes()
            path.write_bytes(content)
            said = []
            assert kept.newest(said.append).name == "step-00000003", (path.name, harm)
            assert path.name in said[0] or path.name == MANIFEST  # which may blame another one
            path.write_bytes(before)
    assert kept.newest(print) == newest
    flip(newest / "weights.safetensors")
    assert drive(folder, [request("damaged")]) == [0]
    said = (folder / "log").read_text()
    assert "step-00000006 is damaged and passed over: the content of weights.safetensors" in said
    assert "continuing damaged from update 3" in said
    assert differences(folder / "whole", folder / "damaged") == []


def test_taken_back_to_an_older_checkpoint_it_leaves_no_gap(folder):
    older = ("--resume", "back/checkpoints/step-00000003")
    kept = ("--keep", "3")
    killed = request("back", phase="schedule", nth=8, extra=kept)
    again = request("back", phase="schedule", nth=2, extra=(*kept, *older))
    assert drive(folder, [killed, again]) == [-9, -9]
    assert saved(folder / "back") == [3]
    assert drive(folder, [request("back", extra=kept)]) == [0]
    assert differences(folder / "whole", folder / "back") == []


@pytest.mark.slow
def test_changed_rows_and_options_are_refused_with_what_was_before(folder):
    assert drive(folder, [request("changed", phase="schedule", nth=5)]) == [-9]
    (folder / "rows.jsonl").write_text("\n".join(ROWS).replace("film, number 7", "movie, number 7"))
    changed = request("changed")
    fewer = request("changed", extra=("--batch-size", "8"))
    longer = request("changed", extra=("--epochs", "4"))
    assert drive(folder, [changed, fewer, longer]) == [2, 2, 2]
    (folder / "rows.jsonl").write_text("\n".join(ROWS))
    said = (folder / "log").read_text()
    assert "rows of rows.jsonl" in said
    assert "--batch-size 16, now it is 8" in said
    assert "--epochs 3.0, now it is 4.0" in said
    endless = ("--schedule", "constant", "--warmup", "0")
    first = request("longer", phase="schedule", nth=5, extra=endless)
    assert drive(folder, [first, request("longer", extra=(*endless, "--epochs", "4"))]) == [-9, 0]
    assert json.loads((folder / "longer" / "metrics.json").read_text())["epochs"] == 4


@pytest.mark.slow
def test_a_changed_base_is_refused_where_weights_of_it_stay_as_they_are(folder):
    few = ("--max-updates", "3")
    frozen = ("--model", "base", "--lora-rank", "2")
    killed = request("adapter", phase="schedule", nth=5, extra=frozen)
    other = request("base", extra=(*few, "--seed", "9", "--overwrite"))
    runs = [request("base", extra=few), killed, other, request("adapter", extra=frozen)]
    assert drive(folder, runs) == [0, -9, 0, 2]
    assert "was started with frozen weights of base" in (folder / "log").read_text()
