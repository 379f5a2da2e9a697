"""The comparison's table: what stands in its places."""

from __future__ import annotations

from pathlib import Path

from fixture_runs import write_run

from registry.reports.comparison import Compared, compare
from registry.reports.comparison_table import build_rows, to_markdown
from registry.reports.run_record import read_run


def test_fractions_keep_their_digits(tmp_path: Path) -> None:
    fractions = (0.001, 0.004, 0.07, 0.125, 1.0)
    run = read_run(write_run(tmp_path / "run", rows=40))
    found = compare([Compared(run, {"task": "demo", "model": "tiny", "fraction": part}) for part in fractions])
    texts = ["0.1 %", "0.4 %", "7 %", "12.5 %", "100 %"]
    built = build_rows(found)
    place = built.headings.index("fraction")
    assert [row[place].text for row in built.rows] == texts
    assert f"| demo: test accuracy | {' | '.join(texts)} |" in to_markdown(found)


def test_a_metric_that_was_asked_for_decides_the_contest(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, rows=300, skill=skill)) for name, skill in (("a", 1.0), ("b", 3.0))]
    parts = [(run, part) for run in runs for part in (0.5, 1.0)]
    labels = [{"task": "demo", "model": run.directory.path.name, "fraction": part} for run, part in parts]
    compared = [Compared(run, label) for (run, _), label in zip(parts, labels, strict=True)]
    found = compare(compared, ["f1_macro"])
    built = build_rows(found)
    assert found.headline(found.groups[0]).title == "test f1 macro"
    assert "p (test f1 macro)" in built.headings  # of validation there is a column, too
    assert [group.p is None for group in found.groups] == [False, False, True, True]
    assert "| demo: test f1 macro |" in to_markdown(found)
    assert "p (test accuracy)" in build_rows(compare(compared)).headings
