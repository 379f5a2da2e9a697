"""What is measured: cases, each a name and training options, from a YAML file or the command line.

    SST-2:
      task: sst2
      max_train_rows: 1024
      vary: {max_length: [16, 128], processes: [1, 2]}

`vary` makes one case of each value, the other options being what they are. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.grids import check_places
from registry.options import fields
from registry.resolving import suggestion

VARY, PROCESSES = "vary", "processes"


@dataclass(frozen=True)
class Case:
    """Options of train.py, and the processes that train."""

    name: str
    options: dict[str, Any]
    processes: int = 1


def read_cases(file: str | None, typed: Mapping[str, Any], data: Mapping[str, str]) -> list[Case]:
    """The cases of a file, or the one that the typed options make.

    Args:
        typed: options that hold for every case.
        data: task -> the directory of its data.

    Raises:
        ValueError: an entry that is no mapping, an unknown option, axes without lists, or no number of processes.
    """
    named = _mapping(file) if file else {str(typed.get("task", "demo")): {}}
    cases = []
    for name, values in named.items():
        if not isinstance(values, dict):
            raise ValueError(f"{file}: {name!r} must be options of train.py, not {values!r}")
        options = {str(key).replace("-", "_"): value for key, value in values.items()}
        axes = _axes(file, name, options.pop(VARY, {}))
        processes = options.pop(PROCESSES, 1)
        _check_names(file, name, [*options, *axes])
        _check_processes(file, name, [processes, *axes.get(PROCESSES, [])])
        options |= typed
        if options.get("task") in data:
            options["data_dir"] = data[options["task"]]
        base = Case(name, options, processes)
        cases += [varied(base, axis, value) for axis, found in axes.items() for value in found] or [base]
    check_places("data", data, [str(case.options.get("task", "demo")) for case in cases])
    return cases


def varied(case: Case, axis: str, value: Any) -> Case:
    """The case with another value of one option, or other processes; its name says so."""
    name = f"{case.name}, {axis.replace('_', ' ')} {value}"
    if axis == PROCESSES:
        return Case(name, case.options, value)
    return Case(name, {**case.options, axis: value}, case.processes)


def _mapping(file: str) -> dict[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--cases {file}: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict) or not loaded:
        raise ValueError(f"--cases {file}: expected names of cases with options of train.py under each")
    return {str(name): values for name, values in loaded.items()}


def _axes(file: str | None, case: str, found: Any) -> dict[str, list[Any]]:
    if not isinstance(found, dict) or not all(isinstance(values, list) and values for values in found.values()):
        raise ValueError(f"{file}: {case}: vary must be options with a list of values each, not {found!r}")
    return {str(name).replace("-", "_"): values for name, values in found.items()}


def _check_processes(file: str | None, case: str, numbers: list[Any]) -> None:
    for number in numbers:
        if type(number) is not int or number < 1:
            raise ValueError(f"{file}: {case}: processes must be a whole number from 1, not {number!r}")


def _check_names(file: str | None, case: str, names: list[str]) -> None:
    known = {name for _, name, _ in fields()} | {PROCESSES}
    for name in names:
        if name not in known:
            raise ValueError(f"{file}: {case}: unknown option {name!r}{suggestion(name, known)}")
