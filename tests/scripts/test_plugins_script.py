"""scripts/plugins.py: what is listed, shown, checked and begun, and how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "plugins.py"

TASK = """
from registry.tasks.classification import Classification
mood = Classification(description="Two moods", labels=("bad", "good"))
"""


def run(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, with packages "installed" in `path`."""
    variables = {**os.environ, "PYTHONPATH": str(path or ""), "HF_HUB_OFFLINE": "1", "COLUMNS": "150", **environment}
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=variables)


def install(site: Path, name: str, target: str, source: str = "", group: str = "registry.tasks") -> None:
    """A distribution of one entry point: its metadata, and its module where there is a source."""
    distribution = f"{name}-pack"
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    if source:
        site.joinpath(f"{target.split(':')[0]}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path, "mood", "mood_pack:mood", TASK)
    install(tmp_path, "bad", "bad_pack:mood", "import no_such_module")
    return tmp_path


def test_list_says_where_names_are_from(site: Path) -> None:
    rows = json.loads(run("list", "--json", path=site).stdout)
    by_name = {(row["kind"], row["name"]): row for row in rows}
    assert by_name["task", "sst2"]["family"] == "classification"
    assert by_name["task", "sst2"]["distribution"] == "finetune-registry"
    assert by_name["model", "tiny"]["heads"] == ["sequence-classification", "token-classification", "masked-lm"]
    mood = {"distribution": "mood-pack", "version": "1.0", "target": "mood_pack:mood", "sha256": "", "note": ""}
    assert by_name["task", "mood"] == {"kind": "task", "name": "mood", "description": "", **mood}


def test_list_loads_plugins_when_told(site: Path) -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "mood", "bad", "--load", "--json", path=site).stdout)}
    assert (rows["mood"]["family"], rows["mood"]["description"]) == ("classification", "Two moods")
    assert rows["bad"]["broken"].endswith(
        "(bad_pack:mood) failed: ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_list_takes_wildcards_and_switches_plugins_off(site: Path) -> None:
    listed = run("list", "*oo*", "sst?", path=site).stdout
    assert "mood-pack 1.0" in listed
    assert "sst2" in listed
    assert "tiny" not in listed
    off = run("--no-plugins", "list", "mood", path=site)
    assert (off.returncode, off.stderr) == (2, "error: nothing registered fits mood\n")
    assert run("list", "mood", path=site, REGISTRY_PLUGINS="bad-pack").returncode == 2


def test_natural_order() -> None:
    from registry.catalogue import natural

    assert sorted(["net10", "net2", "Net1", "a"], key=natural) == ["a", "Net1", "net2", "net10"]


def test_show(site: Path) -> None:
    shown = json.loads(run("show", "mood", "--json", path=site).stdout)[0]
    assert shown["origin"] == "mood-pack 1.0 (mood_pack:mood)"
    assert shown["labels"] == ["bad", "good"]
    options = {option["name"]: option for option in shown["options"]}
    assert options["label_smoothing"]["type"] == "float"
    assert options["label_smoothing"]["default"] == 0.0
    assert options["class_weights"]["type"] == "none|balanced"
    assert "labels" not in options
    assert "class_weights" in run("show", "mood", path=site).stdout


def test_wrong_names_are_one_line(site: Path) -> None:
    for arguments, said in {
        ("show", "moood"): "error: no task or model 'moood'; did you mean mood",
        ("show", "bad"): "error: task 'bad': plugin bad-pack 1.0 (bad_pack:mood) failed: ModuleNotFoundError: ",
        ("check",): "error: say which: names of tasks or models, or --all",
        ("new", "task", "sst2"): "error: task 'sst2' is registered already, by finetune-registry",
        ("new", "task", "../x"): "error: '../x' cannot be a package's name",
    }.items():
        done = run(*arguments, path=site)
        assert done.returncode == 2, done.stdout
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1


def test_check_lists_every_check_and_fails_where_one_does(site: Path) -> None:
    done = run("check", "mood", "bad", path=site)
    assert done.returncode == 1
    assert "  passed   Learns its own sample to low loss\n" in done.stdout
    assert "  FAILED   Can be loaded: task 'bad': plugin bad-pack 1.0" in done.stdout
    assert done.stdout.endswith("1 failed\n")


def test_plugin_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(TASK + "\nfrom registry.tasks import register\nregister('mine')(mood)\n")
    rows = json.loads(run("--plugin-file", str(path), "list", "mine", "--json").stdout)
    assert [(row["name"], row["target"], len(row["sha256"])) for row in rows] == [("mine", str(path), 64)]


@pytest.mark.parametrize("kind", ["task", "model"])
def test_new_writes_a_package_whose_object_is_registered(kind: str, tmp_path: Path) -> None:
    done = run("new", kind, "My-Own", "--directory", str(tmp_path))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / f"My-Own-{kind}"
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "pyproject.toml",
        f"my_own_{kind}.py",
        f"test_my_own_{kind}.py",
    }
    assert f'"My-Own" = "my_own_{kind}:my_own"' in (folder / "pyproject.toml").read_text()
    assert not list(folder.rglob("*$*"))
    again = run("new", kind, "My-Own", "--directory", str(tmp_path))
    assert again.stderr.endswith("is there already\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["task", "model"])
def test_what_new_writes_passes_its_own_tests(kind: str, tmp_path: Path) -> None:
    run("new", kind, "mine", "--directory", str(tmp_path))
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(tests, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_listing_200_plugins_takes_less_than_a_second(tmp_path: Path) -> None:
    for number in range(200):
        kind = ("registry.tasks", "registry.models")[number % 2]
        install(tmp_path, f"thing{number}", f"thing{number}_pack:thing", "raise AssertionError('imported')", group=kind)
    times = []
    for _ in range(3):
        before = os.times()
        done = run("list", "--json", path=tmp_path)
        after = os.times()  # the child's processor time: what else the machine does is not measured
        times.append(sum(after[2:4]) - sum(before[2:4]))
    assert len([row for row in json.loads(done.stdout) if row["name"].startswith("thing")]) == 200
    assert min(times) < 1.0
