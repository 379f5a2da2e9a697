"""What stood after each epoch, beside what the log of each run says."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev

import pytest
from fixture_runs import write_run

from registry.reports import format
from registry.reports.comparison import compare, labelled
from registry.reports.comparison_epochs import epoch_tables
from registry.reports.comparison_page import write_comparison
from registry.reports.run_record import read_run


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two seeds of one model and one run of another."""
    return [
        write_run(tmp_path / name, seed=seed, model=model, rows=60)
        for name, model, seed in (("a1", "bilstm", 1), ("a2", "bilstm", 2), ("b1", "minilm", 1))
    ]


def logged(path: Path, metric: str) -> dict[float, float]:
    """Validation values by epoch."""
    lines = map(json.loads, (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["epoch"]: line[metric] for line in lines if line["split"] == "validation"}


def test_means_over_seeds_after_each_epoch(paths: list[Path]) -> None:
    accuracy, loss = epoch_tables(compare(labelled([read_run(path) for path in paths])))
    assert accuracy.headings == ["demo: validation accuracy", "untrained", "epoch 1", "epoch 2", "epoch 3"]
    assert loss.headings[0] == "demo: validation loss"
    for table, metric in ((accuracy, "accuracy"), (loss, "loss")):
        first, second, single = (logged(path, metric) for path in paths)
        assert [row[0].text for row in table.rows] == ["bilstm", "minilm"]
        for column, epoch in enumerate((0.0, 1.0, 2.0, 3.0), start=1):
            both = [values[epoch] for values in (first, second) if epoch in values]
            expected = format.mean_spread(fmean(both), stdev(both)) if both else ""
            assert table.rows[0][column].text == expected
            assert table.rows[1][column].text == (format.mean_spread(single[epoch], None) if epoch in single else "")


def test_they_stand_on_the_page_and_in_a_file(paths: list[Path], tmp_path: Path) -> None:
    page = write_comparison(compare(labelled([read_run(path) for path in paths])), tmp_path / "out")
    assert "| demo: validation loss | untrained | epoch 1 |" in (tmp_path / "out" / "epochs.md").read_text()
    assert page.read_text(encoding="utf-8").count('<th class="n">epoch 2</th>') == 2


def test_runs_of_one_epoch_need_no_such_table(paths: list[Path]) -> None:
    for path in paths:
        metrics = json.loads((path / "metrics.json").read_text())
        (path / "metrics.json").write_text(json.dumps({**metrics, "epochs": 1.0}))
    assert list(epoch_tables(compare(labelled([read_run(path) for path in paths])))) == []


def test_seeds_are_averaged_where_all_of_them_have_a_value(paths: list[Path]) -> None:
    log = paths[0] / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["split"] == "validation" and line["epoch"] == 1.0:
            line["accuracy"] = None  # as a correlation with a constant
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    accuracy, _ = epoch_tables(compare(labelled([read_run(path) for path in paths])))
    first, second = (logged(path, "accuracy") for path in paths[:2])
    both = [first[2.0], second[2.0]]
    assert accuracy.rows[0][2].text == ""
    assert accuracy.rows[0][3].text == format.mean_spread(fmean(both), stdev(both))
