"""A run that is killed goes on to the same bits as one that never was."""

import pytest
from faults.kit import differences, drive

SMALL = [
    *("--max-train-rows", "160", "--max-validation-rows", "64", "--max-test-rows", "32"),
    *("--epochs", "2", "--micro-batch-size", "16", "--evaluate-every", "3", "--log-every", "2"),
    *("--checkpoint-every", "2", "--keep", "2", "--augment-delete", "0.1"),
    *("--seed", "3", "--learning-rate", "0.0005", "--warmup", "0", "--best-metric", "loss"),
]
"""So it gets better at several evaluations, and the best weights are replaced."""
PLACES = [
    ("mid-accumulation", 1),
    ("mid-accumulation", 11),
    ("before-step", 6),
    ("after-update", 7),
    ("schedule", 5),
    ("evaluation", 2),
    ("logging", 8),
    ("best-model", 1),
    ("best-model-aside", 1),
    ("saving", 2),
    ("publishing", 3),
    ("renamed", 4),
    ("epoch", 2),
    ("report", 1),
]

MASKING = (*("--task", "demo-mlm", "--augment-delete", "0"), *("--batch-size", "4", "--micro-batch-size", "2"))
"""Packed texts make few examples, and refuse augmentation."""
QUICK = ("mid-accumulation", 11), ("evaluation", 2), ("best-model-aside", 1), ("report", 1)


def training(folder, phase=None, nth=1, extra=()):
    return {"arguments": [*SMALL, *extra, "--output-dir", folder], "phase": phase, "nth": nth}


def check(folder, places, extra=()):
    """Kill a run at each place, continue it, and compare it with one that was never killed."""
    requests = [training("whole", extra=extra)]
    for number, (phase, nth) in enumerate(places):
        requests += [training(f"killed-{number}", phase, nth, extra), training(f"killed-{number}", extra=extra)]
    assert drive(folder, requests) == [0] + [-9, 0] * len(places)
    found = {
        f"{phase} {nth}": differences(folder / "whole", folder / f"killed-{number}")
        for number, (phase, nth) in enumerate(places)
    }
    assert {place: wrong for place, wrong in found.items() if wrong} == {}
    assert all((folder / f"killed-{number}" / "report.html").is_file() for number in range(len(places)))


def test_killed_it_ends_the_same(tmp_path):
    check(tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param((), id="plain"),
        pytest.param(("--precision", "bf16"), id="bf16"),
        pytest.param(MASKING, id="masking"),
        pytest.param(("--ema-decay", "0.9", "--learning-rate", "0.003"), id="averaged"),
        pytest.param(("--best-metric", "accuracy", "--patience", "2"), id="patient"),
        pytest.param(("--task", "demo-ner", "--model", "bilstm"), id="recurrent"),
        pytest.param(("--lora-rank", "4", "--merge-adapter"), id="merged-adapter"),
    ],
)
def test_killed_anywhere_it_ends_the_same(tmp_path, extra):
    improves = "--patience" not in extra
    check(tmp_path, [place for place in PLACES if improves or place[0] != "best-model-aside"], extra)
