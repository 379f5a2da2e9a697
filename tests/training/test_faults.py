"""Signals, a full disk, damaged checkpoints and changed data: the run is never lost, and says what happened."""

import json
from pathlib import Path

import pytest
from faults.kit import differences, drive

ROWS = [f'{{"text": "a {"good" if i % 2 else "bad"} film, number {i}", "label": "{"np"[i % 2]}"}}' for i in range(96)]
SMALL = [
    *("--task", "classification", "--train-file", "rows.jsonl", "--split-ratio", "0.7/0.15/0.15"),
    *("--epochs", "3", "--batch-size", "16", "--evaluate-every", "4", "--log-every", "2", "--checkpoint-every", "3"),
]


def request(run, *, phase=None, nth=1, fault="SIGKILL", extra=()):
    return {"arguments": [*SMALL, "--output-dir", run, *extra], "phase": phase, "nth": nth, "fault": fault}


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a run that met no fault."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "rows.jsonl").write_text("\n".join(ROWS))
    assert drive(folder, [request("whole")]) == [0]
    return folder


@pytest.mark.slow
def test_a_signal_makes_it_save_and_leave_and_go_on(folder):
    asked = request("asked", phase="evaluation", nth=2, fault="SIGTERM")
    at_the_end = request("asked-at-the-end", phase="evaluation", nth=5, fault="SIGTERM")
    assert drive(folder, [asked, at_the_end]) == [75, 75]
    for run in ("asked", "asked-at-the-end"):
        assert json.loads((folder / run / "run.json").read_text())["status"] == "interrupted"
    (folder / "asked" / "STOP").touch()
    assert drive(folder, [request("asked"), request("asked"), request("asked-at-the-end")]) == [75, 0, 0]
    assert not (folder / "asked" / "STOP").exists()
    assert differences(folder / "whole", folder / "asked") == []
    assert differences(folder / "whole", folder / "asked-at-the-end") == []


@pytest.mark.slow
def test_a_full_disk_is_said_and_loses_nothing(folder):
    assert drive(folder, [request("full", phase="checkpoint", nth=3, fault="full")]) == [2]
    assert "checkpoint 9 could not be written" in (folder / "log").read_text()
    kept = sorted(p.name for p in (folder / "full" / "checkpoints").glob("step-*"))
    assert kept == ["step-00000003", "step-00000006"]
    assert drive(folder, [request("full")]) == [0]
    assert differences(folder / "whole", folder / "full") == []
    going_on = request("going-on", phase="checkpoint", nth=2, fault="full", extra=("--save-failure", "continue"))
    drive(folder, [going_on])  # its report does not fit on the disk either
    said = (folder / "log").read_text()
    assert "checkpoint 6 could not be written" in said
    assert "training goes on" in said
    assert (folder / "going-on" / "metrics.json").is_file()


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(folder):
    assert drive(folder, [request("damaged", phase="schedule", nth=8)]) == [-9]
    flip(folder / "damaged" / "checkpoints" / "step-00000006" / "weights.safetensors")
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
    assert [path.name for path in (folder / "back" / "checkpoints").glob("step-*")] == ["step-00000003"]
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
