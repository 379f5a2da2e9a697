"""predict.py: texts, files, standard input; order, atomic output, one line for what is wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from registry import load_run

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import evaluate
import predict


def run_predict(*arguments: object, **settings: object) -> Result:
    return CliRunner().invoke(predict.main, [str(a) for a in arguments], **settings)


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_texts_are_answered_in_order(make_run):
    path = make_run()
    result = run_predict(path, "--text", "a good film", "--text", "bad soup, 中文 ")
    found = lines(result.stdout)
    assert [row["text"] for row in found] == ["a good film", "bad soup, 中文 "]
    expected = load_run(path).predict(["a good film", "bad soup, 中文 "])
    assert [row["scores"] for row in found] == [pytest.approx(e["scores"], abs=1e-5) for e in expected]


def test_standard_input_is_a_text_a_line(make_run):
    result = run_predict(make_run(), input="good\n\nbad\r\n")
    assert [row["text"] for row in lines(result.stdout)] == ["good", "", "bad"]


@pytest.mark.parametrize("task", ["demo", "demo-ner"])
@pytest.mark.parametrize(
    ("scale", "precision", "message"),
    [
        (1e7, "fp16", "error: --precision fp16: the model's outputs go beyond its largest number; take bf16 or fp32"),
        (1e7, "bf16", None),
        (1e7, "fp32", None),
        (float("nan"), "fp32", "error: the model's outputs are not finite (NaN or infinity)"),
    ],
)
def test_outputs_that_are_no_numbers_are_one_line(make_run, tmp_path, task, scale, precision, message):
    shutil.copytree(make_run(task), tmp_path / "run")
    weights = tmp_path / "run" / "model" / "model.safetensors"
    changed = load_file(weights)
    changed["classifier.weight"] *= scale
    save_file(changed, weights, metadata={"format": "pt"})
    predicted = run_predict(tmp_path / "run", "--text", "a good film", "--precision", precision)
    scored = CliRunner().invoke(evaluate.main, [str(tmp_path / "run"), "--precision", precision])
    for result in (predicted, scored):
        assert result.exit_code == (2 if message else 0), result.output
        if message:
            assert result.stdout == ""
            assert result.stderr.strip().count("\n") == 0
            assert message in result.stderr


def test_a_file_keeps_its_order_over_many_chunks(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("registry.prediction.CHUNK_ROWS", 7)
    rows = [(f"the film number {i} was {'good ' * (i % 9)}", str(i)) for i in range(40)]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "id"), *rows])
    output = tmp_path / "out.jsonl"
    result = run_predict(make_run(), "--file", tmp_path / "rows.csv", "--text-column", "review", "--output", output)
    assert result.exit_code == 0, result.output
    found = lines(output.read_text())
    assert [row["row"] for row in found] == list(range(40))
    assert [row["text"] for row in found] == [text for text, _ in rows]
    alone = load_run(make_run()).predict([rows[17][0]])[0]
    assert found[17]["scores"] == pytest.approx(alone["scores"], abs=1e-5)


def test_nothing_is_written_when_a_row_is_bad(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("registry.prediction.CHUNK_ROWS", 2)
    path, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"text": "a"}\n' * 9 + '{"text": \n')
    output.write_text("what was there before")
    result = run_predict(make_run(), "--file", path, "--output", output)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {path}, line 10")
    assert output.read_text() == "what was there before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "a", "--file", "b"], "exclude each other"),
        (["--file", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--text", "a", "--output", "no/such/folder.jsonl"], "its directory does not exist"),
        (["--text", "a", "--device", "cuda:77"], "--device cuda:77"),
        (["--text", "a", "--engine", "onnx"], "scripts/export.py"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(make_run, arguments, message):
    result = run_predict(make_run(), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def pairs(make_run, tmp_path_factory):
    """A run of pairs, and the file that it learned from."""
    path = tmp_path_factory.mktemp("pairs") / "rows.jsonl"
    rows = [{"a": f"house {i}", "b": f"door {i % 7}", "same": ["no", "yes"][i % 2]} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"text_column": "a", "text_pair_column": "b", "label_column": "same"}
    return make_run("classification", train_file=str(path), **columns), path


def test_questions_with_contexts_are_answered(make_run, tmp_path):
    path = tmp_path / "rows.csv"
    places = ["here", "there"]
    lines_of = [f"where is {i}?,it is {places[i % 2]},{places[i % 2]}" for i in range(60)]
    path.write_text("\n".join(["q,c,a", *lines_of]) + "\n")
    run = make_run("qa", train_file=str(path), text_column="q", text_pair_column="c", label_column="a")
    typed = [part for where in ("there", "here") for part in ("--text", "where is 7?", "--text-pair", f"it is {where}")]
    answers = lines(run_predict(run, *typed).stdout)
    from_file = lines(run_predict(run, "--file", path).stdout)
    assert [answer["answers"] for answer in from_file[7:8]] == [answers[0]["answers"]]
    assert answers[0]["answers"] != answers[1]["answers"]


def test_pairs_are_answered_from_files_and_texts(pairs, tmp_path):
    run, path = pairs
    from_lines = lines(run_predict(run, "--file", path).stdout)
    assert [(row["text"], row["text_pair"]) for row in from_lines[:2]] == [("house 0", "door 0"), ("house 1", "door 1")]
    (tmp_path / "rows.csv").write_text("one,two\nhouse 8,door 1\n")
    columns = ["--text-column", "one", "--text-pair-column", "two"]
    (from_table,) = lines(run_predict(run, "--file", tmp_path / "rows.csv", *columns).stdout)
    typed = ["--text", "house 8", "--text-pair", "door 1", "--text", "house 8", "--text-pair", "door 2"]
    first, second = lines(run_predict(run, *typed).stdout)
    assert first["scores"] == pytest.approx(from_table["scores"], abs=1e-6)
    assert first["scores"] == pytest.approx(from_lines[8]["scores"], abs=1e-6)
    assert first["scores"] != pytest.approx(second["scores"], abs=1e-6)
    assert load_run(run).predict([{"text": "house 8", "text_pair": "door 1"}])[0]["scores"] == pytest.approx(
        first["scores"]
    )


def test_a_run_of_pairs_says_what_it_lacks(pairs, make_run, tmp_path):
    run, _ = pairs
    (tmp_path / "rows.csv").write_text("a,c\nhouse,door\n")
    for given, message in (
        (["--text", "house"], "item 0: 'text_pair' is missing; it has text (this takes text and text_pair)"),
        (["--text", "house", "--text", "b", "--text-pair", "c"], "2 --text but 1 --text-pair; give one for each"),
        (["--file", tmp_path / "rows.csv"], "no column 'b'; the columns are a, c: choose with --text-pair-column"),
    ):
        result = run_predict(run, *given)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    alone = run_predict(make_run(), "--text", "house", "--text-pair", "b")
    assert alone.stderr == "error: --text-pair: this run reads single texts (text)\n"


def test_a_missing_run_is_named():
    result = run_predict("runs/nothing-1", "--text", "a")
    assert (result.exit_code, result.stderr) == (2, "error: runs/nothing-1: no such run directory\n")


def test_entities_carry_offsets_into_the_text(make_run):
    text = "  Ada Lovelace   met Mr. Babbage in London."
    (found,) = lines(run_predict(make_run("demo-ner"), "--text", text).stdout)
    assert found["text"] == text
    for entity in found["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]


def test_a_file_of_words_is_tagged_sentence_by_sentence(make_run, tmp_path):
    (tmp_path / "words.conll").write_text("Ada O\nsings O\n\nBob O\nwrites O\nhere O\n")
    result = run_predict(
        make_run("demo-ner"), "--file", tmp_path / "words.conll", "--tokens-column", "0", "--tags-column", "1"
    )
    assert [len(row["tags"]) for row in lines(result.stdout)] == [2, 3]


def test_texts_in_a_table_are_split_into_words(make_run, tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"body": "Ada sings."}\n{"body": ""}\n')
    result = run_predict(make_run("demo-ner"), "--file", tmp_path / "texts.jsonl", "--text-column", "body")
    assert [row["tokens"] for row in lines(result.stdout)] == [["Ada", "sings", "."], []]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text\nAda sings .\nBob writes here\n"),
        ("rows.csv", "id,Sentence\n1,Ada sings .\n2,Bob writes here\n"),
        ("rows.jsonl", '{"text": "Ada sings ."}\n{"text": "Bob writes here"}\n'),
        ("rows.txt", "Ada sings .\nBob writes here\n"),
    ],
)
def test_a_file_of_texts_is_split_into_words_by_a_run_that_learned_from_words(make_run, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    kind = ["--file-format", "text"] if name == "rows.txt" else []
    result = run_predict(make_run("demo-ner"), "--file", tmp_path / name, *kind)
    assert [row["tokens"] for row in lines(result.stdout)] == [["Ada", "sings", "."], ["Bob", "writes", "here"]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.txt", "is a line a text or a token? say --file-format text or --file-format conll"),
        ("rows.csv", "the columns are Satz: choose with --tokens-column, or for whole texts --text-column"),
    ],
)
def test_a_file_that_may_hold_texts_or_tokens_is_asked_about(make_run, tmp_path, name, message):
    (tmp_path / name).write_text("Satz\nAda sings .\n")
    result = run_predict(make_run("demo-ner"), "--file", tmp_path / name)
    assert (result.exit_code, result.stderr) == (2, f"error: {tmp_path / name}: {message}\n")


@pytest.mark.parametrize("task", ["demo", "demo-ner"])
def test_blank_lines_of_a_text_file_are_rows_as_those_of_standard_input_are(make_run, tmp_path, task):
    (tmp_path / "notes.txt").write_text(content := "one\n\ntwo\n")
    found = lines(run_predict(make_run(task), "--file", tmp_path / "notes.txt", "--file-format", "text").stdout)
    assert [(row["row"], row["text"]) for row in found] == [(0, "one"), (1, ""), (2, "two")]
    assert found == lines(run_predict(make_run(task), input=content).stdout)


def test_questions_get_ranked_answers(make_run):
    (found,) = lines(run_predict(make_run("demo-qa"), "--text", "what?").stdout)
    scores = [answer["score"] for answer in found["answers"]]
    assert scores == sorted(scores, reverse=True)
    assert found["answer"] == found["answers"][0]["answer"]


def test_masks_are_filled(make_run):
    (found,) = lines(run_predict(make_run("demo-mlm"), "--text", "the [MASK] was <mask>").stdout)
    assert [len(mask) for mask in found["masks"]] == [5, 5]
    assert "MASK" not in found["text"].upper()


def test_help_imports_no_torch():
    code = f"import sys; sys.path.insert(0, {str(Path(predict.__file__).parent)!r})\n"
    code += "import predict; assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bytes_that_are_no_utf8_are_one_line(make_run):
    result = run_predict(make_run(), "--text", "good", "--text", b"caf\xe9".decode(errors="surrogateescape"))
    assert result.exit_code == 2
    assert "'caf?' is not UTF-8: convert it (iconv -f latin1 -t utf-8)" in result.stderr


def test_pipes_are_written_to_and_links_are_followed(make_run, tmp_path):
    (tmp_path / "far").mkdir()
    link, target, pipe = tmp_path / "link.jsonl", tmp_path / "far" / "out.jsonl", tmp_path / "pipe"
    link.symlink_to(target)
    os.mkfifo(pipe)
    assert run_predict(make_run(), "--text", "good", "--output", link).exit_code == 0
    assert link.is_symlink()
    assert lines(target.read_text())[0]["text"] == "good"
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        assert run_predict(make_run(), "--text", "good", "--output", pipe).exit_code == 0
        assert lines(reader.communicate(timeout=60)[0])[0]["text"] == "good"
    assert pipe.is_fifo()
