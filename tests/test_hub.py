"""The stand-in of the Hub answers the real clients, and every named task loads from it and again without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub import Hub
from hub_repositories import DATA_SETS, add_data_sets, add_roberta

from registry import tasks

LOAD = """
import json, sys
from registry import tasks
from registry.data.source import Source
loaded = {}
for name in sys.argv[1:]:
    raw = tasks.get(name).load(Source())
    loaded[name] = {split: rows[:] for split, rows in raw.items()}
print(json.dumps(loaded))
"""

MODEL = """
from transformers import AutoModelForSequenceClassification, AutoTokenizer
print(AutoTokenizer.from_pretrained("roberta-base")("a fine film")["input_ids"])
model = AutoModelForSequenceClassification.from_pretrained("FacebookAI/roberta-base")
print(sum(parameter.numel() for parameter in model.parameters()))
"""


def ask(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh process prints; the clients read their settings when they are imported."""
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every task from the hub, and again from the cache when nobody answers any more."""
    root = tmp_path_factory.mktemp("hub")
    names = [*DATA_SETS, "imdb-mlm"]
    with Hub() as hub:
        add_data_sets(hub, root / "repositories")
        environment = hub.environment(root / "cache")
        first = json.loads(ask(LOAD, *names, **environment))
    offline = json.loads(ask(LOAD, *names, **{**environment, "HF_HUB_OFFLINE": "1"}))
    assert offline == first
    return first


def test_every_hub_task_has_a_repository_here() -> None:
    hub_tasks = {name for name in tasks.names() if tasks.get(name).hub} - {"imdb-mlm"}
    assert hub_tasks == set(DATA_SETS)
    for name, published in DATA_SETS.items():
        task = tasks.get(name)
        assert (task.hub, task.revision or "main") == (published.repository, published.revision)


@pytest.mark.parametrize("name", [name for name, one in DATA_SETS.items() if one.repository == "nyu-mll/glue"])
def test_glue(loaded: dict[str, Any], name: str) -> None:
    splits, published = loaded[name], DATA_SETS[name]
    matched = {"validation_mismatched", "test_mismatched"} if name == "mnli" else set()
    assert set(splits) == {"train", "validation", "test"} | matched
    rows = published.rows["train"]
    label = list(published.columns).index("label")
    names = published.columns["label"]
    expected = [row[label] if name == "stsb" else names[row[label]] for row in rows]
    assert splits["train"]["label"] == expected
    assert splits["test"]["label"] == [None] * len(rows)
    assert splits["train"]["text"] == [row[0] for row in rows]
    if label == 2:
        assert splits["validation"]["text_pair"] == [row[1] for row in rows]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("imdb", ["negative", "positive"]),
        ("ag_news", ["World", "Sports", "Business", "Sci/Tech"]),
        ("trec", ["DESC", "HUM"]),
        ("sarcasm", ["sarcastic", "not_sarcastic"]),
        ("chnsenticorp", ["positive", "negative"]),
        ("banking77", ["activate_my_card", "age_limit"]),
        ("clinc150", ["restaurant_reviews", "oos"]),
    ],
)
def test_texts(loaded: dict[str, Any], name: str, labels: list[str]) -> None:
    assert loaded[name]["train"]["label"] == labels


def test_what_gives_labels_away_or_belongs_elsewhere_is_left_out(loaded: dict[str, Any]) -> None:
    assert set(loaded["sarcasm"]) == {"train"}
    assert set(loaded["sarcasm"]["train"]) == {"text", "label", "row"}
    assert set(loaded["imdb"]) == {"train", "test"}
    assert loaded["imdb-mlm"] == {"train": {"text": ["so so"], "row": [0]}}


def test_answers(loaded: dict[str, Any]) -> None:
    assert loaded["boolq"]["train"]["answer"] == ["true", "false"]
    assert loaded["boolq"]["train"]["context"] == ["it is", "no"]


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("conll2003", [["B-ORG", "O", "B-MISC"], ["B-PER", "I-PER"]]),
        ("wnut17", [["B-location", "I-location", "O"]]),
        ("msra-ner", [["B-ORG", "I-ORG", "O"]]),
    ],
)
def test_tags(loaded: dict[str, Any], name: str, tags: list[list[str]]) -> None:
    assert loaded[name]["train"]["tags"] == tags


def test_a_model_is_served_and_cached(tmp_path: Path) -> None:
    with Hub() as hub:
        add_roberta(hub, tmp_path / "roberta")
        environment = hub.environment(tmp_path / "cache")
        first = ask(MODEL, **environment)
        assert any("model.safetensors" in request for request in hub.requests)
    assert ask(MODEL, **{**environment, "HF_HUB_OFFLINE": "1"}) == first


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with Hub() as hub:
        code = "from registry import tasks; from registry.data.source import Source; tasks.get('sst2').load(Source())"
        finished = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **hub.environment(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert finished.returncode != 0
    assert "data set nyu-mll/glue (sst2) cannot be loaded" in finished.stderr.splitlines()[-1]
