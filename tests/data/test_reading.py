"""Sources become splits with canonical columns; what is wrong is named by file, line and option."""

from __future__ import annotations

import json
import logging
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from registry.data.places import where
from registry.data.reading import read, stream
from registry.data.source import FileFormat, LocalFile, Source, source_of
from registry.data.tables import collect, select
from registry.options import Data

TEXT = {"text": ("text", "sentence", "review"), "label": ("label", "sentiment")}
NER = {"tokens": ("tokens", "words"), "tags": ("tags", "ner_tags")}


def own(**files: Path) -> Source:
    return Source(files={split: str(path) for split, path in files.items()})


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def test_own_files_with_guessed_columns_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = write(tmp_path / "train.csv", "id,Review,sentiment\n1,fine, pos \n2,bad,\n")
    test = write(tmp_path / "test.csv", "id,Review\n1,so so\n")
    with caplog.at_level(logging.INFO):
        raw = read(own(train=train, test=test), roles=TEXT)
    assert raw["train"][:] == {"text": ["fine", "bad"], "label": ["pos", None], "row": [0, 1]}
    assert raw["test"].to_list() == [{"text": "so so", "row": 0, "label": None}]
    assert "taking column 'Review' as text" in caplog.text
    assert "--label-column" in caplog.text


def test_the_one_column_left_is_taken(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "headline,label\nfine,1\n")
    assert read(own(train=train), roles=TEXT)["train"]["text"][:] == ["fine"]


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("text,review,label", {}, "text could be column text or review; choose with --text-column"),
        ("a,b,label", {}, "which column is text?; the columns are a, b, label: choose with --text-column"),
        ("text,b,label", {"text": "c"}, "no column 'c'; the columns are text, b, label: choose with --text-column"),
        ("text,b,label", {"tokens": "c"}, "--tokens-column: this task has no tokens; it has text, label"),
    ],
)
def test_unclear_columns_are_refused(tmp_path: Path, header: str, columns: dict[str, str], message: str) -> None:
    train = write(tmp_path / "train.csv", f"{header}\nx,y,z\n")
    with pytest.raises(ValueError, match="column") as raised:
        read(Source(files={"train": str(train)}, columns=columns), roles=TEXT)
    assert message in str(raised.value)


def test_question_is_named_by_the_text_flag(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "q,a,id\nwhere,here,1\n")
    source = Source(files={"train": str(train)}, columns={"text": "q", "label": "a"})
    roles = {"question": ("question",), "answer": ("answer",)}
    assert read(source, roles=roles)["train"].to_list() == [{"question": "where", "answer": "here", "row": 0}]


def test_indicator_columns_become_lists(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "text,toxic,insult\na,1,0\nb,0,0\nc,true,1\n")
    source = Source(files={"train": str(train)}, columns={"label": "toxic,insult"})
    assert read(source, roles=TEXT)["train"]["label"][:] == [["toxic"], [], ["toxic", "insult"]]


def test_several_text_columns_are_joined(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "title,body,label\nOne,two three,a\nFour,,b\n")
    source = Source(files={"train": str(train)}, columns={"text": "title,body"})
    assert read(source, roles=TEXT)["train"]["text"][:] == ["One two three", "Four"]


def test_column_full_of_numbers_is_no_text(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", "text,label\n12,a\n-3.5,b\n1e4,a\n")
    with pytest.raises(
        ValueError, match=r"train.csv: the column taken as text holds only numbers \(12, …\).*--text-col"
    ):
        read(own(train=train), roles=TEXT)


def test_lists_where_text_is_needed_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.jsonl: column 'text' holds lists, where text needs text"):
        read(own(train=lines(tmp_path / "a.jsonl", {"text": ["a"], "label": 1})), roles=TEXT)
    with pytest.raises(ValueError, match=r"b.jsonl: column 'tokens' holds text, where tokens needs lists"):
        read(own(train=lines(tmp_path / "b.jsonl", {"tokens": "a b", "tags": ["O"]})), roles=NER)


def test_tokens_and_tags_of_different_length(tmp_path: Path) -> None:
    good, bad = {"tokens": ["a", "b"], "tags": ["O", "O"]}, {"tokens": ["a", "b"], "tags": ["O"]}
    with pytest.raises(ValueError, match=r"a.jsonl, line 2: 2 tokens but 1 tags; each token needs one"):
        read(own(train=lines(tmp_path / "a.jsonl", good, bad)), roles=NER)


def test_columns_of_a_column_file_by_number(tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", "EU NNP B-ORG\nrejects VBZ O\n")
    source = Source(files={"train": str(train)}, columns={"tokens": "0", "tags": "-1"})
    assert read(source, roles=NER)["train"].to_list() == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"], "row": 0}
    ]


def test_a_file_without_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"b.csv: there are no rows in it"):
        read(
            own(
                train=write(tmp_path / "a.csv", "text,label\na,1\n"),
                validation=write(tmp_path / "b.csv", "text,label\n"),
            ),
            roles=TEXT,
        )


def test_glob_numbers_rows_across_files_and_remembers_places(tmp_path: Path) -> None:
    write(tmp_path / "part1.csv", 'text,label\n"a\nb",1\nc,0\n')
    write(tmp_path / "part2.csv", "label,text\n1,d\n0,e\n")
    train = read(own(train=tmp_path / "part*.csv"), roles=TEXT)["train"]
    assert train["text"][:] == ["a\nb", "c", "d", "e"]
    assert train["row"][:] == [0, 1, 2, 3]
    kept = train.filter(lambda row: row["row"] != 2).select([2])
    assert where(kept, kept[0]["row"]) == f"{tmp_path}/part2.csv, line 3"
    assert where(train, 1) == f"{tmp_path}/part1.csv, line 4"
    assert where(Dataset.from_dict({"row": [4]}), 4) == "row 4"


def test_files_that_disagree_on_a_columns_type(tmp_path: Path) -> None:
    lines(tmp_path / "part1.jsonl", {"text": "a", "label": "x"})
    lines(tmp_path / "part2.jsonl", {"text": "a", "label": ["x"]})
    with pytest.raises(ValueError, match=r"part2.jsonl: label holds lists here and text in part1.jsonl"):
        read(own(train=tmp_path / "part*.jsonl"), roles=TEXT)


GLUE = {"train": LocalFile("train.tsv", FileFormat(quoting=False)), "validation": "dev.tsv", "test": "test.tsv"}


def test_publishers_layout(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", 'sentence\tlabel\n"odd \t1\n')
    write(tmp_path / "dev.tsv", "sentence\tlabel\nfine\t0\n")
    raw = read(Source(data_dir=str(tmp_path)), roles={"text": "sentence", "label": "label"}, local=GLUE)
    assert {split: rows["text"][:] for split, rows in raw.items()} == {"train": ['"odd '], "validation": ["fine"]}


def test_missing_files_of_a_layout_are_named(tmp_path: Path) -> None:
    roles = {"text": "sentence", "label": "label"}
    with pytest.raises(ValueError, match=r"expected train.tsv, dev.tsv, test.tsv or parquet files such as train-00000"):
        read(Source(data_dir=str(tmp_path)), roles=roles, local=GLUE)
    write(tmp_path / "dev.tsv", "sentence\tlabel\nfine\t0\n")
    with pytest.raises(ValueError, match=r"train.tsv is missing \(there is dev.tsv\)"):
        read(Source(data_dir=str(tmp_path)), roles=roles, local=GLUE)
    with pytest.raises(ValueError, match=r"--data-dir .*nowhere: no such directory"):
        read(Source(data_dir=str(tmp_path / "nowhere")), roles=roles, local=GLUE)
    with pytest.raises(ValueError, match=r"no data: .*--train-file"):
        read(Source(), roles=roles)


@pytest.mark.parametrize(
    "layout",
    ["{}-00000-of-00001.parquet", "sst2/{}-00000-of-00001.parquet", "data/{}-0.parquet", "sst2/{}/0000.parquet"],
)
def test_parquet_folder(tmp_path: Path, layout: str) -> None:
    for split, text in (("train", "a"), ("validation", "b"), ("unsupervised", "c")):
        path = tmp_path / layout.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict({"sentence": [text], "label": [1]}).to_parquet(path)
    roles = {"text": "sentence", "label": "label"}
    raw = read(Source(data_dir=str(tmp_path)), subset="sst2", roles=roles, local=GLUE)
    assert {split: rows.to_list() for split, rows in raw.items()} == {
        "train": [{"text": "a", "label": "1", "row": 0}],
        "validation": [{"text": "b", "label": "1", "row": 0}],
    }
    only = read(
        Source(data_dir=str(tmp_path)), subset="sst2", roles={"text": "sentence"}, hub_splits={"train": "unsupervised"}
    )
    assert only["train"]["text"][:] == ["c"]


def test_data_set_of_the_hub_by_its_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import ClassLabel, Features, Value

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    features = Features(sentence=Value("string"), label=ClassLabel(names=["negative", "positive"]))
    for split, label in (("train", 1), ("dev", 0), ("test", -1)):
        rows = Dataset.from_dict({"sentence": [split], "label": [label]}, features=features)
        rows.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    roles = {"text": "sentence", "label": "label"}
    splits = {"train": "train", "validation": "dev", "test": "test"}
    raw = read(Source(), hub=str(tmp_path), roles=roles, hub_splits=splits)
    assert {split: rows["label"][:] for split, rows in raw.items()} == {
        "train": ["positive"],
        "validation": ["negative"],
        "test": [None],
    }
    with pytest.raises(ValueError, match=r"has no split 'extra'; it has train, test, dev"):
        read(Source(), hub=str(tmp_path), roles=roles, hub_splits={"train": "extra"})
    with pytest.raises(ValueError, match=r"cannot be loaded: .*--data-dir") as raised:
        read(Source(), hub=str(tmp_path / "nothing"), roles=roles)
    assert "\n" not in str(raised.value)


def test_stream_gives_the_same_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,1\nb,\n")
    assert list(stream(str(path), roles=TEXT)) == [
        {"row": 0, "text": "a", "label": "1"},
        {"row": 1, "text": "b", "label": None},
    ]


def test_stream_reads_no_further_than_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n" + "a\n" * 50_000 + "b,c\n")
    rows = stream(str(path), roles={"text": "text"})
    assert next(rows)["text"] == "a"
    with pytest.raises(ValueError, match="line 50002: 2 cells"):
        list(rows)


def test_stream_holds_few_rows_of_a_chunk_as_objects(tmp_path: Path) -> None:
    pq.write_table(pa.table({"tokens": [[f"token {i}" for i in range(50)]] * 4000}), tmp_path / "a.parquet")
    path, roles = str(tmp_path / "a.parquet"), {"tokens": "tokens"}
    next(stream(path, roles=roles))  # what is imported once
    tracemalloc.start()
    try:
        count = sum(len(row["tokens"]) == 50 for row in stream(path, roles=roles))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 4000
    assert peak < 4 << 20


def test_many_rows_go_to_disk_and_still_map_and_select(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = (pa.table({"text": [f"row {i} {j}" for j in range(100)]}) for i in range(10))
    rows = collect(tables, limit=3000)
    assert rows is not None
    assert rows.cache_files
    assert len(rows) == 1000
    assert rows.map(lambda row: {"text": row["text"].upper()}).select([999])["text"][:] == ["ROW 9 99"]
    assert DatasetDict(train=rows.filter(lambda row: row["text"].endswith(" 7")))["train"].num_rows == 10
    assert collect(iter(())) is None


@pytest.mark.parametrize("limit", [10, 10**9])
def test_selected_rows_are_copied_with_their_places(tmp_path: Path, limit: int) -> None:
    write(tmp_path / "a.csv", "text,label\n" + "".join(f"t{i},{i % 2}\n" for i in range(25_000)))
    train = read(own(train=tmp_path / "a.csv"), roles=TEXT)["train"]
    kept = np.array([0, 9_999, 10_000, 24_999])
    copied = select(train, kept, limit)
    assert copied.to_list() == train.select(kept).to_list()
    assert where(copied, copied[3]["row"]).endswith("a.csv, line 25001")
    assert len(select(train, np.array([], int))) == 0


def test_options_name_the_source() -> None:
    source = source_of(Data(train_file="a.csv", test_file="b.csv", text_column="x", separator="\\t", encoding="cp1252"))
    assert source.files == {"train": "a.csv", "test": "b.csv"}
    assert source.columns == {"text": "x"}
    assert source.format == FileFormat(separator="\t", encoding="cp1252")
    with pytest.raises(ValueError, match="--test-file needs --train-file"):
        source_of(Data(test_file="b.csv"))


needs_data = pytest.mark.skipif("REGISTRY_DATA" not in os.environ, reason="REGISTRY_DATA names no folder of real data")


@needs_data
@pytest.mark.parametrize(
    ("folder", "roles", "local", "counts"),
    [
        (
            "sst2",
            {"text": "sentence", "label": "label"},
            {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
            [67_349, 872, 1_821],
        ),
        ("imdb", {"text": "text", "label": "label"}, {}, [25_000, 25_000]),
        (
            "conll2003",
            {"tokens": "0", "tags": "-1"},
            {"train": "eng.train", "validation": "eng.testa", "test": "eng.testb"},
            [14_041, 3_250, 3_453],
        ),
        (
            "conll2003/bio2",
            {"tokens": "0", "tags": "1"},
            {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"},
            [14_041, 3_250, 3_453],
        ),
        ("msra_ner", {"tokens": "0", "tags": "1"}, {"test": "msra_test_bio"}, [3_442]),
        ("sarcasm", {"text": "headline", "label": "is_sarcastic"}, {"train": "*.json"}, [26_709]),
        (
            "taipei_qa",
            {"answer": "0", "question": "1"},
            {"train": LocalFile("Taipei_QA_new.txt", FileFormat("first-blank"))},
            [7_986],
        ),
    ],
)
def test_real_layouts(folder: str, roles: dict[str, str], local: dict[str, Any], counts: list[int]) -> None:
    raw = read(Source(data_dir=f"{os.environ['REGISTRY_DATA']}/{folder}"), roles=roles, local=local)
    assert [len(rows) for rows in raw.values()] == counts
    if folder == "sst2":
        assert sum(label == "1" for label in raw["train"]["label"]) / counts[0] == pytest.approx(0.558, abs=5e-4)
    if folder == "msra_ner":
        assert max(map(len, raw["test"]["tokens"])) == 2_427
    if folder == "taipei_qa":
        assert len(set(raw["train"]["answer"])) == 149
    if folder == "sarcasm":
        assert raw["train"].column_names == ["text", "label", "row"]
        assert sum(label == "1" for label in raw["train"]["label"]) == 11_724


def test_a_folder_whose_name_is_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "d [v2]"
    write(folder / "train.csv", "text,label\na,b\n")
    raw = read(Source(data_dir=str(folder)), roles=TEXT, local={"train": "train.csv"})
    assert raw["train"]["text"][:] == ["a"]
