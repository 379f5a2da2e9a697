"""report.html, the model card and TensorBoard's files, made from run directories of every kind."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from fixture_runs import write_run

from registry.reports import write_all, write_model_card, write_report
from registry.reports.page import repeat_command
from registry.reports.run_record import read_run

KINDS = ["single", "many", "multi", "regression", "entities", "mlm"]
VOID = {"meta", "br", "input", "path", "use", "rect", "line", "img", "link"}


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order, and collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(path: Path) -> Balanced:
    page = Balanced()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_for_every_kind_of_run_stands_alone(tmp_path: Path, kind: str) -> None:
    path = write_report(write_run(tmp_path / "run", kind, rows=120))
    html = path.read_text(encoding="utf-8")
    page = read_page(path)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]
    primary = json.loads((tmp_path / "run" / "run.json").read_text())["primary_metric"]
    assert f"{metrics[primary]:.4f}" in page.text
    assert "config.yaml" in page.text
    assert "the process with least: 850 MiB" in page.text
    assert "nan" not in page.text.split()
    links = re.findall(r'(?:src|href)="(?!data:)([^"#][^"]*)"|url\((?!#)([^)]*)\)', html)
    assert links == [], "a self-contained page fetches nothing"


def test_the_command_that_repeats_a_run_launches_it_alike(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a run", rows=40))
    place = f"--config '{tmp_path}/a run/config.yaml' --output-dir '{tmp_path}/a run-again'"
    assert repeat_command(run) == f"accelerate launch scripts/train.py {place}"
    run.run["launch"] = {"processes": 1, "config_file": None}
    assert repeat_command(run) == f"accelerate launch scripts/train.py {place}"
    run.run["launch"] = {"processes": 2, "config_file": "cpu_ddp.yaml"}
    launched = "accelerate launch --config_file cpu_ddp.yaml --num_processes 2"
    assert repeat_command(run) == f"{launched} scripts/train.py {place}"


def test_texts_and_labels_are_escaped_and_chinese_stays_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "many", rows=60)
    path = run / "predictions" / "validation.jsonl"
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for item in items:
        item["question"] = "<script>alert(1)</script> 你好"
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    html = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 你好" in html
    assert "交通局" in html


def test_charts_follow_the_page_colours(tmp_path: Path) -> None:
    html = write_report(write_run(tmp_path / "run", rows=60)).read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) >= 4
    for drawing in drawings:
        assert "var(--c0)" in drawing or "var(--c1)" in drawing
        assert "#2f6fdf" not in drawing
        assert "font: " not in drawing or "var(--font)" in drawing
        assert 'width="' not in drawing[: drawing.index(">")]


def test_an_unfinished_run_has_a_page_that_says_so(tmp_path: Path) -> None:
    page = read_page(write_report(write_run(tmp_path / "run", rows=60, finished=False)))
    assert "training has not finished" in page.text
    assert "Training" in page.text


def test_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no run\.json"):
        write_report(tmp_path)
    run = write_run(tmp_path / "run", rows=20)
    (run / "predictions" / "validation.jsonl").write_text('{"row": 1}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"validation\.jsonl, line 1"):
        write_report(run)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_card_carries_the_results_for_the_hub(tmp_path: Path, kind: str) -> None:
    card = write_model_card(write_run(tmp_path / "run", kind, rows=60)).read_text(encoding="utf-8")
    _, block, body = card.split("---\n", 2)
    metadata = yaml.safe_load(block)
    results = metadata["model-index"][0]["results"][0]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]
    for found in results["metrics"]:
        assert found["value"] == pytest.approx(metrics[found["type"]])
    expected = {"entities": "token-classification", "mlm": "fill-mask"}.get(kind, "text-classification")
    assert metadata["pipeline_tag"] == results["task"]["type"] == expected
    assert "base_model" not in metadata
    assert "| learning_rate | 5e-05 |" in body


def test_the_card_of_a_run_with_a_plugin_file_names_the_runs_copy(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows=60)
    assert 'load_run("run").predict' in write_model_card(run).read_text(encoding="utf-8")
    (run / "plugin.py").write_text("# registers a task")
    assert 'load_run("run", plugin_file="run/plugin.py").predict' in write_model_card(run).read_text(encoding="utf-8")


def test_tensorboard_gets_texts_figures_and_hyperparameters(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = write_run(tmp_path / "run", "single", rows=60)
    write_all(run, pytest.fail)
    assert (run / "report.html").is_file()
    assert (run / "README.md").is_file()
    test = EventAccumulator(str(run / "tensorboard" / "test"))
    test.Reload()
    assert set(test.Tags()["images"]) == {"confusion", "precision_recall"}
    assert "mistakes/text_summary" in test.Tags()["tensors"]
    hparams = EventAccumulator(str(run / "tensorboard" / "hparams"))
    hparams.Reload()
    reported = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    assert hparams.Scalars("test/accuracy")[0].value == pytest.approx(reported)
