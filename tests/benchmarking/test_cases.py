from __future__ import annotations

from pathlib import Path

import pytest

from registry.benchmarking.cases import Case, read_cases
from registry.resolving import resolve

SHIPPED = Path(__file__).parents[2] / "scripts" / "benchmarks"


def written(tmp_path: Path, text: str) -> str:
    (tmp_path / "cases.yaml").write_text(text)
    return str(tmp_path / "cases.yaml")


def test_typed_options_alone_are_one_case() -> None:
    assert read_cases(None, {"task": "sst2", "epochs": 1.0}, {}) == [Case("sst2", {"task": "sst2", "epochs": 1.0})]


def test_a_file_has_cases_for_which_typed_options_and_data_hold(tmp_path: Path) -> None:
    file = written(tmp_path, "SST-2:\n  task: sst2\n  max-length: 16\nwords:\n  task: conll2003\n  processes: 2\n")
    assert read_cases(file, {"epochs": 1.0}, {"sst2": "here"}) == [
        Case("SST-2", {"task": "sst2", "max_length": 16, "epochs": 1.0, "data_dir": "here"}),
        Case("words", {"task": "conll2003", "epochs": 1.0}, 2),
    ]


def test_a_place_for_a_task_of_no_case_is_a_mistyped_name() -> None:
    with pytest.raises(ValueError, match="--data dmo=…: nothing would read it; this comparison has demo"):
        read_cases(None, {"task": "demo"}, {"dmo": "/data"})


def test_every_axis_varies_by_itself(tmp_path: Path) -> None:
    file = written(tmp_path, "a:\n  task: sst2\n  max_length: 8\n  vary: {max_length: [16, 32], processes: [2]}\n")
    assert read_cases(file, {}, {}) == [
        Case("a, max length 16", {"task": "sst2", "max_length": 16}),
        Case("a, max length 32", {"task": "sst2", "max_length": 32}),
        Case("a, processes 2", {"task": "sst2", "max_length": 8}, 2),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  lenght: 3\n", "a: unknown option 'lenght'"),
        ("a:\n  vary: {max_lenght: [3]}\n", r"a: unknown option 'max_lenght'; did you mean max_length"),
        ("a:\n  vary: 3\n", "a: vary must be options with a list of values each, not 3"),
        ("a:\n  vary: {max_length: 16}\n", "a: vary must be options with a list of values each"),
        ("a:\n  processes: two\n", "a: processes must be a whole number from 1, not 'two'"),
        ("a:\n  processes: 0\n", "a: processes must be a whole number from 1, not 0"),
        ("a:\n  vary: {processes: [1, two]}\n", "a: processes must be a whole number from 1, not 'two'"),
        ("a: 3\n", "'a' must be options of train.py, not 3"),
        ("- a\n", "expected names of cases"),
        ("a: {\n", "cases.yaml"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_cases(written(tmp_path, text), {}, {})


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_cases_have_options_that_train_py_knows(file: Path) -> None:
    for case in read_cases(str(file), {}, {}):
        assert resolve(case.options, {}, {}).options.run.task != "demo"
