"""Scores on other tasks: made once, made again for a newer run, failing alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from fixture_runs import write_run

from registry.reports.comparison import Column, Compared, compare
from registry.reports.elsewhere import with_scores_on
from registry.reports.run_record import read_run

EVALUATE = '''
"""Stands in for evaluate.py: every model has 0.7 on sst2 with the data given; nothing has labels in wnli."""
import json, pathlib, sys
run, rest = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
if rest["--task"] == "wnli":
    print("error: --task wnli --split test: no row has a label", file=sys.stderr)
    sys.exit(2)
path = pathlib.Path(rest["--output"])
path.parent.mkdir(exist_ok=True)
calls = json.loads(path.read_text()).get("calls", 0) + 1 if path.exists() else 1
given = {"task": rest["--task"], "data_dir": rest["--data-dir"], "plugin_file": rest.get("--plugin-file")}
path.write_text(json.dumps({"name": "sst2-validation", "accuracy": 0.7, "calls": calls, **given}))
'''


@pytest.fixture
def evaluate(tmp_path: Path) -> list[str]:
    script = tmp_path / "evaluate.py"
    script.write_text(EVALUATE, encoding="utf-8")
    return [sys.executable, str(script)]


@pytest.fixture
def own(tmp_path: Path) -> Compared:
    path = write_run(tmp_path / "run", rows=20, task="imdb", options={"plugin_file": "a_strangers.py"})
    return Compared(read_run(path), {"task": "imdb", "model": "tiny"})


def score(own: Compared, evaluate: list[str], data: str = "/d", plugin_file: str | None = None) -> Compared:
    plugin_files = {own.run.directory.path: plugin_file} if plugin_file else {}
    failures: list[tuple[str, str]] = []
    (found,) = with_scores_on(
        [own], ["sst2", "imdb", "wnli"], {"sst2": data}, evaluate, lambda *f: failures.append(f), plugin_files
    )
    assert failures == [("run on wnli", "--task wnli --split test: no row has a label")]
    return found


def test_a_score_is_made_once_and_again_when_the_run_is_newer(own: Compared, evaluate: list[str]) -> None:
    scored = score(own, evaluate)
    assert scored.value(Column("validation", "accuracy", "sst2")) == 0.7
    assert set(scored.elsewhere) == {"sst2"}, "not its own task, not the one that failed"
    kept = own.run.directory.evaluations / "on-sst2.json"
    score(own, evaluate)
    assert json.loads(kept.read_text())["calls"] == 1
    later = kept.stat().st_mtime + 10
    os.utime(own.run.directory.metrics_json, (later, later))
    score(own, evaluate)
    assert json.loads(kept.read_text())["calls"] == 2
    titles = [column.title for column in compare([scored]).columns]
    assert titles == ["validation accuracy", "test accuracy", "sst2 validation accuracy"]


def test_a_score_on_other_data_or_of_a_file_is_not_taken_for_the_tasks(own: Compared, evaluate: list[str]) -> None:
    kept = own.run.directory.evaluations / "on-sst2.json"
    score(own, evaluate)
    score(own, evaluate, data="/other")
    assert (json.loads(kept.read_text())["data_dir"], json.loads(kept.read_text())["calls"]) == ("/other", 2)
    for name in ("on-sst2", "sst2"):  # evaluate.py RUN --file sst2.csv
        of_a_file = {"name": name, "task": None, "data_dir": "/other", "accuracy": 0.1}
        (kept.parent / f"{name}.json").write_text(json.dumps(of_a_file))
    scored = score(own, evaluate, data="/other")
    assert scored.value(Column("validation", "accuracy", "sst2")) == 0.7


def test_the_plugin_file_is_the_callers_never_the_runs(own: Compared, evaluate: list[str]) -> None:
    assert score(own, evaluate).elsewhere["sst2"]["validation"]["plugin_file"] is None
    scored = score(own, evaluate, data="/other", plugin_file="mine.py")
    assert scored.elsewhere["sst2"]["validation"]["plugin_file"] == "mine.py"


def test_a_strangers_run_does_not_choose_what_is_written_to(own: Compared, evaluate: list[str], tmp_path: Path) -> None:
    (tmp_path / "far").write_text('{"calls": 7}')
    own.run.directory.evaluations.mkdir(exist_ok=True)
    (own.run.directory.evaluations / "on-sst2.json").symlink_to(tmp_path / "far")
    score(own, evaluate)
    assert (tmp_path / "far").read_text() == '{"calls": 7}'
