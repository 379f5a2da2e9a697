"""scripts/compare.py from the command line: grids by options and files, runs side by side, bad input."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load_script():
    specification = importlib.util.spec_from_file_location("compare_script", SCRIPTS / "compare.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`compare("--tasks", "demo", …)` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    script = load_script()

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(script.main, [str(argument) for argument in arguments])

    return run


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    started = time.perf_counter()
    lines = (
        "import runpy, sys",
        "sys.argv = ['compare.py', '--help']",
        f"runpy.run_path({str(SCRIPTS / 'compare.py')!r}, run_name='__main__')",
    )
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "; ".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0
    assert "compare RUNS" in done.stdout
    assert time.perf_counter() - started < 5
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "matplotlib", "jinja2", "transformers"}


def test_a_grid_of_options_is_listed(compare) -> None:
    result = compare("--tasks", "demo", "--models", "tiny,bow", "--fractions", "0.5,1", "--seeds", "1,2", "--dry-run")
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 8
    assert "waiting    demo · bow · 50 % · seed 2" in result.output


def test_the_command_line_wins_over_the_file(compare, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("tasks: [demo]\nmodels: [tiny, bow]\nseeds: [1, 2, 3]\n")
    result = compare("--grid", "grid.yaml", "--seeds", "7", "--models", "bow", "--dry-run")
    assert result.output.split() == ["waiting", "demo", "·", "bow", "·", "seed", "7"]


@pytest.mark.parametrize("path", sorted((SCRIPTS / "comparisons").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_grid_is_valid(compare, path: Path) -> None:
    result = compare("--grid", path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "waiting" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "tiny"), "tasks is missing"),
        (("--tasks", "demoo", "--models", "tiny"), "unknown task 'demoo'"),
        (("--tasks", "demo", "--models", "tiny", "--set", "learning_rat=1"), "did you mean learning_rate"),
        (("--tasks", "demo", "--models", "tiny", "--set", "epochs"), "expected NAME=VALUE"),
        (("--tasks", "demo", "--models", "tiny", "--seeds", "a"), "'a' is not a number"),
        (("--grid", "missing.yaml"), "--grid missing.yaml"),
        (("nowhere",), "nowhere: no run.json"),
        (("nowhere", "--seeds", "1"), "--seeds makes a grid"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(compare, arguments, message) -> None:
    result = compare(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_grid_of_real_runs_end_to_end(tmp_path: Path) -> None:
    """Two baselines on two shares of the demo rows, trained by train.py, scored on another task's rows."""
    command = [sys.executable, str(SCRIPTS / "compare.py"), "--tasks", "demo", "--models", "bow,lexicon"]
    command += ["--fractions", "0.1,1", "--seeds", "1", "--set", "epochs=1", "--output-dir", str(tmp_path / "out")]
    films = "sentence\tlabel\nit is a good film\t1\nit is a bad film\t0\n"
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text(films, encoding="utf-8")
    command += ["--evaluate-on", "sst2", "--data", f"sst2={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("done ") == 4
    assert "sst2 validation accuracy" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8"), done.stdout
    assert "| demo: test accuracy | 10 % | 100 % |" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "comparison.html").is_file()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.stdout.count("kept ") == 4
