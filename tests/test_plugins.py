"""Names to objects: entry points from metadata, collisions, broken plugins, plugin files, provenance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import entry_points
from registry.entry_points import Origin
from registry.plugins import PluginError, Registry, UnknownName, load_plugin_file

GROUP = "registry.tasks"

THING = """
from registry.heads import Head

head = Head("sequence-classification", ("{name}",))
"""


class Site:
    """A directory on sys.path to which packages are "installed": their module and their metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, name: str, version: str, entries: dict[str, str], source: str = "", group: str = GROUP) -> None:
        """One distribution with one module, named after it."""
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
        if source:
            self.path.joinpath(f"{name.replace('-', '_')}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(entry_points.ALLOWED, raising=False)
    before = set(sys.modules)
    entry_points._scan.cache_clear()
    yield Site(tmp_path)
    entry_points._scan.cache_clear()
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def tasks() -> Registry[Any]:
    """A registry whose objects are cheap (heads); the rules are those of tasks and models."""
    return Registry("task", GROUP, {"sst2": "tests_builtin:head"}, "registry.heads:Head")


def test_names_come_from_metadata_and_import_nothing(site: Site, tasks: Registry[Any]) -> None:
    site.install("slow-pack", "2.1", {"slow": "slow_pack:head"}, "raise AssertionError('imported')")
    assert tasks.names() == ["slow", "sst2"]
    assert "slow" in tasks
    assert "slow-pack:slow" in tasks
    assert tasks.origin("slow") == Origin("slow-pack", "2.1", "slow_pack:head")
    assert [entry.name for entry in tasks.entries()] == ["slow", "sst2"]
    with pytest.raises(UnknownName, match=r"unknown task 'slwo'; did you mean slow\?"):
        tasks.get("slwo")
    assert "slow_pack" not in sys.modules


def test_a_plugin_is_resolved_on_use(site: Site, tasks: Registry[Any]) -> None:
    site.install("mood-pack", "1.0", {"mood": "mood_pack:head"}, THING.format(name="glad"))
    assert tasks.get("mood").labels == ("glad",)
    assert tasks.get("mood-pack:mood") is tasks.get("mood")
    assert tasks.get("Mood_Pack:mood") is tasks.get("mood")


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (
            "import no_such_module",
            "bad_pack:head",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def broken(:\n", "bad_pack:head", "SyntaxError: invalid syntax (bad_pack.py, line 1)"),
        ("raise SystemExit(3)", "bad_pack:head", "SystemExit: 3"),
        ("import os", "bad_pack:head", "AttributeError: module 'bad_pack' has no attribute 'head'"),
        ("", "gone_pack:head", "ModuleNotFoundError: No module named 'gone_pack'"),
    ],
)
def test_a_broken_plugin_is_named_and_disturbs_nothing(
    site: Site, tasks: Registry[Any], source: str, target: str, said: str
) -> None:
    site.install("bad-pack", "0.3", {"bad": target}, source)
    site.install("good-pack", "1.0", {"good": "good_pack:head"}, THING.format(name="fine"))
    with pytest.raises(PluginError) as raised:
        tasks.get("bad")
    assert str(raised.value) == f"task 'bad': plugin bad-pack 0.3 ({target}) failed: {said}"
    assert tasks.get("good").labels == ("fine",)
    assert tasks.names() == ["bad", "good", "sst2"]


def test_two_plugins_of_one_name_are_an_error_only_when_it_is_used(site: Site, tasks: Registry[Any]) -> None:
    site.install("a-pack", "1", {"mood": "a_pack:head", "a": "a_pack:head"}, THING.format(name="a"))
    site.install("b-pack", "2", {"mood": "b_pack:head"}, THING.format(name="b"))
    assert tasks.get("a").labels == ("a",)
    with pytest.raises(PluginError) as raised:
        tasks.get("mood")
    assert str(raised.value) == (
        "task 'mood' is registered by a-pack 1 (a_pack:head) and b-pack 2 (b_pack:head); say a-pack:mood or b-pack:mood"
    )
    assert tasks.get("b-pack:mood").labels == ("b",)
    assert [(e.name, e.note) for e in tasks.entries()] == [
        ("a", ""),
        ("a-pack:mood", "several plugins have this name"),
        ("b-pack:mood", "several plugins have this name"),
        ("sst2", ""),
    ]


def test_built_ins_win_with_a_warning(site: Site, tasks: Registry[Any], caplog: pytest.LogCaptureFixture) -> None:
    site.path.joinpath("tests_builtin.py").write_text(THING.format(name="ours"))
    site.install("thief-pack", "9", {"sst2": "thief_pack:head"}, THING.format(name="theirs"))
    assert tasks.get("sst2").labels == ("ours",)
    assert tasks.get("sst2").labels == ("ours",)
    assert caplog.messages == ["task 'sst2' is the built-in one; thief-pack:sst2 is the plugin's"]
    assert tasks.get("thief-pack:sst2").labels == ("theirs",)
    assert ("thief-pack:sst2", "finetune-registry has this name") in [(e.name, e.note) for e in tasks.entries()]


def test_the_allow_list_and_the_switch(site: Site, tasks: Registry[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("a-pack", "1", {"a": "a_pack:head"}, THING.format(name="a"))
    site.install("b_Pack", "1", {"b": "b_Pack:head"})
    monkeypatch.setenv("REGISTRY_PLUGINS", "b-pack, other")
    assert tasks.names() == ["b", "sst2"]
    with pytest.raises(UnknownName, match=r"task 'a' belongs to a-pack 1 \(a_pack:head\), which REGISTRY_PLUGINS"):
        tasks.get("a")
    monkeypatch.setenv("REGISTRY_PLUGINS", "all")  # switch_off writes it; monkeypatch puts the old value back
    entry_points.switch_off()
    assert tasks.names() == ["sst2"]


def test_objects_are_validated(site: Site) -> None:
    tasks: Registry[Any] = Registry("task", GROUP, {}, "registry.tasks.base:Task")
    site.install(
        "odd-pack",
        "1",
        {"dict": "odd_pack:mapping", "future": "odd_pack:Future", "abstract": "odd_pack:Abstract"},
        "from typing import ClassVar\n"
        "from registry.tasks.base import Task\n"
        "mapping = {}\n"
        "class Abstract(Task): pass\n"
        "class Future:\n    contract: ClassVar[int] = 2\n",
    )
    with pytest.raises(PluginError, match=r"task 'dict' \(odd-pack 1 \(odd_pack:mapping\)\) is a dict, not a Task"):
        tasks.get("dict")
    with pytest.raises(PluginError, match=r"'future' .* keeps contract version 2; this is 1: install a release"):
        tasks.get("future")
    with pytest.raises(PluginError, match=r"'abstract' .* cannot be made: Can't instantiate abstract class"):
        tasks.get("abstract")


def test_damaged_metadata_of_one_package_hides_no_other(site: Site, tasks: Registry[Any]) -> None:
    site.install("a-pack", "1", {"a": "a_pack:head"}, THING.format(name="a"))
    broken = site.path / "broken-1.dist-info"
    broken.mkdir()
    broken.joinpath("entry_points.txt").write_bytes(b"[registry.tasks]\n\xff\xfe = \n")
    site.path.joinpath("empty-1.dist-info").mkdir()
    assert tasks.names() == ["a", "sst2"]


def test_the_first_of_two_copies_of_a_package_counts(
    site: Site, tasks: Registry[Any], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = Site(tmp_path_factory.mktemp("older"))
    older.install("a-pack", "0.9", {"a": "a_pack:head"})
    monkeypatch.syspath_prepend(str(older.path))
    monkeypatch.syspath_prepend(str(site.path))
    site.install("a_pack", "1.0", {"a": "a_pack:head"})
    assert tasks.origin("a").version == "1.0"


def test_decorator(tasks: Registry[Any]) -> None:
    from registry.heads import Head

    first, second = Head("masked-lm"), Head("masked-lm", ("again",))
    assert tasks.register("mine")(first) is first
    assert tasks.get("mine") is first
    assert tasks.origin("mine") == Origin("", "", __name__)
    tasks.register("mine")(second)  # a notebook's cell that runs again
    assert tasks.get("mine") is second
    with pytest.raises(PluginError, match="task 'sst2' is built in; register under another name"):
        tasks.register("sst2")(first)
    with pytest.raises(PluginError, match=r"task 'text' \(.*test_plugins\) is a str, not a Head"):
        tasks.register("text")("no task")


PLUGIN_FILE = """
from dataclasses import dataclass
import registry.tasks

@dataclass(frozen=True)
class Local:
    name: str = "dataclasses need their module while it runs"

@registry.tasks.register("{name}")
class Mine({base}):
    pass
"""


def test_plugin_file_failures_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    with pytest.raises(PluginError, match=r"--plugin-file .*mine.py: No such file or directory"):
        load_plugin_file(path)
    path.write_text("import no_such_module")
    with pytest.raises(PluginError, match=r"mine.py failed: ModuleNotFoundError: No module named 'no_such"):
        load_plugin_file(path)
    path.write_text("x = 1")
    with pytest.raises(PluginError, match=r"mine.py registers nothing"):
        load_plugin_file(path)
    path.write_text(PLUGIN_FILE.format(name="from_file", base="object"))
    with pytest.raises(PluginError, match=r"task 'from_file' \(file .*mine.py\) is a type, not a Task"):
        load_plugin_file(path)


def test_recorded_names_resolve_to_what_the_run_was_made_with(site: Site, tasks: Registry[Any]) -> None:
    site.install("a-pack", "1", {"mood": "a_pack:head"}, THING.format(name="a"))
    recorded = {"distribution": "a-pack", "version": "0.9", "target": "a_pack:head", "sha256": ""}
    assert tasks.get_recorded("mood", recorded).labels == ("a",)
    with pytest.raises(UnknownName, match=r"task 'gone' comes from a-pack 0.9 \(a_pack:head\), which is not there"):
        tasks.get_recorded("gone", recorded)
    with pytest.raises(PluginError, match=r"task 'mood' came from z-pack 0.9 .*; here it is a-pack 1"):
        tasks.get_recorded("mood", {**recorded, "distribution": "z-pack"})
    with pytest.raises(UnknownName, match=r"comes from a plugin file: pass --plugin-file my.py"):
        tasks.get_recorded("mine", {"distribution": "", "version": "", "target": "my.py", "sha256": "ab"})


def test_a_recorded_target_chooses_no_import(site: Site, tasks: Registry[Any]) -> None:
    site.install("a-pack", "1", {"mood": "a_pack:head"}, THING.format(name="a"))
    site.path.joinpath("evil.py").write_text("raise AssertionError('imported')")
    stranger = {"distribution": "a-pack", "version": "1", "target": "evil:head", "sha256": ""}
    assert tasks.get_recorded("mood", stranger).labels == ("a",)
    with pytest.raises(UnknownName):
        tasks.get_recorded("evil:head", {})
    assert "evil" not in sys.modules


def test_importing_the_registry_imports_no_torch() -> None:
    code = "import sys, registry, registry.tasks, registry.models; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
