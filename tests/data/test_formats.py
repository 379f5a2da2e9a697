"""Each format gives the rows that stand in the file, and names the line of what is wrong in it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.data.formats import expand, read_chunks
from registry.data.source import FileFormat


def rows_of(path: Path, lists: bool = False, **format: Any) -> list[dict[str, Any]]:
    chunks = read_chunks(path, FileFormat(**format), lists)
    return [row for chunk in chunks for row in chunk.table.to_pylist()]


def places_of(path: Path, lists: bool = False, **format: Any) -> list[int]:
    return [place for chunk in read_chunks(path, FileFormat(**format), lists) for place in chunk.places]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,label\n"one, ""two""\nthree",pos\r\nNA,\n')
    assert rows_of(path) == [{"text": 'one, "two"\nthree', "label": "pos"}, {"text": "NA", "label": ""}]
    assert places_of(path) == [3, 4]


@pytest.mark.parametrize(("separator", "name"), [(";", "a.csv"), ("\t", "a.tsv"), ("|", "a.csv"), ("\t", "a.csv")])
def test_separator_is_read_from_the_header(tmp_path: Path, separator: str, name: str) -> None:
    path = written(tmp_path / name, f"text{separator}label\nx, y{separator}1\n")
    assert rows_of(path) == [{"text": "x, y", "label": "1"}]


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"\xef\xbb\xbftext,label\na,1\n")
    assert rows_of(path) == [{"text": "a", "label": "1"}]


def test_tsv_takes_stray_quotation_marks_for_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"Dull, he said\t0\nfine "film"\t1\n')
    assert [row["text"] for row in rows_of(path)] == ['"Dull, he said', 'fine "film"']


def test_tsv_quoted_throughout_is_unquoted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"He said ""hi"""\t0\nplain\t1\n')
    assert [row["text"] for row in rows_of(path)] == ['He said "hi"', "plain"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tsv_with_line_breaks_in_quotes(tmp_path: Path, end: str) -> None:
    lines = ["text\tlabel", '"one\ntwo ""2"""\t0', "plain\t1", '"a\n\nb\tc"\t1', ""]
    path = written(tmp_path / "a.tsv", end.join(lines))
    assert [row["text"] for row in rows_of(path)] == ['one\ntwo "2"', "plain", "a\n\nb\tc"]


def test_tsv_of_even_lines_is_not_quoted_by_marks_on_different_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"Dull, he said\t0\nfine film"\t1\n')
    assert [row["text"] for row in rows_of(path)] == ['"Dull, he said', 'fine film"']
    short = written(tmp_path / "b.tsv", 'text\tlabel\n"Dull"ish\t0\nshort\n')
    with pytest.raises(ValueError, match=r"b.tsv, line 3: 1 cells where the 2 columns"):
        rows_of(short)


def test_columns_without_a_name_are_named_by_place(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ",v1,v2,,\n0,ham,Go,,x\n")
    assert rows_of(path) == [{"column 1": "0", "v1": "ham", "v2": "Go", "column 4": "", "column 5": "x"}]


def test_columns_of_a_file_without_header(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "gj04\t1\t\tOur friends.\n")
    assert rows_of(path, columns=("source", "label", "mark", "text"))[0]["text"] == "Our friends."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\na,1\nb,2,3\n", "line 3: 3 cells where the 2 columns text, label are expected"),
        ("text,label\na,1\nb\n", "line 3: 1 cells where the 2 columns text, label are expected"),
        ('text,label\na,1\n"b,2\nc,3\n', "line 3: unexpected end of data"),
        ("text,text\na,b\n", "line 1: column 'text' is named twice"),
        ("", "the file is empty"),
    ],
)
def test_broken_csv_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "a.csv", text)
    with pytest.raises(ValueError, match=r"a\.csv") as raised:
        rows_of(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_wrong_encoding_names_the_line_and_the_option(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\nfine,1\ncafé,0\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a.csv, line 3: byte 0xe9 is not utf-8; .*--encoding"):
        rows_of(path)
    assert rows_of(path, encoding="latin-1")[1] == {"text": "café", "label": "0"}


def test_utf16_is_recognised(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "a"}\n'.encode("utf-16"))
    with pytest.raises(ValueError, match="--encoding utf-16"):
        rows_of(path)
    assert rows_of(path, encoding="utf-16") == [{"text": "a"}]
    with pytest.raises(ValueError, match="unknown encoding 'utf-99'"):
        rows_of(path, encoding="utf-99")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip"])
def test_compressed_files(tmp_path: Path, suffix: str) -> None:
    text = b"text,label\na,1\n"
    path = tmp_path / f"a.csv{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", text)
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(text))
    assert rows_of(path) == [{"text": "a", "label": "1"}]


def test_zip_made_by_macos(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        for name in ("data/", "data/.DS_Store", "__MACOSX/data/._a.csv"):
            archive.writestr(name, b"\0\5\x16\7")
        archive.writestr("data/a.csv", "text,label\na,1\n")
    assert rows_of(tmp_path / "a.csv.zip") == [{"text": "a", "label": "1"}]
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "a") as archive:
        archive.writestr("data/b.csv", "text,label\na,1\n")
    with pytest.raises(ValueError, match=r"a.csv.zip: holds 2 files; a compressed file must hold one"):
        rows_of(tmp_path / "a.csv.zip")


def test_encrypted_zip_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", "text,label\na,1\n")
    content = bytearray((tmp_path / "a.csv.zip").read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flags] |= 1
    with pytest.raises(ValueError, match=r"a.csv.zip: cannot be read \(.*encrypted.*\); unpack it first$"):
        rows_of(written(tmp_path / "a.csv.zip", bytes(content)))


def test_damaged_compressed_file_is_one_line(tmp_path: Path) -> None:
    cut = written(tmp_path / "a.csv.gz", gzip.compress(b"text,label\n" + b"a,1\n" * 1000)[:-20])
    with pytest.raises(ValueError, match=r"a.csv.gz: cannot be read"):
        rows_of(cut)
    with pytest.raises(ValueError, match=r"b.csv.zip: cannot be read \(File is not a zip file\)"):
        rows_of(written(tmp_path / "b.csv.zip", b"text"))


def test_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "label": 2.5, "more": ["x", 3]}\n')
    assert rows_of(path) == [
        {"text": "a", "label": "1", "more": None},
        {"text": "b", "label": "2.5", "more": ["x", "3"]},
    ]
    assert places_of(path) == [1, 3]


@pytest.mark.parametrize(
    "content",
    [
        [{"text": "a", "label": True}],
        {"version": 1, "data": [{"text": "a", "label": True}]},
        {"text": ["a"], "label": [True]},
        {"text": {"0": "a"}, "label": {"0": True}},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_documents(tmp_path: Path, content: Any, indent: int | None) -> None:
    path = written(tmp_path / "a.json", json.dumps(content, indent=indent))
    assert rows_of(path) == [{"text": "a", "label": "true"}]


def test_json_columns_that_pandas_writes(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 3], "many": [["x"], [], ["y", "z"]]})
    frame = frame.drop(index=0)
    frame.to_json(tmp_path / "a.json")
    assert rows_of(tmp_path / "a.json") == [
        {"text": "b", "label": None, "many": []},
        {"text": "c", "label": "3.0", "many": ["y", "z"]},
    ]
    for orient, indent in (("index", 0), ("index", 1), ("split", 1)):
        frame.to_json(tmp_path / "b.json", orient=orient, indent=indent)
        with pytest.raises(ValueError, match=r"b.json: expected an array of objects, one a row .*orient='records'"):
            rows_of(tmp_path / "b.json")


def test_one_row_of_json_lines_is_no_document(tmp_path: Path) -> None:
    for row in ({"text": "a", "label": ["x", "y"]}, {"text": "a", "label": []}):
        path = written(tmp_path / "a.json", f"\n{json.dumps(row)}\n\n")
        assert rows_of(path) == [row]
        assert places_of(path) == [2]
    sentence = {"tokens": ["EU", "x"], "tags": ["B-ORG", "O"]}
    path = written(tmp_path / "b.json", json.dumps(sentence))
    assert rows_of(path, lists=True) == [sentence]
    path = written(tmp_path / "c.json", json.dumps({name: [cells, ["a"]] for name, cells in sentence.items()}))
    assert rows_of(path, lists=True) == [sentence, {"tokens": ["a"], "tags": ["a"]}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_half_a_surrogate_pair_is_unreadable(tmp_path: Path, name: str) -> None:
    rows = [{"text": "cut \ud83d", "more": ["\ude00 x", "\ud83d\ude00"]}, {"text": None, "more": None}]
    dumped = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
    assert rows_of(written(tmp_path / name, dumped)) == [
        {"text": "cut \ufffd", "more": ["\ufffd x", "\U0001f600"]},
        {"text": None, "more": None},
    ]


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("indent", [None, 1])
def test_json_arrays_are_read_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, indent: int | None
) -> None:
    monkeypatch.setattr("registry.data.formats.json_files.BLOCK", block)
    rows = [{"text": f'a "quoted" ] , {{ text {number}\n', "label": number / 3} for number in range(20)]
    path = written(tmp_path / "a.json", "\n \n" + json.dumps(rows, indent=indent) + "\n")
    assert rows_of(path) == [{"text": row["text"], "label": str(row["label"])} for row in rows]
    assert places_of(path) == list(range(1, 21))


def test_an_array_on_one_line_is_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.data.formats.json_files.BLOCK", 10_000)
    monkeypatch.setattr("registry.data.formats.json_files.CHUNK_SIZE", 10_000)
    path = written(tmp_path / "a.json", json.dumps([{"text": "long " * 200}] * 2000))
    tracemalloc.start()
    rows = sum(len(chunk.table) for chunk in read_chunks(path, FileFormat()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 2000
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"text": "a"},\n{"text": }]', "line 3: not valid JSON (expecting value at character 10)"),
        ('[{"text": "a"}\n{"text": "b"}]', "line 2: not valid JSON (expecting ',' delimiter at character 1)"),
        ('[{"text": "a"},\n{"text": "b"}', "line 2: not valid JSON (expecting ',' delimiter at character 14)"),
        ('[{"text": "a"}]\n[]', "something follows the array"),
        ('[{"text": "a"}, 5]', "row 2: expected an object with the columns, found a number"),
    ],
)
def test_broken_json_arrays_name_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str
) -> None:
    monkeypatch.setattr("registry.data.formats.json_files.BLOCK", 16)
    with pytest.raises(ValueError, match=r"a\.json") as raised:
        rows_of(written(tmp_path / "a.json", content))
    assert message in str(raised.value)


def test_json_suffix_on_json_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", '{"text": "a"}\n{"text": "b"}\n')
    assert rows_of(path) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b", "label": }', "line 3: not valid JSON (expecting value at character 24)"),
        ('["b", 1]', "line 3: expected an object with the columns, found a list"),
    ],
)
def test_broken_json_lines_name_the_line(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path / "a.jsonl", f'{{"text": "a", "label": 1}}\n{{"text": "c", "label": null}}\n{line}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl") as raised:
        rows_of(path)
    assert message in str(raised.value)


def test_parquet_names_classes_and_writes_scalars_as_text(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features(
        text=Value("string"),
        label=ClassLabel(names=["bad", "good"]),
        tags=List(ClassLabel(names=["O", "B"])),
        score=Value("float32"),
    )
    rows = {"text": ["a", "b"], "label": [1, -1], "tags": [[0, 1], []], "score": [3.2, 5.0]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == [
        {"text": "a", "label": "good", "tags": ["O", "B"], "score": "3.2"},
        {"text": "b", "label": None, "tags": [], "score": "5"},
    ]


def test_parquet_lists_after_a_slice_and_nulls(tmp_path: Path) -> None:
    table = pa.table({"tokens": pa.array([["a"], None, ["b", "c"], []])})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [row["tokens"] for row in rows_of(tmp_path / "a.parquet")] == [["a"], None, ["b", "c"], []]
    with pytest.raises(ValueError, match=r"b.parquet: not a readable parquet file"):
        rows_of(written(tmp_path / "b.parquet", b"PAR1"))


def test_plain_text_and_first_blank(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "one two  \n\n三 四\u2028五\n")
    assert rows_of(path) == [{"text": "one two  "}, {"text": "三 四\u2028五"}]
    assert rows_of(path, kind="first-blank", columns=("a", "b"))[0] == {"a": "one", "b": "two  "}
    with pytest.raises(ValueError, match=r"b.txt, line 1: no blank divides 'alone'"):
        rows_of(written(tmp_path / "b.txt", "alone\n"), kind="first-blank")


CONLL = "-DOCSTART- -X- O\n\nEU NNP I-ORG\nrejects VBZ O\n\n\nPeter NNP I-PER\n"


def test_column_file(tmp_path: Path) -> None:
    path = written(tmp_path / "eng.train", CONLL)
    assert rows_of(path, lists=True) == [
        {"0": ["EU", "rejects"], "1": ["NNP", "VBZ"], "2": ["I-ORG", "O"]},
        {"0": ["Peter"], "1": ["NNP"], "2": ["I-PER"]},
    ]
    assert places_of(path, lists=True) == [3, 7]


def test_column_file_with_names_and_separator(tmp_path: Path) -> None:
    path = written(tmp_path / "a.bio", "word|tag\nEU|B-ORG\n||O\n".replace("||", "x|"))
    assert rows_of(path, separator="|", header=True) == [{"word": ["EU", "x"], "tag": ["B-ORG", "O"]}]


def test_column_file_whose_token_is_a_blank(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "a\tO\n \tO\n\u3000\tO\n")
    assert rows_of(path, lists=True)[0]["0"] == ["a", " ", "\u3000"]


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\x85"])
def test_column_file_with_other_blanks_within_tokens(tmp_path: Path, blank: str) -> None:
    text = f"10{blank}000 \t CD  O \r\n{blank} O O\n"
    expected = [{"0": [f"10{blank}000", blank], "1": ["CD", "O"], "2": ["O", "O"]}]
    assert rows_of(written(tmp_path / "eng.train", text), lists=True, separator=" ") == expected
    named = written(tmp_path / "a.txt", f"a b c\n{text}")
    assert list(rows_of(named, lists=True, separator=" ", header=True)[0].values()) == list(expected[0].values())
    table = written(tmp_path / "a.csv", f"0 1 2\n{text}")
    assert rows_of(table, lists=True, separator=" ") == expected


def test_ragged_column_file_names_the_line(tmp_path: Path) -> None:
    path = written(tmp_path / "eng.train", "EU I-ORG\nrejects\n")
    with pytest.raises(ValueError, match=r"eng.train, line 2: 1 columns, where 2 are expected"):
        rows_of(path, lists=True)


@pytest.mark.parametrize(
    "text",
    [
        'Sentence #,Word,Tag\nSentence: 1,"EU",B-ORG\n,",",O\nSentence: 2,Peter,B-PER\n',
        'sentence_id,Word,Tag\n7,EU,B-ORG\n7,",",O\n8,Peter,B-PER\n',
        'id,Word,Tag\n1,EU,B-ORG\n2,",",O\n\n3,Peter,B-PER\n',
    ],
)
def test_csv_with_a_token_a_row(tmp_path: Path, text: str) -> None:
    rows = rows_of(written(tmp_path / "a.csv", text), lists=True)
    assert [(row["Word"], row["Tag"]) for row in rows] == [(["EU", ","], ["B-ORG", "O"]), (["Peter"], ["B-PER"])]


def test_sentence_column_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "no,Word\n1,a\n1,b\n2,c\n")
    assert [row["Word"] for row in rows_of(path, lists=True, sentence="no")] == [["a", "b"], ["c"]]
    with pytest.raises(ValueError, match=r"no column 'number'; there are no, Word"):
        rows_of(path, lists=True, sentence="number")


def test_csv_with_nothing_that_divides_sentences(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "Word,Tag\n" + "a,O\n" * 6000)
    with pytest.raises(ValueError, match="--sentence-column"):
        rows_of(path, lists=True)


def test_csv_with_lists_in_cells(tmp_path: Path) -> None:
    text = 'id,tokens,tags\n1,"[""EU"", ""x""]","[\'B-ORG\', \'O\']"\n'
    assert rows_of(written(tmp_path / "a.csv", text), lists=True) == [{"tokens": ["EU", "x"], "tags": ["B-ORG", "O"]}]
    (chunk,) = read_chunks(written(tmp_path / "b.csv", "tokens\n['a']\n[EU]\n"), FileFormat(), lists=True)
    assert chunk.mixed == {"tokens": 'line 3: \'[EU]\' is not a list such as ["a", "b"]'}


@pytest.mark.parametrize("first", ["[deleted]", "", "a title"])
def test_a_table_of_lists_is_one_whatever_its_first_row_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr("registry.data.formats.chunks.CHUNK", 3)
    rows = [f'{title},"[""a"", ""b""]","[""O"", ""O""]"\n' for title in (first, "x", "[y", first, "z", "[v]")]
    path = written(tmp_path / "a.csv", "title,tokens,tags\n" + "".join(rows))
    assert rows_of(path, lists=True) == [{"tokens": ["a", "b"], "tags": ["O", "O"]}] * 6
    tokens = written(tmp_path / "b.csv", "token,tag\n[deleted],O\nEU,B-ORG\nx,O\n")
    assert rows_of(tokens, lists=True) == [{"token": ["[deleted]", "EU", "x"], "tag": ["O", "B-ORG", "O"]}]


def test_unknown_suffix_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.dat: the suffix says no format .*--file-format"):
        rows_of(written(tmp_path / "a.dat", "text"))
    with pytest.raises(ValueError, match="no such file"):
        expand(str(tmp_path / "*.csv"))


def test_glob_is_sorted(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        written(tmp_path / name, "text\nx\n")
    assert [path.name for path in expand(str(tmp_path / "*.csv"))] == ["a.csv", "b.csv"]


@pytest.mark.parametrize("suffix", ["csv", "txt", "jsonl", "parquet"])
def test_long_rows_make_short_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    for module in ("chunks", "json_files"):
        monkeypatch.setattr(f"registry.data.formats.{module}.CHUNK_SIZE", 1000)
    texts = [f"{number:03d}" * 50 for number in range(30)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"text": texts}), path, compression="none", use_dictionary=False)
    elif suffix == "jsonl":
        written(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        written(path, "\n".join((["text"] if suffix == "csv" else []) + texts) + "\n")
    chunks = list(read_chunks(path, FileFormat()))
    assert [text for chunk in chunks for text in chunk.table["text"].to_pylist()] == texts
    assert [place for chunk in chunks for place in chunk.places][-1] == (31 if suffix == "csv" else 30)
    assert max(len(chunk.table) for chunk in chunks) <= 7


@pytest.mark.parametrize("suffix", ["csv", "conll", "jsonl"])
def test_long_lists_make_short_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    for module in ("chunks", "json_files"):
        monkeypatch.setattr(f"registry.data.formats.{module}.CHUNK_SIZE", 16 * 1024)
    tokens = ["a"] * 64  # of 64 bytes each: four rows a chunk
    text = {
        "csv": "tokens\n" + f'"{tokens}"\n' * 10,
        "conll": "\n\n".join(["\n".join(tokens)] * 10),
        "jsonl": (json.dumps({"tokens": tokens}) + "\n") * 10,
    }
    chunks = list(read_chunks(written(tmp_path / f"a.{suffix}", text[suffix]), FileFormat(), lists=True))
    assert [len(chunk.table) for chunk in chunks] == [4, 4, 2]
    assert [row for chunk in chunks for row in chunk.table.column(0).to_pylist()] == [tokens] * 10


def test_an_object_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": {"en": "a"}, "label": "b"}\n')
    (chunk,) = read_chunks(path, FileFormat())
    assert chunk.mixed == {"text": "line 1: column 'text' holds an object, where text or a number is needed"}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_is_nested_too_deeply_is_one_line(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, '{"text": ' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(ValueError, match=f"{name}.*: not rows: lists or objects are nested too deeply"):
        rows_of(path)


def test_lists_as_numpy_prints_them_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "tokens,tags\n\"['EU' 'rejects']\",\"['B-ORG' 'O']\"\n")
    (chunk,) = read_chunks(path, FileFormat(), lists=True)
    assert chunk.mixed.keys() == {"tokens", "tags"}
    assert all("no commas between them, as numpy prints arrays" in what for what in chunk.mixed.values())


def test_comments_of_multiconer_divide_sentences(tmp_path: Path) -> None:
    path = written(tmp_path / "a.conll", "# id 1f\tdomain=en\nEU _ _ B-ORG\n# _ _ O\n\n# id 2 domain=en\nit _ _ O\n")
    assert [row["0"] for row in rows_of(path, lists=True)] == [["EU", "#"], ["it"]]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_excels_first_line_says_the_separator(tmp_path: Path, first: str) -> None:
    path = written(tmp_path / "a.csv", f"{first}\r\ntext;label\r\na,b;pos\r\n")
    assert rows_of(path) == [{"text": "a,b", "label": "pos"}]


def test_a_byte_order_mark_that_the_encoding_leaves(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "\ufefftext,label\na,b\n".encode("utf-16-le"))
    assert rows_of(path, encoding="utf-16-le") == [{"text": "a", "label": "b"}]
