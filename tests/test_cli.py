"""What every program does with errors and with logs."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from registry.cli import USAGE_ERROR, friendly


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @friendly
    def program() -> None:
        (tmp_path / "nowhere" / "file").write_text("")

    with pytest.raises(SystemExit) as ended:
        program()
    assert ended.value.code == USAGE_ERROR
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere' / 'file'}: No such file or directory\n"


def test_an_error_that_is_no_files_keeps_its_traceback() -> None:
    @friendly
    def program() -> None:
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="the network is gone"):
        program()


def test_a_log_gets_no_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "")
    monkeypatch.delenv("HF_DATASETS_DISABLE_PROGRESS_BARS")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    friendly(lambda: None)()
    assert os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] == "1"
