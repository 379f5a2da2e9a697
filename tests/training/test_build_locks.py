"""A build lock that nobody holds is cleared; one in use is left alone."""

from __future__ import annotations

import os

from registry.training.build_locks import clear_abandoned_locks


def test_only_what_nobody_holds_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    for name in ("dead", "alive"):
        (tmp_path / name).mkdir()
    (tmp_path / "dead" / "lock").touch()
    held = os.open(tmp_path / "alive" / "lock", os.O_CREAT | os.O_EXCL)
    try:
        assert clear_abandoned_locks() == [tmp_path / "dead" / "lock"]
        assert (tmp_path / "alive" / "lock").exists()
    finally:
        os.close(held)
    assert clear_abandoned_locks() == [tmp_path / "alive" / "lock"]


def test_no_builds_no_locks(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "none"))
    assert clear_abandoned_locks() == []
