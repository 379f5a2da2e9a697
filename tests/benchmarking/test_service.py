"""What a load on a served run reports."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from registry import load_run
from registry.benchmarking.service import items_of, measure_overload, measure_service, offline_rate, served

SERVE = Path(__file__).parents[2] / "scripts" / "serve.py"


@pytest.mark.slow
def test_a_served_run_answers_every_request_under_load(make_run, tmp_path):
    run = make_run("demo", "tiny")
    lines = tmp_path / "texts.txt"
    lines.write_text("the film was great\n\nthe meal was never good\n")
    texts = items_of(run, str(lines))
    assert texts == ["the film was great", "the meal was never good"]
    rates = iter((100.0, 110.0, 130.0, 90.0, 70.0))
    command = [sys.executable, str(SERVE), str(run)]
    rows = measure_service(command, texts, [1, 4], lambda: next(rates), seconds=20, requests=40)
    assert [row["offline"] for row in rows] == [105.0, 120.0, 110.0, 80.0]
    assert [(row["batching"], row["clients"]) for row in rows] == [(True, 1), (True, 4), (False, 1), (False, 4)]
    assert [row["statuses"] for row in rows] == [{200: 40}] * 4
    assert all(0 < row["p50"] <= row["p99"] for row in rows)


@pytest.mark.slow
def test_an_overloaded_service_answers_or_refuses(make_run):
    command = [sys.executable, str(SERVE), str(make_run())]
    found = measure_overload(command, ["a good film", "not bad"], slots=4, calm=2, seconds=4)
    assert set(found["limit"].statuses) == {200}
    assert set(found["overload"].statuses) == {200, 429}
    assert found["overload"].failures == 0
    assert found["overload"].clients == 40
    assert len(found["memory"]) == 4
    assert min(found["memory"]) > 0


def test_a_service_that_does_not_start_says_why():
    command = [sys.executable, "-c", "import sys; sys.exit('starting\\nerror: no such run')"]
    with pytest.raises(ValueError, match=r"the service did not start: error: no such run$"), served(command):
        pass


def test_offline_is_a_rate(make_run):
    assert offline_rate(make_run(), ["a good film", "not bad"], seconds=0.1)() > 0


def saved(run: Path, copy: Path, row: dict) -> Path:
    """A copy of the run with this validation prediction."""
    shutil.copytree(run, copy)
    (copy / "predictions").mkdir()
    (copy / "predictions" / "validation.jsonl").write_text(f"{json.dumps(row)}\n")
    return copy


def test_saved_rows_are_sent_with_all_that_the_task_reads(make_run, tmp_path):
    (tmp_path / "pairs.csv").write_text("text,text_pair,label\n" + "a,b,yes\nc,d,no\n" * 20)
    path = make_run("classification", train_file=str(tmp_path / "pairs.csv"), text_pair_column="text_pair")
    row = {"row": 0, "text": "a good film", "text_pair": "not bad", "label": "yes", "prediction": "no", "score": 0.7}
    items = items_of(saved(path, tmp_path / "run", row), None)
    assert items == [{"text": "a good film", "text_pair": "not bad"}]
    assert load_run(path).predict(items)[0]["label"] in ("yes", "no")
    with pytest.raises(ValueError, match="a line is one text, and this run reads text and text_pair"):
        items_of(path, str(tmp_path / "pairs.csv"))


def test_rows_of_words_are_sent_as_words(make_run, tmp_path):
    row = {"row": 0, "tokens": ["Ada", "left"], "tags": ["O", "O"], "text": "Ada left", "label": [], "prediction": []}
    assert items_of(saved(make_run("demo-ner"), tmp_path / "run", row), None) == [{"tokens": ["Ada", "left"]}]


def test_no_texts_is_said(make_run, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    path = make_run("demo-qa")
    for file in (None, str(tmp_path / "nowhere.txt"), str(tmp_path / "empty.txt")):
        with pytest.raises(ValueError, match=r"no texts to send.* give a file of lines with --file"):
            items_of(path, file)
    with pytest.raises(ValueError, match="'question'"):
        items_of(saved(path, tmp_path / "run", {"row": 0, "prediction": "x"}), None)
