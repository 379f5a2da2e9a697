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
calls = json.loads(path.read_text())["calls"] + 1 if path.exists() else 1
path.write_text(json.dumps({"name": "sst2-validation", "accuracy": 0.7, "calls": calls, "data": rest["--data-dir"]}))
'''


@pytest.fixture
def evaluate(tmp_path: Path) -> list[str]:
    script = tmp_path / "evaluate.py"
    script.write_text(EVALUATE, encoding="utf-8")
    return [sys.executable, str(script)]


def test_a_score_is_made_once_and_again_when_the_run_is_newer(tmp_path: Path, evaluate: list[str]) -> None:
    path = write_run(tmp_path / "run", rows=20, task="imdb")
    own = Compared(read_run(path), {"task": "imdb", "model": "tiny"})
    failures: list[tuple[str, str]] = []

    def score() -> Compared:
        (found,) = with_scores_on(
            [own], ["sst2", "imdb", "wnli"], {"sst2": "/d"}, evaluate, lambda *f: failures.append(f)
        )
        return found

    scored = score()
    assert scored.value(Column("validation", "accuracy", "sst2")) == 0.7
    assert set(scored.elsewhere) == {"sst2"}, "not its own task, not the one that failed"
    assert failures == [("run on wnli", "--task wnli --split test: no row has a label")]
    kept = path / "evaluations" / "sst2.json"
    score()
    assert json.loads(kept.read_text())["calls"] == 1
    later = kept.stat().st_mtime + 10
    os.utime(path / "metrics.json", (later, later))
    score()
    assert json.loads(kept.read_text()) == {"name": "sst2-validation", "accuracy": 0.7, "calls": 2, "data": "/d"}
    titles = [column.title for column in compare([scored]).columns]
    assert titles == ["validation accuracy", "test accuracy", "sst2 validation accuracy"]
