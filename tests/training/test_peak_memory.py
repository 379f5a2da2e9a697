"""Peak memory is that of the training, not of what its data was prepared with."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from registry.training.peak_memory import forget_peak, peak_memory_mb

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_what_was_held_before_is_forgotten_and_what_is_held_after_counts() -> None:
    prepared = b"1" * (200 << 20)
    before = peak_memory_mb(CPU)
    del prepared
    forget_peak(CPU)
    quiet = peak_memory_mb(CPU)
    assert quiet < before - 150
    trained = b"1" * (100 << 20)
    assert peak_memory_mb(CPU) == pytest.approx(quiet + len(trained) / 2**20, abs=20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak")
def test_the_peak_of_the_process_that_started_this_one_does_not_count() -> None:
    held = b"1" * (900 << 20)
    code = "import torch; from registry.training.peak_memory import *; print(peak_memory_mb(torch.device('cpu')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(said) < len(held) / 2**20
