"""A third party's package, for real: pip installs it beside the built wheel, with this project's sources out of reach.

Only `scripts/` is copied; torch and the like come from the environment that runs the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BROKEN = {
    "import-error": "import no_such_module",
    "syntax-error": "def broken(:",
    "slow-import": "import time\ntime.sleep(600)",
    "other-contract": "class Thing:\n    contract = 99\nthing = Thing()",
}
"""Packages that go wrong when their module is imported: name -> source."""


@dataclass(frozen=True)
class Place:
    """A virtual environment with the wheel, and a folder with the scripts."""

    folder: Path
    python: Path

    @property
    def site(self) -> Path:
        """Where its packages lie."""
        return next((self.folder / "venv" / "lib").glob("python*/site-packages"))

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """A script with its arguments, in the folder."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "REGISTRY_PLUGINS")}
        environment = {**kept, "HF_HUB_OFFLINE": "1", "REGISTRY_CACHE": str(self.folder / "cache"), "COLUMNS": "150"}
        words = [str(self.python), *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True, cwd=self.folder, env=environment)

    def succeed(self, *command: object) -> str:
        """What it prints; it must end well."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def pip(self, *arguments: object) -> None:
        """pip for this environment, without an index."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "-q", *arguments]
        subprocess.run(list(map(str, command)), check=True, cwd=self.folder)

    def install(self, *sources: object) -> None:
        """Packages from folders or wheels."""
        self.pip("install", "--no-index", "--no-deps", "--no-build-isolation", *sources)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("elsewhere")
    source = folder / "source"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("registry", "scripts"):
        shutil.copytree(ROOT / name, (source if name == "registry" else folder) / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    made = Place(folder, folder / "venv" / "bin" / "python")
    made.site.joinpath("heavy.pth").write_text(sysconfig.get_paths()["purelib"])
    made.pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", folder / "wheels", source)
    shutil.rmtree(source)
    made.install(*(folder / "wheels").glob("finetune_registry-*.whl"))
    where = made.succeed("-c", "import registry; print(registry.__file__)")
    assert Path(where.strip()).is_relative_to(folder / "venv")
    return made


@pytest.mark.slow
def test_a_package_of_somebody_else(place: Place, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "sample_plugin", tmp_path / "sample_plugin")
    place.install(tmp_path / "sample_plugin")
    listed = {row["name"]: row for row in json.loads(place.succeed("scripts/plugins.py", "list", "--json"))}
    for name in ("weather", "gated-bag", "small-distilbert"):
        assert (listed[name]["distribution"], listed[name]["version"]) == ("sample-plugin", "1.2.0")
    checked = place.succeed("scripts/plugins.py", "check", "weather", "gated-bag", "small-distilbert")
    assert checked.endswith("all passed\n")

    run = "runs/weather"
    place.succeed(
        "scripts/train.py", "--task", "weather", "--model", "gated-bag", "--output-dir", run,
        "--epochs", 3, "--task-option", "missed=3", "--model-option", "width=16",
    )  # fmt: skip
    record = json.loads((place.folder / run / "run.json").read_text())
    assert record["task"]["origin"]["distribution"] == "sample-plugin"
    assert record["model"]["origin"]["version"] == "1.2.0"
    assert (record["task"]["options"]["missed"], record["model"]["options"]["width"]) == (3.0, 16)
    metrics = json.loads((place.folder / run / "metrics.json").read_text())
    assert metrics["validation"]["cost"] == 0.0
    assert metrics["validation"]["accuracy"] == 1.0
    place.succeed("scripts/evaluate.py", run, "--split", "validation")
    predicted = json.loads(place.succeed("scripts/predict.py", run, "--text", "today heavy hail"))
    assert predicted["label"] == "storm"
    place.succeed(
        "scripts/train.py", "--task", "weather", "--model", "small-distilbert", "--max-updates", 5,
        "--output-dir", "runs/distilbert",
    )  # fmt: skip

    place.pip("uninstall", "-y", "sample-plugin")
    for script in ("evaluate.py", "predict.py"):
        done = place.run(f"scripts/{script}", run, *(["--text", "calm"] if script == "predict.py" else []))
        assert done.returncode == 2
        said = "task 'weather' comes from sample-plugin 1.2.0 (sample_plugin.tasks:weather), which is not there"
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    unknown = place.run("scripts/train.py", "--task", "weather")
    assert (unknown.returncode, unknown.stderr[:29]) == (2, "error: unknown task 'weather'")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["task", "model"])
def test_what_new_writes_installs_and_passes(place: Place, kind: str) -> None:
    place.succeed("scripts/plugins.py", "new", kind, "first-try")
    place.install(f"./first-try-{kind}")
    checked = place.succeed("scripts/plugins.py", "check", "first-try")
    assert checked.startswith(f"{kind} first-try\n")
    assert checked.endswith("all passed\n")
    place.pip("uninstall", "-y", f"first-try-{kind}")


@pytest.mark.slow
def test_broken_packages_disturb_nothing(place: Place) -> None:
    for name, source in {**BROKEN, "twin-a": "", "twin-b": ""}.items():
        module = name.replace("-", "_")
        place.site.joinpath(f"{module}.py").write_text(source)
        info = place.site / f"{module}-0.7.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.7\n")
        thing = "twin" if name.startswith("twin") else name
        info.joinpath("entry_points.txt").write_text(f"[registry.tasks]\n{thing} = {module}:thing\n")
    listed = place.succeed("scripts/plugins.py", "list")
    for name in (*BROKEN, "twin-a:twin", "twin-b:twin"):
        assert name in listed
    place.succeed("scripts/train.py", "--model", "bow", "--max-updates", 2, "--output-dir", "runs/undisturbed")
    for name, said in {
        "import-error": "plugin import-error 0.7 (import_error:thing) failed: ModuleNotFoundError: No module named",
        "syntax-error": "plugin syntax-error 0.7 (syntax_error:thing) failed: SyntaxError: invalid syntax",
        "other-contract": "(other-contract 0.7 (other_contract:thing)) keeps contract version 99; this is 1",
        "twin": "task 'twin' is registered by twin-a 0.7 (twin_a:thing) and twin-b 0.7 (twin_b:thing); say twin-a:twin",
    }.items():
        done = place.run("scripts/train.py", "--task", name)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
