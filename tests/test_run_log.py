"""metrics.jsonl: lines without gaps or doubles, also after a torn one."""

import json

import pytest
from faults.kit import scalars

from registry.run_log import RunLog, flat_numbers, read_log


def test_lines_are_cut_back_to_where_a_run_continues(tmp_path):
    log = RunLog(tmp_path)
    for update in (1, 2, 3):
        log.write(update, update / 10, "train", {"loss": 1 / update})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"update": 4, "spl')
    again = RunLog(tmp_path, lines=2)
    assert again.lines == 2
    again.write(3, 0.3, "train", {"loss": 0.5})
    again.close()
    lines = read_log(tmp_path)
    assert [line["update"] for line in lines] == [1, 2, 3]
    assert lines[-1] == {"update": 3, "epoch": 0.3, "split": "train", "loss": 0.5}
    assert {p.name for p in (tmp_path / "tensorboard").iterdir()} == {"train"}
    assert scalars(tmp_path)["train/loss"] == [(1, 1.0), (2, 0.5), (3, 0.5)]


def test_a_label_that_ends_lines_elsewhere_ends_none_here(tmp_path):
    log = RunLog(tmp_path)
    for update in (1, 2):
        log.write(update, 0.1, "train", {"per_class": {"pos\u2028itive\u0085": update / 2}})
    log.close()
    assert RunLog(tmp_path, lines=2).lines == 2
    assert [line["per_class"] for line in read_log(tmp_path)] == [{"pos\u2028itive\u0085": n / 2} for n in (1, 2)]


def test_tensorboard_shows_no_value_twice_wherever_a_run_was_killed(tmp_path):
    """Before its first checkpoint; after an evaluation at the very update of its checkpoint; at its end."""
    kept = 0
    for process in range(3):
        log = RunLog(tmp_path, lines=kept)
        for update, split in ((0, "validation"), (2, "train"), (2, "validation"), (2, "best_validation"))[kept:]:
            log.write(update, update / 10, split, {"loss": 2.0**-update})
        log.close()
        kept = min(process, 1) * 2
    assert scalars(tmp_path) == {
        "best_validation/loss": [(2, 0.25)],
        "train/loss": [(2, 0.25)],
        "validation/loss": [(0, 1.0), (2, 0.25)],
    }


def test_every_line_is_json_where_a_number_is_not_finite(tmp_path):
    log = RunLog(tmp_path)
    log.write(1, 0.1, "train", {"grad_norm": float("inf"), "loss": 0.5, "apart": {"f1": float("nan"), "all": [1.0]}})
    log.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert line == {
        **{"update": 1, "epoch": 0.1, "split": "train"},
        **{"grad_norm": None, "loss": 0.5, "apart": {"f1": None, "all": [1.0]}},
    }
    assert scalars(tmp_path) == {"train/loss": [(1, 0.5)]}


def test_flat_numbers_walks_tables_and_leaves_out_what_is_not_a_number():
    values = {"accuracy": 0.5, "per_class": {"a": {"f1": 1}}, "name": "x", "flag": True, "nan": float("nan")}
    assert dict(flat_numbers(values)) == {"accuracy": 0.5, "per_class/a/f1": 1.0}
