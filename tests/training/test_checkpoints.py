"""Checkpoints: complete or absent, damaged ones named and passed over."""

import errno
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from registry.training.checkpoints import Checkpoints, damage
from registry.training.control import Control
from registry.training.lock import RunLock
from registry.training.random_state import draw_again, load_random_state, save_random_state

CPU = torch.device("cpu")


def checkpoints(tmp_path, keep=2):
    return Checkpoints(tmp_path / "checkpoints", Control(), main=True, keep=keep)


def write(content):
    def act(folder):
        (folder / "a.bin").write_bytes(content)
        (folder / "sub").mkdir()
        (folder / "sub" / "b.json").write_text("{}")

    return act


def test_older_ones_go_when_newer_stand(tmp_path):
    kept = checkpoints(tmp_path)
    for update in (10, 20, 30):
        kept.save(update, write(b"x" * update))
    assert [p.name for p in sorted(kept.directory.iterdir())] == ["step-00000020", "step-00000030"]
    assert kept.newest(print).name == "step-00000030"


def test_a_failed_save_leaves_what_was_there(tmp_path):
    kept = checkpoints(tmp_path)
    kept.save(10, write(b"x"))

    def full(folder):
        (folder / "a.bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        kept.save(20, full)
    assert [path.name for path in kept.directory.iterdir()] == ["step-00000010"]
    kept.save(20, write(b"y"))
    assert kept.newest(print).name == "step-00000020"


def test_everything_is_on_disk_before_it_gets_its_name_and_older_ones_go(tmp_path, monkeypatch):
    kept = checkpoints(tmp_path, keep=1)
    kept.save(10, write(b"x"))
    happened = []
    fsync, rename = os.fsync, Path.rename

    def flushed(descriptor):
        fsync(descriptor)
        happened.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", lambda path, to: happened.append("renamed") or rename(path, to))
    monkeypatch.setattr(shutil, "rmtree", lambda path, **more: happened.append(f"removed {path.name}"))
    kept.save(20, write(b"y"))
    beside = ".step-00000020.unfinished"
    assert sorted(happened[1:6]) == sorted(["a.bin", "sub", "b.json", "manifest.json", beside])
    assert happened[:1] + happened[6:] == [
        *(f"removed {beside}", "renamed", "checkpoints", "removed step-00000010"),
        f"removed {beside}",  # which has its own name by now, if it is whole
    ]


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "manifest"])
def test_damaged_ones_are_named_and_passed_over(tmp_path, harm):
    kept = checkpoints(tmp_path)
    kept.save(10, write(b"good content"))
    kept.save(20, write(b"good content"))
    newest = kept.directory / "step-00000020"
    path = newest / ("manifest.json" if harm == "manifest" else "a.bin")
    content = path.read_bytes()
    if harm == "remove":
        path.unlink()
    elif harm == "truncate":
        path.write_bytes(content[:-1])
    else:
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    said = []
    assert kept.newest(said.append).name == "step-00000010"
    assert len(said) == 1
    assert "step-00000020" in said[0]
    assert path.name in said[0]
    assert damage(newest) is not None


def test_a_disk_that_does_not_answer_is_no_damage(tmp_path, monkeypatch):
    kept = checkpoints(tmp_path)
    kept.save(10, write(b"good content"))

    def fails(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("registry.training.checkpoints.file_digest", fails)
    with pytest.raises(ValueError, match=r"step-00000010: cannot be read \(Input/output error\); nothing was changed"):
        kept.newest(print)


def test_random_generators_go_on_where_they_were(tmp_path):
    def draw():
        return random.random(), random.gauss(0, 1), np.random.randn(3).tolist(), torch.randn(3).tolist()

    random.gauss(0, 1)
    np.random.randn()
    save_random_state(tmp_path, 0, CPU)
    first = draw()
    draw()
    load_random_state(tmp_path, 0, CPU)
    assert draw() == first


def test_a_process_goes_on_with_the_generator_of_its_own_gpu_whatever_the_number_of_it_or_of_others(
    tmp_path, monkeypatch
):
    states = {"cuda:0": torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[str(device)])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({str(device): state}))
    save_random_state(tmp_path, 0, torch.device("cuda:0"))
    load_random_state(tmp_path, 0, torch.device("cuda:3"))
    assert states["cuda:3"].tolist() == [7]
    draw_again(torch.device("cuda:3"))()
    assert states.keys() == {"cuda:0", "cuda:3"}


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    with pytest.raises(ValueError, match="is training in this run directory"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
