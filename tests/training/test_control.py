"""What processes tell each other goes over the hosts, whatever backend the engine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from registry.training.control import Control


def test_items_of_one_process_are_its_own() -> None:
    assert Control().gather([1, 2]) == [1, 2]


def test_items_are_gathered_over_the_group_on_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control()
    control._group = hosts = object()

    def all_gather_object(parts: list, mine: list, group: object = None) -> None:
        assert group is hosts  # not the default one, which is NCCL where there are GPUs
        parts[:] = [["of the first"], mine]

    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", all_gather_object)
    assert control.gather(["mine", "too"]) == ["of the first", "mine", "too"]


def test_two_processes_have_the_same_list_in_their_order() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("gather_together.py"))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["0 [0, 1, 10]", "1 [0, 1, 10]"]
