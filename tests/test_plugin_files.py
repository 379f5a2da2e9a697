"""Plugin files of the same name are modules of their own: every run's copy is called plugin.py."""

from __future__ import annotations

from pathlib import Path

from registry import tasks
from registry.plugins import describe_options, load_plugin_file

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal
import registry.tasks
from registry.options import option
from registry.tasks.mlm import MaskedLM

{alias} = Literal["{first}", "{second}"]

@dataclass(frozen=True, kw_only=True)
class Mine(MaskedLM):
    wanted: {alias} = option("{first}", "What is wanted.")

registry.tasks.register("{name}")(Mine())
"""


def test_annotations_are_looked_up_in_the_file_that_they_stand_in(tmp_path: Path) -> None:
    files = {
        "moody": {"alias": "Mood", "first": "glad", "second": "sad"},
        "tasty": {"alias": "Taste", "first": "sweet", "second": "sour"},
    }
    for name, values in files.items():
        (tmp_path / name).mkdir()
        path = tmp_path / name / "plugin.py"
        path.write_text(SOURCE.format(name=name, **values))
        load_plugin_file(path)
    for name, values in files.items():
        [wanted] = [option.type for option in describe_options(tasks.get(name)) if option.name == "wanted"]
        assert values["first"] in wanted
        assert values["second"] in wanted


def test_copies_of_one_file_are_one_plugin(tmp_path: Path) -> None:
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        path = tmp_path / run / "plugin.py"
        path.write_text(SOURCE.format(name="copied", alias="Kind", first="one", second="two"))
        load_plugin_file(path)
    assert tasks.get("copied").wanted == "one"
