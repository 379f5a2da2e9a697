"""Which column of a file is which: taken by name, by what an earlier file had, as the last one left, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.data.reading import read, stream
from registry.data.source import Source

TEXT = {"text": ("text", "sentence"), "label": ("label", "sentiment")}
NER = {"tokens": ("tokens", "0"), "tags": ("tags", "-1")}


def files(folder: Path, suffix: str = "csv", **contents: str) -> dict[str, str]:
    for split, content in contents.items():
        (folder / f"{split}.{suffix}").write_text(content)
    return {split: str(folder / f"{split}.{suffix}") for split in contents}


def test_a_label_column_of_another_name_is_taken_aloud_and_found_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = files(tmp_path, train="text,stars\na,5\n", validation="id,stars,text\n7,1,b\n", test="id,text\n8,c\n")
    raw = read(Source(files=given), roles=TEXT)
    assert {split: rows["label"][:] for split, rows in raw.items()} == {
        "train": ["5"],
        "validation": ["1"],
        "test": [None],
    }
    assert [line for line in caplog.messages if "stars" in line] == [
        f"{given['train']}: taking column 'stars' as label (else --label-column)"
    ]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"train": "text,stars,id\na,5,7\n"}, "train.csv: which column is label?; the columns are text, stars, id: "),
        ({"train": "text\na\n"}, "train.csv: which column is label?; the columns are text: "),
        ({"train": "text,label\na,5\n", "validation": "text\na\n"}, "validation.csv: which column is label?; "),
    ],
)
def test_train_and_validation_need_labels(tmp_path: Path, contents: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match="choose with --label-column") as raised:
        read(Source(files=files(tmp_path, **contents)), roles=TEXT)
    assert message in str(raised.value)


def test_test_rows_without_the_named_label_are_unlabelled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = files(tmp_path, train="text,stars\na,5\n", test="text\nb\n")
    raw = read(Source(files=given, columns={"label": "stars"}), roles=TEXT)
    assert raw["test"].to_list() == [{"text": "b", "label": None, "row": 0}]
    assert "test.csv: no column 'stars', so that its rows have no label" in caplog.text
    with pytest.raises(ValueError, match=r"train.csv: no column 'star'; the columns are text, stars: choose with"):
        read(Source(files=given, columns={"label": "star"}), roles=TEXT)


def test_a_file_of_ones_own_for_a_task_with_columns_of_its_own(tmp_path: Path) -> None:
    roles = {"text": "sentence", "label": "label"}
    given = files(tmp_path, train="text,label\na,5\n", validation="text,sentence,label\na,b,5\n", test="Text\nc\n")
    raw = read(Source(files=given), roles=roles)
    assert {split: rows["text"][:] for split, rows in raw.items()} == {
        "train": ["a"],
        "validation": ["b"],
        "test": ["c"],
    }


def test_a_column_has_one_role(tmp_path: Path) -> None:
    given = files(tmp_path, train="sentence,stars\n5,good\n")
    with pytest.raises(ValueError, match=r"train.csv: column 'stars' is taken already; .* choose with --label-column"):
        read(Source(files=given, columns={"text": "stars", "label": "stars"}), roles=TEXT)
    raw = read(Source(files=given, columns={"label": "sentence"}), roles=TEXT)
    assert raw["train"].to_list() == [{"text": "good", "label": "5", "row": 0}]


@pytest.mark.parametrize("columns", [{}, {"tags": "-1"}, {"tokens": "0", "tags": "-1"}])
def test_the_only_column_of_a_column_file_is_its_tokens(tmp_path: Path, columns: dict[str, str]) -> None:
    given = files(tmp_path, "conll", train="EU B-ORG\nrejects O\n", test="EU\nrejects\n")
    raw = read(Source(files=given, columns=columns), roles=NER)
    assert raw["train"]["tags"][:] == [["B-ORG", "O"]]
    assert raw["test"].to_list() == [{"tokens": ["EU", "rejects"], "tags": None, "row": 0}]


@pytest.mark.parametrize("cell", ["0.7", "maybe", "2"])
def test_indicator_columns_say_yes_or_no(tmp_path: Path, cell: str) -> None:
    source = Source(
        files=files(tmp_path, train=f"text,x,y\na,1,no\nb, TRUE ,0.0\nc,,False\nd,0,{cell}\n"),
        columns={"label": "x,y"},
    )
    with pytest.raises(ValueError, match=rf"train.csv, line 5: '{cell}' in the indicator column 'y' is neither yes"):
        read(source, roles=TEXT)
    files(tmp_path, train="text,x,y\na,1,no\nb, TRUE ,0.0\nc,,False\nd,0,y\n")
    assert read(source, roles=TEXT)["train"]["label"][:] == [["x"], ["x"], [], ["y"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b", "label": "1"}', "line 3: column 'label' holds text, where earlier rows hold a number"),
        ('{"text": 5, "label": 1}', "line 3: column 'text' holds a number, where earlier rows hold text"),
        ('{"text": "b", "label": [1]}', "line 3: column 'label' holds a list, where earlier rows hold a number"),
    ],
)
def test_a_chosen_column_has_one_type(tmp_path: Path, line: str, message: str) -> None:
    lines = f'{{"text": "a", "label": 1}}\n{{"text": "c", "label": null}}\n{line}\n'
    given = files(tmp_path, "jsonl", train=lines)
    for columns in ({}, {"text": "text,label"}):
        with pytest.raises(ValueError, match=r"train\.jsonl, ") as raised:
            read(Source(files=given, columns=columns), roles=TEXT if not columns else {"text": "text"})
        assert message in str(raised.value)


@pytest.mark.parametrize("ids", [[1, "a1", ["x"], {}], [["x"], "a1", None, 2]])
@pytest.mark.parametrize("rows_a_chunk", [1, 2, 100])
def test_a_column_that_nobody_reads_may_hold_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: list[object], rows_a_chunk: int
) -> None:
    monkeypatch.setattr("registry.data.formats.json_files.CHUNK", rows_a_chunk)
    rows = [{"id": value, "text": f"text {number}", "label": number % 2} for number, value in enumerate(ids)]
    given = files(tmp_path, "json", train=json.dumps(rows))
    assert read(Source(files=given), roles=TEXT)["train"]["label"][:] == ["0", "1", "0", "1"]


def test_a_missing_text_is_an_empty_one(tmp_path: Path) -> None:
    rows = [{"text": "a", "pair": None, "label": "x"}, {"pair": "b", "label": "y"}, {"text": "c", "label": None}]
    given = files(tmp_path, "jsonl", train="\n".join(map(json.dumps, rows)))
    pq.write_table(pa.table({"text": ["a"], "pair": pa.nulls(1), "label": ["x"]}), tmp_path / "test.parquet")
    roles = {"text": "text", "text_pair": "pair", "label": "label"}
    raw = read(Source(files={**given, "test": str(tmp_path / "test.parquet")}), roles=roles)
    assert raw["train"].remove_columns("row").to_dict() == {
        "text": ["a", "", "c"],
        "text_pair": ["", "b", ""],
        "label": ["x", "y", None],
    }
    assert raw["test"]["text_pair"][:] == [""]


@pytest.mark.parametrize(
    ("roles", "row", "column"),
    [
        (TEXT, {"text": "a", "label": ["x", None]}, "label"),
        (NER, {"tokens": ["a", None], "tags": ["O", "O"]}, "tokens"),
        (NER, {"tokens": ["a", "b"], "tags": ["O", None]}, "tags"),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_null_within_a_list_is_named(
    tmp_path: Path, roles: dict[str, tuple[str, ...]], row: dict[str, object], column: str, suffix: str
) -> None:
    rows = [{name: None if name == column else value for name, value in row.items()}, row]
    path = tmp_path / f"train.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    unit = "row" if suffix == "parquet" else "line"
    message = rf"train\.{suffix}, {unit} 2: item 1 of the list in column '{column}' is null; every item must be text"
    with pytest.raises(ValueError, match=message):
        read(Source(files={"train": str(path)}), roles=roles)


def test_a_null_in_a_csv_cells_list_is_named(tmp_path: Path) -> None:
    given = files(tmp_path, train='tokens,tags\n"[""a"", null]","[""O"", ""O""]"\n')
    with pytest.raises(ValueError, match=r"train.csv, line 2: item 1 of the list in column 'tokens' is null"):
        read(Source(files=given), roles=NER)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_empty_cell_of_lists_is_named_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("registry.data.formats.chunks.CHUNK", 2)
    rows = ['"[""a""]","[""O""]"\n'] * 4
    rows[at] = '"[""a""]",\n'
    given = files(tmp_path, train="tokens,tags\n" + "".join(rows))
    with pytest.raises(ValueError, match=rf"train.csv, line {at + 2}: '' is not a list such as"):
        read(Source(files=given), roles=NER)
    assert len(list(stream(given["train"], roles={"tokens": NER["tokens"]}))) == 4


def test_several_columns_are_text_and_not_lists(tmp_path: Path) -> None:
    given = files(tmp_path, "jsonl", train='{"text": "a", "x": ["1"], "y": "0"}\n')
    with pytest.raises(ValueError, match="column 'x' holds lists, where --label-column x,y needs text"):
        read(Source(files=given, columns={"label": "x,y"}), roles=TEXT)


def test_a_test_file_without_its_last_column_has_no_tags(tmp_path: Path) -> None:
    given = files(tmp_path, "conll", train="EU N B-NP B-ORG\nrejects V B-VP O\n", test="EU N B-NP\nrejects V B-VP\n")
    raw = read(Source(files=given), roles=NER)
    assert raw["train"]["tags"][:] == [["B-ORG", "O"]]
    assert raw["test"]["tags"][:] == [None]


def test_names_that_differ_in_case_are_candidates_like_others(tmp_path: Path) -> None:
    roles = {"text": ("text", "sentence"), "label": ("label", "score")}
    with pytest.raises(ValueError, match="label could be column score or Label; choose with --label-column"):
        read(Source(files=files(tmp_path, train="Text,Label,score\na,pos,1\n")), roles=roles)
    raw = read(Source(files=files(tmp_path, train="Text,Label\na,pos\n")), roles=roles)
    assert raw["train"]["label"][:] == ["pos"]
    raw = read(Source(files=files(tmp_path, train="text,Text,label\na,A,pos\n")), roles=roles)
    assert raw["train"]["text"][:] == ["a"]
