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
