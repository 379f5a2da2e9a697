"""scripts/compare.py from the command line: grids by options and files, runs side by side, bad input."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry import tasks

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
from fixture_runs import write_run

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
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(script.main, [str(argument) for argument in arguments])

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


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


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("model_option=dropout=0.2",), {"model_option": {"dropout": "0.2"}}),
        (
            ("model_option=dropout=0.2", "model-option=pooling=cls"),
            {"model_option": {"dropout": "0.2", "pooling": "cls"}},
        ),
    ],
)
def test_pairs_are_set_as_they_are_typed_elsewhere(compare, settings, expected) -> None:
    script = load_script()
    given = {
        "tasks": "demo",
        "models": "tiny",
        "settings": settings,
        "data": (),
        "checkpoints": (),
    }
    keys = ("grid_file", "fractions", "seeds", "evaluate_on", "plugin_file", "config_file")
    assert script.read_options(dict.fromkeys(keys) | given).overrides == expected


def test_the_command_line_wins_over_the_file(compare, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("tasks: [demo]\nmodels: [tiny, bow]\nseeds: [1, 2, 3]\n")
    result = compare("--grid", "grid.yaml", "--seeds", "7", "--models", "bow", "--dry-run")
    assert result.output.split() == ["waiting", "demo", "·", "bow", "·", "seed", "7"]


@pytest.mark.parametrize("path", sorted((SCRIPTS / "comparisons").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_grid_is_valid(compare, path: Path) -> None:
    result = compare("--grid", path, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "waiting" in result.output


GRID = ("--tasks", "demo", "--models", "tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "tiny"), "tasks is missing"),
        (("--tasks", "demoo", "--models", "tiny"), "unknown task 'demoo'"),
        (("--tasks", "demo", "--models", "tiny", "--set", "learning_rat=1"), "did you mean learning_rate"),
        (("--tasks", "demo", "--models", "tiny", "--set", "epochs"), "expected NAME=VALUE"),
        (("--tasks", "demo", "--models", "tiny", "--seeds", "a"), "'a' is not a whole number"),
        (("--grid", "missing.yaml"), "--grid missing.yaml"),
        (("nowhere",), "nowhere: no run.json"),
        (("nowhere", "--seeds", "1"), "--seeds is for a grid"),
        (("nowhere", "--grid", "grid.yaml"), "--grid is for a grid"),
        (("nowhere", "--set", "epochs=1"), "--set is for a grid"),
        (("nowhere", "--checkpoint", "minilm=/m"), "--checkpoint is for a grid"),
        (("nowhere", "--devices", "0"), "--devices is for a grid"),
        (("nowhere", "--config-file", "x.yaml"), "--config-file is for a grid"),
        (("nowhere", "--dry-run"), "--dry-run is for a grid"),
        (("nowhere", "--data", "imdb=/d", "--evaluate-on", "sst2"), "--data imdb=…: nothing would read it"),
        ((*GRID, "--data", "imbd=/d"), "--data imbd=…: nothing would read it; this comparison has demo"),
        ((*GRID, "--config-file", "nowhere.yaml", "--dry-run"), "--config-file nowhere.yaml: no such file"),
        ((*GRID, "--evaluate-on", "sst3", "--dry-run"), "unknown task 'sst3'"),
        (("--tasks", "demo", "--models", "tiny,bwo", "--dry-run"), "unknown model 'bwo'; did you mean bow"),
        ((*GRID, "--set", "seed=5", "--seeds", "1,2"), "--set seed: the seeds of this comparison say it"),
        ((*GRID, "--plugin-file", "nowhere.py", "--dry-run"), "--plugin-file nowhere.py: No such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(compare, arguments, message) -> None:
    result = compare(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "value"),
    [("*.csv", "*.csv"), ("|", "|"), ("@", "@"), (",", ","), ("a: [", "a: ["), ("3", 3), ("no", False)],
)
def test_a_setting_is_yaml_or_else_what_was_typed(typed, value) -> None:
    sys.path.insert(0, str(SCRIPTS))
    import compare

    assert compare.setting(typed) == value


@pytest.mark.parametrize("given", [("--plugin-file", "moods.py"), ("--set", "plugin_file=moods.py")])
def test_a_task_of_one_file_is_compared(
    compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, str]
) -> None:
    monkeypatch.setattr(tasks.REGISTRY, "_local", {})
    lines = (
        "from registry.tasks import register",
        "from registry.tasks.classification import Classification",
        'register("moods")(Classification(description="Two moods", labels=("negative", "positive")))',
    )
    (tmp_path / "moods.py").write_text("\n".join(lines))
    result = compare("--tasks", "moods", "--models", "bow", *given, "--dry-run")
    assert (result.exit_code, result.output) == (0, "waiting    moods · bow\n")


def test_a_metric_that_no_run_has_is_named_with_those_there_are(compare, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, rows=40) for name in ("a", "b")]
    result = compare(*runs, "--metric", "nosuch")
    assert result.exit_code == 2
    assert result.output.startswith("error: --metric nosuch: the runs have accuracy, ")
    assert compare(*runs, "--metric", "f1").exit_code == 0


def test_a_score_that_fails_is_no_success_and_a_run_given_twice_is_one(compare, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, rows=40) for name in ("a", "b")]
    result = compare(*runs, runs[0], "--evaluate-on", "trec", "--output-dir", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.count("on trec") == 2
    (tmp_path / "file").touch()
    refused = compare(*runs, "--output-dir", tmp_path / "file")
    assert refused.exit_code == 2
    assert refused.output.endswith(f"error: {tmp_path / 'file'}: File exists\n")


def test_asked_to_stop_while_it_scores_elsewhere_it_says_so(compare, tmp_path: Path, monkeypatch) -> None:
    runs = [write_run(tmp_path / name, rows=40) for name in ("a", "b")]
    monkeypatch.setattr("subprocess.run", lambda *given, **more: signal.raise_signal(signal.SIGTERM))
    result = compare(*runs, "--evaluate-on", "sst2", "--data", f"sst2={tmp_path}")
    assert (result.exit_code, result.output.startswith("asked to stop: ")) == (75, True)


def test_each_comparison_of_runs_has_its_own_place_and_no_plots_of_another(compare, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, rows=40, seed=seed) for seed, name in enumerate("abc")]
    assert compare(*runs).exit_code == compare(*runs[:2]).exit_code == 0
    places = sorted((tmp_path / "comparisons").iterdir())
    assert [place.name.rpartition("-")[0] for place in places] == ["a-and-1-more", "a-and-2-more"]
    (places[0] / "plots" / "old-time.png").touch()
    assert compare(*runs[:2]).exit_code == 0
    assert not (places[0] / "plots" / "old-time.png").exists()
    assert list((places[0] / "plots").glob("demo-*.png"))


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
