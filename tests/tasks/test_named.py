"""The named tasks on the publishers' own files, where they are at hand, and in small copies of their layouts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from datasets import DatasetDict
from hub_repositories import DATA_SETS

from registry import tasks
from registry.data.places import where
from registry.data.source import Source, source_of
from registry.options import Data

DATA = os.environ.get("REGISTRY_DATA")
real = pytest.mark.skipif(not DATA, reason="REGISTRY_DATA names no folder of real data sets")


def load(name: str, folder: str) -> DatasetDict:
    return tasks.get(name).load(Source(data_dir=f"{DATA}/{folder}"))


def sizes(raw: DatasetDict) -> dict[str, int]:
    return {split: len(rows) for split, rows in raw.items()}


def test_every_named_task_is_there() -> None:
    named = {*DATA_SETS, "imdb-mlm", "taipei-qa", "demo", "demo-ner", "demo-qa", "demo-mlm"}
    named |= {"classification", "ner", "qa", "mlm"}
    assert named <= set(tasks.names())
    assert all(tasks.get(name).description for name in named)


@real
def test_sst2() -> None:
    raw = load("sst2", "sst2")
    assert sizes(raw) == {"train": 67349, "validation": 872, "test": 1821}
    labels = list(raw["train"]["label"])
    assert labels.count("positive") / len(labels) == pytest.approx(0.558, abs=0.0005)
    assert set(raw["test"]["label"]) == {None}
    assert '"' not in raw["validation"]["text"][0]


@real
def test_imdb_and_its_unlabelled_reviews() -> None:
    raw = load("imdb", "imdb")
    assert sizes(raw) == {"train": 25000, "test": 25000}
    assert list(raw["train"]["label"]).count("positive") == 12500
    assert sizes(load("imdb-mlm", "imdb")) == {"train": 50000}


@real
def test_sarcasm() -> None:
    raw = load("sarcasm", "sarcasm")
    assert sizes(raw) == {"train": 26709}
    assert set(raw["train"].column_names) == {"text", "label", "row"}
    assert list(raw["train"]["label"]).count("sarcastic") == 11724


@real
def test_taipei_qa() -> None:
    raw = load("taipei-qa", "taipei_qa")
    assert sizes(raw) == {"train": 7986}
    assert tasks.get("taipei-qa").head(raw).outputs == 149


@real
def test_conll2003_in_iob1_equals_its_bio_copy() -> None:
    raw = load("conll2003", "conll2003")
    assert sizes(raw) == {"train": 14041, "validation": 3250, "test": 3453}
    starts = [tag[2:] for tags in raw["test"]["tags"] for tag in tags if tag.startswith("B-")]
    assert {kind: starts.count(kind) for kind in set(starts)} == {"LOC": 1668, "PER": 1617, "ORG": 1661, "MISC": 702}
    files = {"train": f"{DATA}/conll2003/bio2/train.txt", "test": f"{DATA}/conll2003/bio2/test.txt"}
    copy = tasks.get("ner").load(Source(files=files, columns={"tokens": "0", "tags": "1"}))
    for split in files:
        assert list(raw[split]["tags"]) == list(copy[split]["tags"])
        assert list(raw[split]["tokens"]) == list(copy[split]["tokens"])


@real
def test_msra_ner() -> None:
    raw = load("msra-ner", "msra_ner")
    assert sizes(raw) == {"train": 45000, "test": 3442}
    starts = [tag[2:] for tags in raw["test"]["tags"] for tag in tags if tag.startswith("B-")]
    assert {kind: starts.count(kind) for kind in set(starts)} == {"LOC": 2886, "ORG": 1331, "PER": 1973}
    assert max(map(len, raw["test"]["tokens"])) > 2000


def write(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> Source:
    for name, content in files.items():
        (folder / name).write_text(content, encoding=encoding)
    return Source(data_dir=str(folder))


def test_cola_without_a_header_and_with_quotation_marks(tmp_path: Path) -> None:
    rows = 'gj04\t1\t\tShe said "go.\ngj04\t0\t*\tGo she\n'
    source = write(tmp_path, {"train.tsv": rows, "dev.tsv": rows, "test.tsv": "index\tsentence\n0\tWe go.\n"})
    raw = tasks.get("cola").load(source)
    assert raw["train"]["text"][0] == 'She said "go.'
    assert raw["train"]["label"] == ["acceptable", "unacceptable"]
    assert raw["test"]["label"] == [None]


def test_mnli_has_two_validation_sets(tmp_path: Path) -> None:
    rows = "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tentailment\n"
    names = ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv")
    raw = tasks.get("mnli").load(write(tmp_path, dict.fromkeys(names, rows)))
    assert set(raw) == {"train", "validation", "validation_mismatched"}
    assert raw["validation_mismatched"][0] == {"row": 0, "text": "a", "text_pair": "b", "label": "entailment"}


@pytest.mark.parametrize(
    ("name", "header", "row", "expected"),
    [
        ("mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t7\t8\ta\tb", ("a", "b", "equivalent")),
        ("qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t1\t2\ta\tb\t0", ("a", "b", "not_duplicate")),
        ("stsb", "index\tgenre\tsentence1\tsentence2\tscore", "0\tnews\ta\tb\t3.75", ("a", "b", 3.75)),
        ("qnli", "index\tquestion\tsentence\tlabel", "0\ta\tb\tentailment", ("a", "b", "entailment")),
        ("rte", "index\tsentence1\tsentence2\tlabel", "0\ta\tb\tnot_entailment", ("a", "b", "not_entailment")),
        ("wnli", "index\tsentence1\tsentence2\tlabel", "0\ta\tb\t1", ("a", "b", "entailment")),
    ],
)
def test_pairs_of_glue(tmp_path: Path, name: str, header: str, row: str, expected: tuple[str, ...]) -> None:
    raw = tasks.get(name).load(write(tmp_path, {"train.tsv": f"{header}\n{row}\n", "dev.tsv": f"{header}\n{row}\n"}))
    first = raw["train"][0]
    assert (first["text"], first["text_pair"], first["label"]) == expected


def test_ragged_rows_of_a_publishers_file_are_left_out_where_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    (tmp_path / "train.tsv").write_text(header + "0\t1\t2\ta\tb\t0\n1\t2\n2\t3\t4\tc\td\t1\n")
    (tmp_path / "dev.tsv").write_text(header + "0\t1\t2\te\tf\t0\n")
    data = Data(data_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"train.tsv, line 3: 2 cells where the 6 columns"):
        tasks.get("qqp").load(source_of(data))
    raw = tasks.get("qqp").load(source_of(data, drop_invalid=True))
    assert raw["train"]["text"][:] == ["a", "c"]
    assert "train.tsv: 1 ragged rows left out (line 3: 2 cells where the 6 columns id, qid1" in caplog.text


def test_trec_in_its_own_encoding(tmp_path: Path) -> None:
    files = {"train_5500.label": "DESC:manner How did caf\xe9s begin ?\n", "TREC_10.label": "NUM:dist How far ?\n"}
    raw = tasks.get("trec").load(write(tmp_path, files, encoding="latin-1"))
    assert (raw["train"]["text"], raw["train"]["label"]) == (["How did caf\xe9s begin ?"], ["DESC"])
    assert raw["test"]["label"] == ["NUM"]


def test_boolq_lines(tmp_path: Path) -> None:
    row = '{"question": "is it", "title": "x", "answer": true, "passage": "it is"}\n'
    raw = tasks.get("boolq").load(write(tmp_path, {"train.jsonl": row, "dev.jsonl": row}))
    assert raw["train"][0] == {"row": 0, "question": "is it", "context": "it is", "answer": "true"}


def test_wnut_and_banking_and_chnsenticorp(tmp_path: Path) -> None:
    raw = tasks.get("wnut17").load(write(tmp_path, {"wnut17train.conll": "New\tB-location\nYork\tI-location\n\n"}))
    assert raw["train"]["tags"] == [["B-location", "I-location"]]
    raw = tasks.get("banking77").load(write(tmp_path, {"train.csv": 'text,category\n"card, lost",lost_card\n'}))
    assert raw["train"][0] == {"row": 0, "text": "card, lost", "label": "lost_card"}
    raw = tasks.get("chnsenticorp").load(write(tmp_path, {"train.tsv": "label\ttext_a\n1\t很好\n"}))
    assert raw["train"][0] == {"row": 0, "text": "很好", "label": "positive"}


def test_ag_news_without_a_header_counts_its_labels_from_1(tmp_path: Path) -> None:
    rows = '"3","Oil up","Prices, ""again"", rise\\"\n"4","Chips",""\n"1","War","It goes on"\n'
    raw = tasks.get("ag_news").load(write(tmp_path, {"train.csv": rows, "test.csv": '"2","Goal","Late"\n'}))
    assert list(raw["train"]["text"]) == ['Oil up Prices, "again", rise\\', "Chips", "War It goes on"]
    assert list(raw["train"]["label"]) == ["Business", "Sci/Tech", "World"]
    assert raw["test"][0] == {"row": 0, "text": "Goal Late", "label": "Sports"}
    with pytest.raises(ValueError, match=r"train.csv, line 1, column label: '5' is not a label"):
        tasks.get("ag_news").load(write(tmp_path, {"train.csv": '"5","a","b"\n'}))


def test_clinc_of_one_file_with_its_queries_out_of_scope(tmp_path: Path) -> None:
    rows = {"oos_val": [["what", "oos"]], "val": [["hello", "greeting"]], "train": [["hi", "greeting"]]}
    full = {**rows, "oos_train": [["why", "oos"]], "test": [["hey", "greeting"]], "oos_test": []}
    raw = tasks.get("clinc150").load(write(tmp_path, {"data_full.json": json.dumps(full)}))
    assert sizes(raw) == {"train": 2, "validation": 2, "test": 1}
    assert raw["train"].to_list() == [
        {"row": 0, "text": "hi", "label": "greeting"},
        {"row": 1, "text": "why", "label": "oos"},
    ]
    with pytest.raises(ValueError, match=r"data_full.json: .* 'oos_train' is missing"):
        tasks.get("clinc150").load(write(tmp_path, {"data_full.json": json.dumps(rows, indent=1)}))
    full["train"] = [["hi", "greeting"], ["hi"]]
    with pytest.raises(ValueError, match=r"data_full.json, train row 2: 1 cells, where text, intent are expected"):
        tasks.get("clinc150").load(write(tmp_path, {"data_full.json": json.dumps(full)}))


def test_imdb_as_its_archive_unpacks(tmp_path: Path) -> None:
    for name in (
        "train/pos/0_9.txt",
        "train/neg/0_2.txt",
        "train/neg/1_1.txt",
        "train/unsup/0_0.txt",
        "test/pos/1_7.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}<br />caf\u00e9", encoding="utf-8")
    (tmp_path / "train" / "urls_neg.txt").write_text("http://…", encoding="utf-8")
    raw = tasks.get("imdb").load(Source(data_dir=str(tmp_path)))
    assert list(raw["train"]["label"]) == ["negative", "negative", "positive"]
    assert raw["train"]["text"][1] == "train/neg/1_1.txt<br />caf\u00e9"
    assert raw["test"].to_list() == [{"text": "test/pos/1_7.txt<br />caf\u00e9", "label": "positive", "row": 0}]
    assert where(raw["train"], 1).endswith("train/neg, file 2")
    unlabelled = tasks.get("imdb-mlm").load(Source(data_dir=str(tmp_path)))
    assert unlabelled["train"].to_list() == [{"text": "train/unsup/0_0.txt<br />caf\u00e9", "row": 0}]


def test_sentiment_has_the_same_labels_everywhere():
    """A model of one of these tasks is scored on the others."""
    assert {name: tasks.get(name).labels for name in ("imdb", "sst2", "chnsenticorp", "demo")} == dict.fromkeys(
        ("imdb", "sst2", "chnsenticorp", "demo"), ("negative", "positive")
    )
