"""Groups over seeds, the best, significance and the tables of a comparison."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from fixture_runs import write_run

from registry.reports.comparison import Column, Comparison, compare, labelled
from registry.reports.comparison_page import write_comparison
from registry.reports.comparison_table import _latex, build_rows, p_text, to_csv, to_latex, to_markdown
from registry.reports.page import report_context
from registry.reports.run_record import RunRecord, read_run

TEST = Column("test", "accuracy")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecord]:
    """Two models, the second much better, at two fractions with two seeds."""
    base = tmp_path_factory.mktemp("runs")
    return [
        read_run(
            write_run(
                base / f"{model}-{fraction}-{seed}",
                rows=300,
                skill=skill * (0.6 + 0.4 * fraction),
                seed=seed,
                model=model,
                options={"train_fraction": fraction},
            )
        )
        for model, skill in (("bilstm", 1.0), ("mini|lm_x", 2.6))
        for fraction in (0.25, 1.0)
        for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def comparison(runs: list[RunRecord]) -> Comparison:
    return compare(labelled(runs), title="Little data")


def test_runs_that_differ_by_seed_are_one_group(runs: list[RunRecord], comparison: Comparison) -> None:
    assert [(g.labels["model"], g.labels["fraction"], len(g.runs)) for g in comparison.groups] == [
        ("bilstm", 0.25, 2), ("bilstm", 1.0, 2), ("mini|lm_x", 0.25, 2), ("mini|lm_x", 1.0, 2),
    ]  # fmt: skip
    values = [run.metrics["test"]["accuracy"] for run in runs[:2]]
    assert comparison.groups[0].mean(TEST) == pytest.approx(fmean(values))
    assert comparison.groups[0].spread(TEST) == pytest.approx(stdev(values))
    assert comparison.groups[0].cost("seconds_per_update") == pytest.approx((214.9 + 15) / 300)


def test_the_best_of_each_fraction_is_marked_and_the_other_tested_against_it(comparison: Comparison) -> None:
    worse, better = comparison.groups[:2], comparison.groups[2:]
    assert all(TEST in group.best and group.p is None for group in better)
    assert all(TEST not in group.best and group.p is not None and group.p < 0.01 for group in worse)


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    same = [read_run(write_run(tmp_path / name, rows=200, seed=3, model=name)) for name in ("a", "b")]
    first, second = compare(labelled(same)).groups
    assert TEST in first.best
    assert TEST in second.best
    assert second.p == 1.0


def test_options_that_tell_runs_apart_name_them_but_not_those_that_change_no_training(tmp_path: Path) -> None:
    options = (
        {"layer_decay": 0.9, "output_dir": "x", "keep": 1, "tracker": ["wandb"]},
        {"layer_decay": 1.0, "output_dir": "y", "keep": 2, "tracker": []},
    )
    found = labelled([read_run(write_run(tmp_path / str(i), rows=20, options=own)) for i, own in enumerate(options)])
    assert [c.labels["variant"] for c in found] == ["layer_decay 0.9", "layer_decay 1"]


def edited(path: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> RunRecord:
    """The run with one of its JSON files changed."""
    values = json.loads((path / name).read_text(encoding="utf-8"))
    edit(values)
    (path / name).write_text(json.dumps(values), encoding="utf-8")
    return read_run(path)


def test_less_is_best_where_the_metric_or_the_runs_task_says_so(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, rows=50, model=name) for name in ("a", "b")]
    runs = []
    for path, error in zip(paths, (0.01, 0.3), strict=True):
        edited(path, "run.json", lambda run: run.update(primary_metric="wer", minimize=True))
        runs.append(edited(path, "metrics.json", lambda m, e=error: m["test"].update(ece=e, wer=e)))  # type: ignore
    columns = [Column("test", "ece"), Column("test", "wer")]
    better, worse = compare(labelled(runs), ["ece", "wer", "accuracy"]).groups
    assert better.best >= set(columns)
    assert not worse.best & set(columns)


def test_checkpoints_are_told_apart_where_their_names_do_not(tmp_path: Path) -> None:
    def come_from(path: str) -> Callable[[dict[str, Any]], None]:
        return lambda run: run["model"].update(name="transformer", source={"path": path})

    sources = ("runs/adapted/model", "checkpoints/minilm/model", "other/minilm/model", "other/minilm/model")
    runs = [
        edited(write_run(tmp_path / str(i), rows=20, seed=i), "run.json", come_from(source))
        for i, source in enumerate(sources)
    ]
    groups = compare(labelled(runs)).groups
    assert [(g.labels["model"], len(g.runs)) for g in groups] == [("adapted", 1), (sources[1], 1), (sources[2], 2)]


def test_a_run_without_a_test_split_is_not_tested_against_those_that_have_one(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, rows=60, model=name, skill=2.0 + i) for i, name in enumerate("abc")]
    runs = [read_run(paths[0]), read_run(paths[1]), edited(paths[2], "metrics.json", lambda m: m.pop("test"))]
    groups = compare(labelled(runs)).groups
    assert [group.p is None for group in groups].count(False) == 1
    assert groups[2].p is None


def test_rows_of_other_files_are_not_paired_though_their_numbers_agree(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, rows=60, model=name, skill=1.0 + i) for i, name in enumerate("ab")]
    saved = paths[1] / "predictions" / "test.jsonl"
    lines = [json.loads(line) for line in saved.read_text(encoding="utf-8").splitlines()]
    for line, row in zip(lines, reversed([line["row"] for line in lines]), strict=True):
        line["row"] = row
    saved.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert [group.p for group in compare(labelled([read_run(path) for path in paths])).groups] == [None, None]


def test_the_page_and_the_table_judge_by_the_same_split(tmp_path: Path) -> None:
    """MNLI has two validation splits; the first one selects."""
    path = write_run(tmp_path / "mnli", rows=40)

    def rename(metrics: dict[str, Any]) -> None:
        metrics["validation_mismatched"] = metrics.pop("test")

    run = edited(path, "metrics.json", rename)
    (path / "predictions" / "test.jsonl").rename(path / "predictions" / "validation_mismatched.jsonl")
    assert run.headline_split == "validation"
    assert report_context(run)["headline"].name == "validation"


def test_markdown(comparison: Comparison) -> None:
    text = to_markdown(comparison)
    first = text.splitlines()[2]
    assert first == (
        "| model on demo | fraction | runs | validation accuracy | test accuracy | p (test accuracy) | parameters "
        "| time/update | samples/s | memory |"
    )
    best = comparison.groups[3]
    assert f"**{best.mean(TEST):.4f} ± {best.spread(TEST):.4f}**" in text
    assert r"mini\|lm_x" in text
    assert "| demo: test accuracy | 25 % | 100 % |" in text


def test_csv_holds_one_plain_line_a_run(runs: list[RunRecord], comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert len(rows) == len(runs)
    assert float(rows[0]["test accuracy"]) == runs[0].metrics["test"]["accuracy"]
    assert (rows[0]["model"], rows[0]["fraction"], rows[0]["seed"]) == ("bilstm", "0.25", "1")


def test_latex_is_escaped(comparison: Comparison) -> None:
    text = to_latex(comparison)
    assert r"mini|lm\_x" in text
    assert r"25 \%" in text
    assert r"\textbf{0." in text
    assert text.count(r"\\") == 1 + len(comparison.groups)


def test_p_values_as_people_read_them() -> None:
    assert [p_text(p) for p in (0.0001, 0.031, 0.2)] == ["<0.001 *", "0.031 *", "0.20"]


def test_columns_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, "mlm", rows=5, model=name)) for name in ("a", "b")]
    built = build_rows(compare(labelled(runs)))
    assert "p" not in built.headings
    assert "fraction" not in built.headings
    assert "runs" not in built.headings
    assert built.headings[:2] == ["model on demo", "validation perplexity"]


def test_the_page_and_the_plots(tmp_path: Path, comparison: Comparison) -> None:
    page = write_comparison(comparison, tmp_path / "out").read_text(encoding="utf-8")
    plots = {path.name for path in (tmp_path / "out" / "plots").iterdir()}
    names = ("fractions", "curves-validation-accuracy", "curves-validation-loss", "curves-train-loss", "time")
    assert {f"demo-{name}.{kind}" for name in names for kind in ("png", "svg")} <= plots
    assert "Little data" in page
    assert page.count("<svg") >= 5


def test_the_same_training_twice_is_no_second_seed(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / name, rows=20, seed=seed)) for name, seed in (("a", 1), ("again", 1), ("b", 2))
    ]
    groups = compare(labelled(runs)).groups
    assert [(group.labels["variant"], len(group.runs)) for group in groups] == [
        *((str(tmp_path / name), 1) for name in ("a", "again")),
        ("", 1),
    ]


def test_a_task_with_a_slash_in_its_name_has_plots(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / str(seed), rows=20, seed=seed, task="SST/2")) for seed in (1, 2)]
    write_comparison(compare(labelled(runs)), tmp_path / "out")
    assert (tmp_path / "out" / "plots" / "SST-2-curves-train-loss.png").is_file()


def test_latex_of_signs_that_it_reads_otherwise() -> None:
    assert _latex("a^b ~{c}") == r"a\^{}b \~{}\{c\}"
