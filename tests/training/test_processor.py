from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.allocator import is_glibc
from registry.training.processor import quota, said_by_person, usable_cores

ONE = {"OMP_NUM_THREADS": "1"}
BY_ACCELERATE = {**ONE, "ACCELERATE_MIXED_PRECISION": "no"}
BY_TORCHRUN = {**ONE, "TORCHELASTIC_RUN_ID": "none"}


@pytest.mark.parametrize("environment", [BY_ACCELERATE, BY_TORCHRUN])
def test_what_a_launcher_makes_up_is_not_a_persons_wish(environment: dict[str, str]) -> None:
    assert not said_by_person(environment, {}, ["accelerate", "launch", "train.py"])
    assert said_by_person(environment, ONE, ["accelerate", "launch", "train.py"])
    for option in (["--num_cpu_threads_per_process", "1"], ["--num-cpu-threads-per-process=1"]):
        assert said_by_person(environment, {}, ["accelerate", "launch", *option, "train.py"])
    assert said_by_person(environment, None, ())  # whoever started it cannot be asked


def test_without_a_launcher_the_variable_is_the_persons() -> None:
    assert said_by_person(ONE, {}, ["bash"])
    assert not said_by_person({}, {}, ["bash"])


def test_a_containers_quota_is_counted_in_whole_cores(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    for text, cores in (("250000 100000", 2), ("50000 100000", 1), ("max 100000", None)):
        file.write_text(text)
        assert quota(file) == cores
    assert quota(tmp_path / "missing") is None
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


PROGRAM = """
import torch
from registry.training import processor
processor.usable_cores = lambda: 6
processor.suit_threads()
print(torch.get_num_threads(), processor.describe_threads(), sep="; ")
tiny = torch.full((4,), 1e-38) * 1e-3
assert not tiny.any()  # denormal numbers are zero
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "no"}, "6; 6 threads a process"),
        ({"ACCELERATE_MIXED_PRECISION": "no", "LOCAL_WORLD_SIZE": "4"}, "1; 1 thread a process"),
        ({}, "1; 1 thread a process (OMP_NUM_THREADS)"),
    ],
)
def test_a_process_takes_its_share_of_the_cores(more: dict[str, str], expected: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    start = (
        "import os, subprocess, sys\n"
        f"done = subprocess.run([sys.executable, '-c', {PROGRAM!r}], env={{**os.environ, **{ {**ONE, **more}!r}}})\n"
        "sys.exit(done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", start], env=clean, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected + (", freed memory is kept" if is_glibc() else "")
