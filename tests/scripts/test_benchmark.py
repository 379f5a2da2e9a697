"""scripts/benchmark.py from the command line: a comparison to its table, and what it refuses before measuring."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


def train(*arguments: object) -> Result:
    specification = importlib.util.spec_from_file_location("benchmark_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return CliRunner().invoke(module.main, ["train", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rounds", 0), "0 is not in the range x>=1"),
        (("--output", "none/x.json"), "--output none/x.json: there is no folder none"),
        (("--output", "x.md"), "--output x.md: give a name that ends in .json"),
        (("--optimizer", "sgd"), "--optimizer sgd: Trainer would ignore it"),
        (("--peers", "others"), "--peers others: others is not one of default, best"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_comparison_is_of_equal_trainings(processes, tmp_path):
    options = {"task": "demo", "max_updates": 3, "max_train_rows": 100, "schedule": "one-cycle", "processes": processes}
    (tmp_path / "cases.yaml").write_text(json.dumps({"one": options}))
    command = [sys.executable, SCRIPT, "train", "--cases", tmp_path / "cases.yaml", "--peers", "default"]
    command += ["--rounds", "1"]
    done = subprocess.run([*command, "--output", tmp_path / "x.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (case,) = json.loads((tmp_path / "x.json").read_text())
    (ours,), (theirs,) = case["rounds"]["ours"], case["rounds"]["default"]
    assert ours["updates"] == theirs["updates"] == 3
    assert ours["metric_name"] == theirs["metric_name"]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.1)
    assert len((tmp_path / "x.md").read_text().splitlines()) == 6


def test_a_profile_shows_each_case_and_compares_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, str(SCRIPT), "train", "--task", "demo", "--model", "tiny", "--profile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "forward" in done.stdout
    assert "Trainer" not in done.stdout
