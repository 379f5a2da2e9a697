"""What a load on a served run reports."""

import sys
from pathlib import Path

import pytest

from registry.benchmarking.service import measure_offline, measure_overload, measure_service, texts_of

SERVE = Path(__file__).parents[2] / "scripts" / "serve.py"


@pytest.mark.slow
def test_a_served_run_answers_every_request_under_load(make_run, tmp_path):
    run = make_run("demo", "tiny")
    lines = tmp_path / "texts.txt"
    lines.write_text("the film was great\n\nthe meal was never good\n")
    texts = texts_of(run, str(lines))
    assert texts == ["the film was great", "the meal was never good"]
    rows = measure_service([sys.executable, str(SERVE), str(run)], texts, [1, 4], seconds=20, requests=40)
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
    assert len(found["memory"]) == 3
    assert min(found["memory"]) > 0


def test_offline_is_a_rate(make_run):
    assert measure_offline(make_run(), ["a good film", "not bad"], seconds=0.1) > 0


def test_no_texts_is_said(tmp_path):
    with pytest.raises(ValueError, match="give a file of lines with --file"):
        texts_of(tmp_path, None)
