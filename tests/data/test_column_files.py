"""Column files: CoNLL-U, and ragged sentences that are left out on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import tasks
from registry.data.formats import read_chunks
from registry.data.source import FileFormat, Source

CONLLU = """# sent_id = 1
# text = Don't stop.
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\t_\t_\t3\taux\t_\tO
2\tn't\tnot\tPART\t_\t_\t3\tadvmod\t_\tO
2.1\tever\tever\tADV\t_\t_\t_\t_\t_\tO
3\tstop\tstop\tVERB\t_\t_\t0\troot\t_\tB-ACT

# sent_id = 2
1\t#\t#\tSYM\t_\t_\t0\troot\t_\tO
"""


def test_conllu_words_without_comments_and_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(CONLLU)
    (chunk,) = read_chunks(path, FileFormat(), lists=True)
    assert chunk.table["form"].to_pylist() == [["Do", "n't", "stop"], ["#"]]
    assert chunk.places == [4, 10]
    raw = tasks.get("ner").load(Source(files={"train": str(path)}, columns={"tags": "misc"}))
    assert raw["train"]["tokens"][:] == [["Do", "n't", "stop"], ["#"]]
    assert raw["train"]["tags"][:] == [["O", "O", "B-ACT"], ["O"]]
    with pytest.raises(ValueError, match=r"a.conllu: which column is tags\?; the columns are id, form, lemma, upos"):
        tasks.get("ner").load(Source(files={"train": str(path)}))
    path.write_text(CONLLU + "2\tshort\n")
    with pytest.raises(ValueError, match=r"a.conllu, line 11: 2 columns, where 10 are expected"):
        list(read_chunks(path, FileFormat(), lists=True))


@pytest.mark.parametrize("separator", [" ", "\t"])
@pytest.mark.parametrize("hashtag", ["#text", "#id", "#text-to-speech", "#newpar", "#sent_id", "#", "#texts"])
def test_a_hashtag_is_a_token(tmp_path: Path, separator: str, hashtag: str) -> None:
    path = tmp_path / "a.conll"
    rows = [("love", "O"), (hashtag, "O"), ("Berlin", "B-LOC")]
    path.write_text("".join(f"{separator.join(row)}\n" for row in rows))
    (chunk,) = read_chunks(path, FileFormat(), lists=True)
    assert chunk.table.to_pylist() == [{"0": ["love", hashtag, "Berlin"], "1": ["O", "O", "B-LOC"]}]


@pytest.mark.parametrize(
    "comment", ["# sent_id = 1", "#sent_id = a-1", "# text = so be it", "#text=so", "# id 1f d=en"]
)
def test_comments_are_no_tokens_and_divide_sentences(tmp_path: Path, comment: str) -> None:
    path = tmp_path / "a.conll"
    path.write_text(f"{comment}\nlove O\n{comment}\nBerlin B-LOC\n")
    (chunk,) = read_chunks(path, FileFormat(), lists=True)
    assert chunk.table["0"].to_pylist() == [["love"], ["Berlin"]]


def test_ragged_sentences_are_left_out_where_asked_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.conll"
    path.write_text("EU B-ORG\n\nrejects\n\nhere now O\n\nPeter B-PER\n")
    chunks = list(read_chunks(path, FileFormat(drop_invalid=True), lists=True))
    assert [row for chunk in chunks for row in chunk.table["0"].to_pylist()] == [["EU"], ["Peter"]]
    assert caplog.messages == [f"{path}: 2 ragged rows left out (line 3: 1 columns, where 2 are expected)"]
