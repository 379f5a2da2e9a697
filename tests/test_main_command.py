"""The README's main command, word for word, against a stand-in of the Hub; offline again; and with the real Hub.

Repositories and columns of the stand-in are those that tests/hub_repositories.py says it read.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub
from hub_repositories import add_data_sets, add_roberta

ROOT = Path(__file__).parents[1]
COMMAND = "accelerate launch scripts/train.py --task sst2 --model roberta-base"


def launch(folder: Path, options: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command in a folder that holds scripts/, as a clone does."""
    if not (folder / "scripts").exists():
        (folder / "scripts").symlink_to(ROOT / "scripts")
    program, *arguments = shlex.split(f"{COMMAND} {options}")
    return subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REGISTRY_CACHE": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_main_command_from_the_hub_and_again_from_its_cache(tmp_path):
    small = "--batch-size 4 --epochs 1"
    with Hub() as hub:
        add_data_sets(hub, tmp_path / "repositories", "sst2")
        add_roberta(hub, tmp_path / "repositories")
        environment = hub.environment(tmp_path / "hub-cache")
        first = launch(tmp_path, small, environment)
        assert first.returncode == 0, first.stderr[-3000:]
    again = launch(tmp_path, small, {**environment, "HF_HUB_OFFLINE": "1"})
    assert again.returncode == 0, again.stderr[-3000:]
    runs = tmp_path / "runs"
    assert sorted(p.name for p in runs.iterdir()) == ["sst2-roberta-base-1", "sst2-roberta-base-2"]
    values = [json.loads((run / "metrics.json").read_text()) for run in sorted(runs.iterdir())]
    assert values[0]["validation"] == values[1]["validation"]
    assert values[0]["validation"]["support"] > 0
    record = json.loads((runs / "sst2-roberta-base-1" / "run.json").read_text())
    assert record["head"]["labels"] == ["negative", "positive"]
    assert record["model"]["source"]["path"] == "FacebookAI/roberta-base"


@pytest.mark.network
@pytest.mark.timeout(3600)
def test_the_main_command_with_the_real_hub(tmp_path):
    done = launch(tmp_path, "--max-train-rows 64 --max-validation-rows 64 --epochs 1", {})
    assert done.returncode == 0, done.stderr[-3000:]
    values = json.loads((tmp_path / "runs" / "sst2-roberta-base-1" / "metrics.json").read_text())
    assert values["validation"]["support"] == 64
