"""Rows are cleaned, checked, divided and cut the same way every time."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, List, Value

from registry.data.checks import messages
from registry.data.prepare import prepare, ranges
from registry.data.reading import read
from registry.data.source import FileFormat, LocalFile, Source, source_of
from registry.data.splitting import cut, parse_ratio, strata_of, stratified_order, subset
from registry.options import Cleaning, Data, Splits


def split(texts: list[Any], labels: list[Any], first_row: int = 0) -> Dataset:
    rows = list(range(first_row, first_row + len(texts)))
    return Dataset.from_dict({"text": texts, "label": labels, "row": rows})


def many(count: int, share: float = 0.3) -> Dataset:
    return split([f"text {i}" for i in range(count)], ["rare" if i < share * count else "usual" for i in range(count)])


def rows_of(splits: DatasetDict) -> dict[str, set[int]]:
    return {name: set(rows["row"]) for name, rows in splits.items()}


def test_two_rows_of_one_number_are_refused() -> None:
    twice = split(["a", "b", "c"], ["x", "y", "x"]).map(lambda row: {**row, "row": row["row"] // 2})
    with pytest.raises(
        ValueError, match=r"train: two rows have the same number; a task's load.. must give each its own"
    ):
        prepare(DatasetDict(train=twice))


def test_missing_validation_and_test_are_taken_from_train() -> None:
    prepared = prepare(DatasetDict(train=many(1000)))
    assert {name: len(rows) for name, rows in prepared.splits.items()} == {"train": 800, "validation": 100, "test": 100}
    assert {name: counts["rare"] for name, counts in prepared.checks["labels"].items()} == {
        "train": 240,
        "validation": 30,
        "test": 30,
    }
    rows = rows_of(prepared.splits)
    assert set.union(*rows.values()) == set(range(1000))
    assert rows == rows_of(prepare(DatasetDict(train=many(1000))).splits)
    assert rows != rows_of(prepare(DatasetDict(train=many(1000)), Splits(split_seed=1)).splits)


def test_a_given_test_split_stays_as_it_is() -> None:
    test = split(["a", "b"], [None, None])
    prepared = prepare(DatasetDict(train=many(100), test=test))
    assert list(prepared.splits) == ["train", "validation", "test"]
    assert prepared.splits["test"].to_list() == test.to_list()
    assert len(prepared.splits["validation"]) == 10
    assert prepared.checks["unlabelled"] == {"train": 0, "validation": 0, "test": 2}


def test_train_and_validation_alone_stay_whole_unless_a_ratio_is_asked_for() -> None:
    raw = DatasetDict(train=many(100), validation_matched=split(["x"], ["usual"]))
    assert list(prepare(raw).splits) == ["train", "validation_matched"]
    assert len(prepare(raw, Splits(split_ratio="0.7/0.1/0.2")).splits["test"]) == 20


def test_ratio_of_two_makes_no_test_split() -> None:
    prepared = prepare(DatasetDict(train=many(100)), Splits(split_ratio="80/20"))
    assert {name: len(rows) for name, rows in prepared.splits.items()} == {"train": 80, "validation": 20}


@pytest.mark.parametrize("ratio", ["0.8", "0.8/0.3", "a/b", "0/1", "1.2/-0.2", "0.5/0.2/0.2/0.1", ""])
def test_bad_ratios_are_refused(ratio: str) -> None:
    with pytest.raises(ValueError, match="--split-ratio"):
        parse_ratio(ratio)


def test_too_few_rows_to_divide() -> None:
    with pytest.raises(ValueError, match="4 rows are too few to take validation and test from"):
        prepare(DatasetDict(train=many(4)))


def test_resplit_merges_labelled_splits_and_renumbers_rows() -> None:
    raw = DatasetDict(
        train=many(60), validation=split([f"v{i}" for i in range(40)], ["usual"] * 40), test=split(["t"], [None])
    )
    prepared = prepare(raw, Splits(resplit=True, split_ratio="0.8/0.1/0.1"))
    assert {name: len(rows) for name, rows in prepared.splits.items()} == {"train": 80, "validation": 10, "test": 10}
    texts = {row["row"]: row["text"] for rows in prepared.splits.values() for row in rows}
    assert texts == {**{i: f"text {i}" for i in range(60)}, **{60 + i: f"v{i}" for i in range(40)}}
    assert prepared.row_ids["offsets"] == {"train": 0, "validation": 60}
    assert prepared.row_ids["splits"]["test"]["source"] == "merged"


def test_resplit_needs_a_labelled_row() -> None:
    unlabelled = {name: split(["a", "b"], [None, None]) for name in ("validation", "test")}
    with pytest.raises(ValueError, match=r"^--resplit: no row of validation, test has a label, and rows without one"):
        prepare(DatasetDict(unlabelled), Splits(resplit=True))


def test_resplit_leaves_out_the_unlabelled_rows_of_a_split() -> None:
    validation = split([f"v{i}" for i in range(40)], [None if i % 2 else "usual" for i in range(40)])
    prepared = prepare(DatasetDict(train=many(60), validation=validation), Splits(resplit=True))
    assert prepared.checks["unlabelled"] == {"train": 0, "validation": 0, "test": 0}
    texts = {row["row"]: row["text"] for rows in prepared.splits.values() for row in rows}
    assert texts == {**{i: f"text {i}" for i in range(60)}, **{60 + i: f"v{i}" for i in range(0, 40, 2)}}


def test_row_ids_say_what_split_of_the_source_they_number() -> None:
    prepared = prepare(DatasetDict(train=many(100), test=split(["a"], ["usual"])), Splits(max_train_rows=5))
    saved = json.loads(json.dumps(prepared.row_ids))["splits"]
    assert {name: entry["source"] for name, entry in saved.items()} == {
        "train": "train",
        "validation": "train",
        "test": "test",
    }
    assert saved["test"]["rows"] == "0"
    listed = [
        range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1) for part in saved["train"]["rows"].split(",")
    ]
    assert [row for part in listed for row in part] == prepared.splits["train"]["row"][:]
    assert len(prepared.splits["train"]) == 5
    assert ranges(np.array([0, 1, 2, 5, 7, 8])) == "0-2,5,7-8"


def test_fractions_are_stratified_and_nested() -> None:
    raw = DatasetDict(train=many(1000), validation=many(50))
    quarter, half = (prepare(raw, Splits(train_fraction=share)).splits["train"] for share in (0.25, 0.5))
    assert len(quarter) == 250
    assert set(quarter["row"]) < set(half["row"])
    assert Counter(quarter["label"]) == {"rare": 75, "usual": 175}
    assert Counter(half["label"]) == {"rare": 150, "usual": 350}
    few = prepare(raw, Splits(max_train_rows=40, max_validation_rows=10)).splits
    assert set(few["train"]["row"]) < set(quarter["row"])
    assert Counter(few["validation"]["label"]) == {"rare": 3, "usual": 7}


def test_every_stretch_of_the_order_holds_its_share() -> None:
    strata = np.repeat([0, 1, 2], [900, 90, 10])
    order = stratified_order(strata, seed=3)
    assert sorted(order.tolist()) == list(range(1000))
    for start in range(0, 1000, 100):
        counts = np.bincount(strata[order[start : start + 100]], minlength=3)
        assert np.abs(counts - [90, 9, 1]).max() <= 1


def test_a_class_of_one_row_stays_in_train() -> None:
    rows = split([f"{i}" for i in range(100)], ["usual"] * 99 + ["single"])
    for seed in range(10):
        assert "single" in cut(rows, [10, 10], seed)[-1]["label"][:]


def test_an_entity_type_of_one_sentence_stays_in_train() -> None:
    tags = [["B-PER", "I-PER"], ["O", "B-ORG"], ["O", "O"]] * 20 + [["B-PRODUCT", "B-PER"]]
    rows = Dataset.from_dict({"tokens": [[f"a{i}", "b"] for i in range(61)], "tags": tags, "row": range(61)})
    assert strata_of(rows)[[0, 1, 2, 3, 60]].tolist() == [0, 1, 2, 0, 3]
    for seed in range(10):
        assert ["B-PRODUCT", "B-PER"] in cut(rows, [6, 6], seed)[-1]["tags"][:]


def test_rows_of_several_labels_are_divided_by_the_rarest() -> None:
    sets = [["usual", f"other {i % 20}"] for i in range(60)] + [["usual", "other 1", "rare"], ["rare"], ["once"]]
    rows = split([f"{i}" for i in range(63)], sets)
    for seed in range(10):
        *_, train = cut(rows, [6, 6], seed)
        assert {label for labels in train["label"][:] for label in labels} == {label for s in sets for label in s}


def test_the_label_space_of_a_small_part_is_that_of_all_of_train() -> None:
    train = split([f"text {i}" for i in range(200)], [f"c{i % 20}" for i in range(200)])
    prepared = prepare(DatasetDict(train=train, validation=train), Splits(train_fraction=0.02, max_validation_rows=50))
    assert len(set(prepared.splits["train"]["label"])) < 20
    assert set(prepared.uncut["train"]["label"]) == {f"c{i}" for i in range(20)}


def test_numbers_and_lists_are_strata_too() -> None:
    numbers = Dataset.from_dict({"label": [float(i) for i in range(100)]})
    assert np.bincount(strata_of(numbers)).tolist() == [10] * 10
    lists = Dataset.from_dict({"label": [["a", "b"], ["b", "a"], [], ["a"]]})
    assert strata_of(lists).tolist() == [0, 0, 1, 2]
    assert np.sort(subset(numbers, 10, 0)["label"][:]).astype(int).tolist() == subset(numbers, 10, 0)["label"][:]


def test_duplicates_conflicts_and_leaks() -> None:
    train = split(["a", "b", "a", "c", "a", "d"], ["0", "1", "1", "0", "0", "1"])
    raw = DatasetDict(train=train, validation=split(["b", "x", "b"], ["1"] * 3), test=split(["d", "y"], [None, None]))
    checks = prepare(raw).checks
    assert checks["duplicates"] == 2
    assert checks["conflicts"] == {"texts": 1, "examples": ["row 0 and row 2"]}
    assert checks["leaks"] == {"test": 1, "validation": 2}
    assert messages(checks) == [
        "train: 2 rows repeat an earlier text",
        "train: 1 texts occur with different labels (first: row 0 and row 2)",
        "test: 1 rows also stand in train",
        "validation: 2 rows also stand in train",
        "--drop-leaks removes these rows from train",
    ]
    dropped = prepare(raw, Splits(drop_leaks=True))
    assert dropped.splits["train"]["text"][:] == ["a", "a", "c", "a"]
    assert len(dropped.splits["validation"]) == 3
    assert messages(dropped.checks)[-1] == "train: 2 rows removed that stood in test or validation"
    assert json.loads(json.dumps(dropped.checks)) == dropped.checks


def test_a_pair_is_a_duplicate_only_as_a_whole() -> None:
    rows = {"text": ["a", "a", "ab"], "text_pair": ["b", "c", ""], "label": ["0", "0", "1"], "row": [0, 1, 2]}
    raw = DatasetDict(train=Dataset.from_dict(rows), validation=Dataset.from_dict(rows).select([0]))
    assert prepare(raw).checks["duplicates"] == 0
    assert prepare(raw).checks["leaks"] == {"validation": 1}


def test_empty_texts_are_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("text,label\na,1\n  ,0\nb,\n" + "c,0\n" * 20)
    raw = read(Source(files={"train": str(path)}), roles={"text": "text", "label": "label"})
    with pytest.raises(ValueError, match=r"train.csv, line 3: the text is empty \(and 1 more rows\); --drop-invalid"):
        prepare(raw)
    prepared = prepare(raw, Splits(drop_invalid=True))
    assert prepared.checks["invalid"]["train"]["rows"] == 2
    assert prepared.checks["invalid"]["train"]["examples"][1].endswith("line 4: the label is empty")
    assert sum(len(rows) for rows in prepared.splits.values()) == 21
    assert messages(prepared.checks)[0].startswith("train: 2 rows left out (")


def test_undecodable_texts_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(b"text,label\ncaf\xe9,1\n" + b"c,0\nd,1\n" * 10)
    roles = {"text": "text", "label": "label"}
    with pytest.raises(ValueError, match=r"train.csv, line 2: byte 0xe9 is not utf-8"):
        read(source_of(Data(train_file=str(path))), roles=roles)
    raw = read(source_of(Data(train_file=str(path)), drop_invalid=True), roles=roles)
    prepared = prepare(raw, Splits(drop_invalid=True))
    assert prepared.checks["invalid"]["train"]["rows"] == 1
    assert "line 2: the text has characters that cannot be read" in prepared.checks["invalid"]["train"]["first"]
    assert sum(len(rows) for rows in prepared.splits.values()) == 20


def test_a_text_that_cleaning_empties_is_empty() -> None:
    raw = DatasetDict(train=split(["<br />", *"abcdefghij"], ["0"] * 11))
    prepare(raw)
    with pytest.raises(ValueError, match="train: row 0: the text is empty"):
        prepare(raw, cleaning=Cleaning(strip_html=True))


def test_nothing_left_is_an_empty_split() -> None:
    raw = DatasetDict(train=many(20), validation=split([" "], ["usual"]))
    with pytest.raises(ValueError, match="validation: the split holds no rows"):
        prepare(raw, Splits(drop_invalid=True))


def test_token_rows_are_checked_by_their_tokens() -> None:
    rows = {"tokens": [["a"], [], ["a"]], "tags": [["O"], [], ["B-X"]], "row": [0, 1, 2]}
    features = {"tokens": List(Value("string")), "tags": List(Value("string")), "row": Value("int64")}
    from datasets import Features

    train = Dataset.from_dict(rows, features=Features(features))
    with pytest.raises(ValueError, match="row 1: the text is empty"):
        prepare(DatasetDict(train=train, validation=train.select([0])))
    checks = prepare(DatasetDict(train=train, validation=train.select([0])), Splits(drop_invalid=True)).checks
    assert (checks["duplicates"], checks["conflicts"]["texts"], checks["leaks"]) == (1, 1, {"validation": 1})


def test_texts_are_those_of_train_after_cleaning() -> None:
    raw = DatasetDict(train=split(["A", "B"], ["0", "1"]), validation=split(["C"], ["0"]))
    prepared = prepare(raw, cleaning=Cleaning(lowercase=True))
    assert list(prepared.texts()) == ["a", "b"]
    assert prepared.splits["validation"]["text"][:] == ["c"]


needs_data = pytest.mark.skipif("REGISTRY_DATA" not in os.environ, reason="REGISTRY_DATA names no folder of real data")


def real(folder: str, roles: dict[str, str], local: dict[str, Any]) -> DatasetDict:
    return read(Source(data_dir=f"{os.environ['REGISTRY_DATA']}/{folder}"), roles=roles, local=local)


@needs_data
def test_imdb_gives_a_tenth_to_validation_and_123_leaks() -> None:
    raw = real("imdb", {"text": "text", "label": "label"}, {})
    prepared = prepare(raw, Splits(drop_leaks=True))
    assert prepared.checks["leaks"]["test"] == 123
    assert prepared.splits["test"].to_list() == raw["test"].to_list()
    assert len(prepared.splits["validation"]) == round(0.1 * (25_000 - 124))
    assert not set(prepared.splits["train"]["text"]) & set(raw["test"]["text"])


@needs_data
def test_known_repetitions_of_real_data() -> None:
    sst2 = prepare(
        real("sst2", {"text": "sentence", "label": "label"}, {"train": "train.tsv", "validation": "dev.tsv"})
    )
    assert (sst2.checks["duplicates"], sst2.checks["conflicts"]["texts"]) == (371, 5)
    sarcasm = prepare(real("sarcasm", {"text": "headline", "label": "is_sarcastic"}, {"train": "*.json"}))
    assert sarcasm.checks["duplicates"] == 107
    taipei = {"train": LocalFile("Taipei_QA_new.txt", FileFormat("first-blank"))}
    qa = prepare(real("taipei_qa", {"question": "1", "answer": "0"}, taipei), Splits(split_ratio="0.8/0.2"))
    assert (qa.checks["duplicates"], qa.checks["conflicts"]["texts"]) == (55, 14)
    assert len(qa.checks["labels"]["validation"]) == 149
