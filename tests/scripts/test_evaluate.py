"""evaluate.py: the run's own splits, rebuilt and compared; files; what cannot be scored."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import accuracy_score

from registry import load_run
from registry.run_directory import read_json, write_json

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import evaluate


@pytest.fixture
def run(make_run, tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "run"
    shutil.copytree(make_run(), path)
    return path


def run_evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate.main, [str(a) for a in arguments])


def test_validation_is_scored_row_for_row(run):
    from registry import tasks

    result = run_evaluate(run)
    assert result.exit_code == 0, result.output
    found = read_json(run / "evaluations" / "validation.json")
    rows = tasks.get("demo").rows()["validation"]
    predicted = [p["label"] for p in load_run(run).predict(rows["text"])]
    assert found["rows"] == len(rows)
    assert found["accuracy"] == pytest.approx(accuracy_score(rows["label"], predicted))
    assert f"{found['accuracy']:.4f}" in result.output


def test_train_is_the_subset_that_was_trained_on(run):
    run_evaluate(run, "--split", "train")
    assert read_json(run / "evaluations" / "train.json")["rows"] == 200


def test_tokens_are_made_by_several_processes(run, tmp_path):
    rows = "".join(f"a good film number {i},positive\n" for i in range(1100))
    (tmp_path / "many.csv").write_text(f"text,label\n{rows}")
    result = run_evaluate(run, "--file", tmp_path / "many.csv", "--num-workers", "2")
    assert result.exit_code == 0, result.output
    assert read_json(run / "evaluations" / "many.csv.json")["rows"] == 1100


def test_tables_of_one_level_and_of_two_are_shown(capsys):
    metrics = {"loss": 0.5, "f1_by_label": {"anger": 0.8}, "per_class": {"joy": {"f1": 0.7, "support": 3}}}
    evaluate.show({"name": "x", "rows": 3}, metrics)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown[2:] == [["f1_by_label", "anger", "0.8000"], ["joy", "f1", "0.7000", "support", "3"]]


def test_a_file_is_scored_by_its_own_columns(run, tmp_path):
    (tmp_path / "mine.csv").write_text('review,mood\n"a good, good film",positive\nbad soup,negative\n')
    output = tmp_path / "scores.json"
    columns = ["--text-column", "review", "--label-column", "mood"]
    result = run_evaluate(run, "--file", tmp_path / "mine.csv", "--output", output, *columns)
    assert result.exit_code == 0, result.output
    predicted = [p["label"] for p in load_run(run).predict(["a good, good film", "bad soup"])]
    assert json.loads(output.read_text())["accuracy"] == accuracy_score(["positive", "negative"], predicted)


def test_changed_data_are_noticed(run):
    saved = read_json(run / "splits.json")
    saved["splits"]["validation"]["rows"] = saved["splits"]["train"]["rows"]
    write_json(run / "splits.json", saved)
    result = run_evaluate(run)
    assert (result.exit_code, "have changed since" in result.stderr) == (2, True)


def test_changed_rows_in_their_old_places_are_noticed(train, tmp_path):
    rows = [f"text number {i},{'good' if i % 2 else 'bad'}" for i in range(40)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    files = ("--train-file", tmp_path / "train.csv", "--test-file", tmp_path / "test.csv")
    trained = train("--task", "classification", "--model", "bow", *files, "--epochs", 1, "--output-dir", "run")
    assert trained.exit_code == 0, trained.output
    assert run_evaluate("run", "--split", "test").exit_code == 0
    for changed in (rows[0].replace("bad", "good"), rows[0].replace("text", "txt")):
        (tmp_path / "test.csv").write_text("\n".join(["text,label", changed, *rows[1:]]) + "\n")
        result = run_evaluate("run", "--split", "test")
        assert (result.exit_code, "--split test: its rows are not those of the training" in result.stderr) == (2, True)
        assert run_evaluate("run", "--split", "validation").exit_code == 0
    record = read_json(tmp_path / "run" / "run.json")
    assert set(record["data"]) == {"train", "validation", "test"}
    write_json(tmp_path / "run" / "run.json", {**record, "data": {}})  # as earlier versions left it
    assert run_evaluate("run", "--split", "test").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (["--split", "nope"], None, "this run has validation, test, train"),
        (["--split", "test", "--file", "x"], None, "exclude each other"),
        (["--file", "FILE"], "text\nhello\n", "no row has a label"),
        (["--file", "FILE"], "text,label\nhello,\n", "no row has a label"),
        (["--file", "FILE"], "text,label\nhello,sideways\n", "sideways"),
        (["--file", "FILE"], "body,label\nhello,positive\n", "--text-column"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(run, tmp_path, arguments, content, message):
    if content:
        (tmp_path / "rows.csv").write_text(content)
    result = run_evaluate(run, *(str(tmp_path / "rows.csv") if a == "FILE" else a for a in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.strip().count("\n") == 0


@pytest.mark.parametrize(("task", "metric"), [("demo-ner", "f1"), ("demo-qa", "accuracy"), ("demo-mlm", "perplexity")])
def test_every_family_is_scored(make_run, tmp_path, task, metric):
    result = run_evaluate(make_run(task), "--output", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    assert read_json(tmp_path / "scores.json")[metric] >= 0


def test_a_file_of_pairs_is_scored(make_run, tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    rows = [{"a": f"house {i}", "b": f"door {i % 7}", "same": ["no", "yes"][i % 2]} for i in range(40)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"text_column": "a", "text_pair_column": "b", "label_column": "same"}
    run = make_run("classification", train_file=str(tmp_path / "train.jsonl"), **columns)
    result = run_evaluate(run, "--file", tmp_path / "train.jsonl", "--output", tmp_path / "found.json")
    assert result.exit_code == 0, result.output
    predicted = [p["label"] for p in load_run(run).predict([{"text": r["a"], "text_pair": r["b"]} for r in rows])]
    expected = accuracy_score([row["same"] for row in rows], predicted)
    assert read_json(tmp_path / "found.json")["accuracy"] == pytest.approx(expected)
    assert run_evaluate(run).exit_code == 0


def test_an_export_is_scored_in_its_runs_place_or_alone(run, tmp_path):
    import export

    assert CliRunner().invoke(export.main, [str(run)]).exit_code == 0
    result = run_evaluate(run, "--engine", "onnx")
    assert result.exit_code == 0, result.output
    found = read_json(run / "evaluations" / "validation.json")
    assert (found["run"], found["engine"]) == (str(run), "onnx")
    assert not (run / "onnx" / "evaluations").exists()
    shutil.move(run / "onnx", tmp_path / "alone")
    assert run_evaluate(tmp_path / "alone", "--engine", "onnx").exit_code == 0
    alone = read_json(tmp_path / "alone" / "evaluations" / "validation.json")
    assert (alone["accuracy"], alone["rows"]) == (found["accuracy"], found["rows"])
    result = run_evaluate(tmp_path / "alone", "--engine", "onnx", "--report")
    assert (result.exit_code, "is an export, not the run" in result.stderr) == (2, True)


@pytest.mark.parametrize("given", [("--precision", "bf16"), ("--device", "cuda:3")])
def test_what_an_export_cannot_obey_is_refused(run, given):
    result = run_evaluate(run, "--engine", "onnx", *given)
    assert (result.exit_code, result.stderr.startswith(f"error: {' '.join(given)}: --engine onnx")) == (2, True)


def test_the_task_and_place_of_a_score_are_kept(run, tmp_path):
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nit is a good film\t1\nit is a bad film\t0\n")
    (tmp_path / "train.tsv").write_text("sentence\tlabel\na good film\t1\na bad film\t0\n")
    result = run_evaluate(run, "--task", "sst2", "--data-dir", tmp_path)
    assert result.exit_code == 0, result.output
    found = read_json(run / "evaluations" / "sst2-validation.json")
    assert (found["task"], found["data_dir"]) == ("sst2", str(tmp_path))


def test_a_file_never_takes_the_place_of_the_runs_own_split(run, tmp_path):
    assert run_evaluate(run).exit_code == 0
    own = (run / "evaluations" / "validation.json").read_text()
    (tmp_path / "validation.csv").write_text('text,label\n"a good, good film",positive\nbad soup,negative\n')
    result = run_evaluate(run, "--file", tmp_path / "validation.csv")
    assert result.exit_code == 0, result.output
    assert (run / "evaluations" / "validation.json").read_text() == own
    found = read_json(run / "evaluations" / "validation.csv.json")
    assert (found["rows"], found["file"]) == (2, str(tmp_path / "validation.csv"))


def test_files_of_one_name_have_scores_of_their_own(run, tmp_path):
    for folder, label in (("a", "positive"), ("b", "negative")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.csv").write_text(f'text,label\n"a good, good film",{label}\nbad soup,negative\n')
        for _ in range(2):  # scored again, each takes its own place
            result = run_evaluate(run, "--file", tmp_path / folder / "same.csv")
            assert result.exit_code == 0, result.output
    kept = [read_json(path) for path in sorted((run / "evaluations").glob("same.csv*.json"))]
    assert sorted(scores["file"] for scores in kept) == [str(tmp_path / name / "same.csv") for name in ("a", "b")]


def test_a_run_does_not_choose_what_is_written_to_but_a_person_does(run, tmp_path):
    (tmp_path / "far").write_text("untouched")
    own, link = run / "evaluations" / "validation.json", tmp_path / "link.json"
    own.parent.mkdir(exist_ok=True)
    own.unlink(missing_ok=True)
    own.symlink_to(tmp_path / "far")
    link.symlink_to(tmp_path / "mine")
    assert run_evaluate(run).exit_code == 0
    assert not own.is_symlink()
    assert (tmp_path / "far").read_text() == "untouched"
    assert run_evaluate(run, "--output", link).exit_code == 0
    assert read_json(tmp_path / "mine") == {**read_json(own), "seconds": read_json(tmp_path / "mine")["seconds"]}


def test_ragged_rows_of_a_file_are_left_out_where_that_is_asked(run, tmp_path):
    (tmp_path / "ragged.csv").write_text("text,label\na good film,positive\nbad soup,negative,really\ndull,negative\n")
    refused = run_evaluate(run, "--file", tmp_path / "ragged.csv")
    assert refused.exit_code == 2
    assert "line 3" in refused.output
    scored = run_evaluate(run, "--file", tmp_path / "ragged.csv", "--drop-invalid")
    assert scored.exit_code == 0, scored.output
    assert read_json(run / "evaluations" / "ragged.csv.json")["rows"] == 2
