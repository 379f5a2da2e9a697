from __future__ import annotations

from typing import Any

from registry.benchmarking.tables import COLUMNS, markdown, ratio, rows, verdict


def round_of(speed: float, metric: float, **more: Any) -> dict[str, Any]:
    numbers = {
        "tokens_per_second": 10 * speed,
        "peak_share": 0.25,
        "seconds": 3.0,
        "peak_memory_mb": 512.0,
        "loss": 0.5,
    }
    names = {"metric_name": "accuracy", "precision": "fp32"}
    return {"samples_per_second": speed, "metric": metric, **numbers, **names, **more}


OURS = [round_of(30, 0.90), round_of(20, 0.92), round_of(40, 0.91)]
THEIRS = [round_of(10, 0.91), round_of(10, 0.90), round_of(10, 0.92)]


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio(OURS, THEIRS) == "3.00x (2.00 to 4.00)"


def test_equally_good_means_within_twice_the_error_of_the_difference() -> None:
    assert verdict(OURS, THEIRS) == "within noise (+0.0000, error 0.0082)"
    assert verdict(OURS, [round_of(10, value) for value in (0.85, 0.86, 0.84)]).startswith("outside noise (+0.0600")
    assert verdict(OURS[:1], THEIRS[:1]) == "one seed"


def test_a_table_has_a_row_for_each_side_of_a_case() -> None:
    lines = rows("SST-2", {"ours": OURS, "best": THEIRS})
    assert lines[0][:4] == ["SST-2", "this project (fp32)", "30.0", "300"]
    assert lines[0][-3:] == ["accuracy 0.9100 ± 0.0100", "", ""]
    assert lines[1][-2] == "3.00x (2.00 to 4.00)"
    assert all(len(line) == len(COLUMNS) for line in lines)
    text = markdown(lines).splitlines()
    assert text[0].startswith("| case |  | samples/s |")
    assert text[3].startswith("| SST-2 | Trainer at its best (fp32) | 10.0 |")
