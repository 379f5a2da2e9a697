"""A grid of runs: tasks x models x variants x train fractions x seeds, from YAML or options.

    tasks: [imdb]
    models: [bilstm, {name: frozen, model: minilm, freeze: encoder}]
    fractions: [0.25, 1]
    seeds: [1, 2, 3]
    options: {epochs: 3}

An entry of `tasks`, `models` or `variants` is a name or a mapping of options of train.py with a
`name`; `after` of a model or variant holds the options of a run that is trained first and whose
weights it starts from: one for each seed, or one for all where `after` names a `seed`. This module imports no torch.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from registry.grid_values import Entry, checked_entries, checked_numbers, checked_options, listed
from registry.resolving import suggestion
from registry.run_directory import file_digest, file_name

AXES = ("tasks", "models", "variants", "fractions", "seeds")
KEYS = (*AXES, "options", "evaluate_on", "title", "note")
AXIS_OF = {"task": "tasks", "model": "models", "train_fraction": "fractions", "seed": "seeds"}
"""Options that an axis sets, cell by cell."""

FILES = ("plugin_file", "train_file", "validation_file", "test_file")


@dataclass(frozen=True)
class Grid:
    """The axes of a comparison, validated.

    Args:
        options: of every cell, unless its task, model or variant says otherwise.
        overrides: of every cell, whatever else is said.
        evaluate_on: tasks that every trained model is scored on as well.
        data: task -> where its data lies on this machine.
        checkpoints: model of the grid -> the directory that stands for it on this machine.
        launched_with: configuration of the launcher, where another than the default one is named.
    """

    tasks: tuple[Entry, ...]
    models: tuple[Entry, ...]
    variants: tuple[Entry, ...] = (Entry(""),)
    fractions: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    evaluate_on: tuple[str, ...] = ()
    title: str = ""
    note: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    launched_with: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        labels: how it is named in tables: task, model, variant, fraction, seed.
        options: what train.py is given, but for the output directory.
        after: the run that must be there first; its weights are where this one starts.
    """

    labels: dict[str, Any]
    options: dict[str, Any]
    after: Cell | None = None
    published: float | None = None
    launched_with: str | None = None

    @cached_property
    def slug(self) -> str:
        """The name of its directory; other options, or files of other content, make another name, so that no old result
        is taken for a new one."""
        given: dict[str, Any] = {"options": self.options, "after": self.after.slug if self.after else None}
        named = [*(self.options.get(name) for name in FILES), self.launched_with]
        files = _contents([str(name) for name in named if name])
        if files:
            given["files"] = files
        digest = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()[:6]
        parts = [str(value) for value in self.labels.values() if value not in ("", None)]
        return file_name("-".join([*parts, digest]))

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        named = {"fraction": lambda v: f"{100 * v:g} %", "seed": lambda v: f"seed {v}"}
        return " · ".join(named.get(k, str)(v) for k, v in self.labels.items() if v not in ("", None))


def _contents(patterns: Sequence[str]) -> dict[str, str]:
    """File -> what is in it, of the files and globs that an option names."""
    named = [Path(path) for pattern in patterns for path in (glob.glob(pattern, recursive=True) or [pattern])]
    return {str(path): _content(path, path.stat().st_mtime_ns) for path in sorted(named) if path.is_file()}


@cache
def _content(path: Path, modified: int) -> str:
    return file_digest(path)


def build_grid(
    values: Mapping[str, Any],
    where: str = "grid",
    overrides: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    checkpoints: Mapping[str, str] | None = None,
    launched_with: str | None = None,
) -> Grid:
    """A validated grid from plain values, with the keys of the YAML file.

    Args:
        where: what messages call the grid.
        overrides, data, checkpoints, launched_with: what `Grid` says of them.

    Raises:
        ValueError: a key or option is unknown or a value wrong; says which, and what is close.
    """
    for key in values:
        if key not in KEYS:
            raise ValueError(f"{where}: unknown key {key!r}{suggestion(key, KEYS)}")
    for key in ("tasks", "models"):
        if not values.get(key):
            raise ValueError(f"{where}: {key} is missing: a comparison needs at least one task and one model")
    tasks = checked_entries(values["tasks"], "task", where)
    names = [task.name for task in tasks]
    grid = Grid(
        tasks=tasks,
        models=checked_entries(values["models"], "model", where, names),
        variants=checked_entries(values.get("variants") or [{"name": ""}], "variant", where, names),
        fractions=checked_numbers(values.get("fractions"), "train_fraction", f"{where}: fractions"),
        seeds=checked_numbers(values.get("seeds"), "seed", f"{where}: seeds"),
        options=checked_options(values.get("options") or {}, f"{where}: options"),
        evaluate_on=tuple(dict.fromkeys(map(str, listed(values.get("evaluate_on"))))),
        title=str(values.get("title") or ""),
        note=str(values.get("note") or ""),
        overrides=checked_options(overrides or {}, "--set"),
    )
    for option, axis in AXIS_OF.items():
        if option in grid.overrides and getattr(grid, axis):
            raise ValueError(f"--set {option}: the {axis} of this comparison say it; give --{axis} instead")
    check_axes(grid, where)
    cells = expand(grid)
    given = [cell.options for cell in (*prerequisites(cells), *cells)]
    check_places("data", data or {}, [*(options["task"] for options in given), *grid.evaluate_on])
    check_places("checkpoint", checkpoints or {}, [options["model"] for options in given])
    return replace(grid, data=data or {}, checkpoints=checkpoints or {}, launched_with=launched_with)


def check_axes(grid: Grid, where: str) -> None:
    """ValueError where the axis of fractions or seeds would overrule what an entry or the options say."""
    entries = [(f" {entry.name}", entry.options) for entry in (*grid.tasks, *grid.models, *grid.variants)]
    for option, axis in (("train_fraction", "fractions"), ("seed", "seeds")):
        for name, options in ((": options", grid.options), *entries):
            if option in options and getattr(grid, axis):
                raise ValueError(f"{where}{name}: {option} is what the {axis} of this comparison say; leave one out")


def expand(grid: Grid) -> list[Cell]:
    """Every cell, task by task, in the order of the axes."""
    fractions: Sequence[float | None] = grid.fractions or (None,)
    seeds: Sequence[int | None] = grid.seeds or (None,)
    axes = itertools.product(grid.tasks, grid.models, grid.variants, fractions, seeds)
    return [_cell(grid, *place) for place in axes]


def prerequisites(cells: Sequence[Cell]) -> list[Cell]:
    """The runs that other cells start from, each once."""
    return list({cell.after.slug: cell.after for cell in cells if cell.after}.values())


def check_places(option: str, given: Mapping[str, str], known: Sequence[str]) -> None:
    """ValueError where --data or --checkpoint gives a place for what is not compared: a mistyped name."""
    for name in given:
        if name not in known:
            names = ", ".join(dict.fromkeys(known)) or "none"
            raise ValueError(f"--{option} {name}=…: nothing would read it; this comparison has {names}")


def _cell(grid: Grid, task: Entry, model: Entry, variant: Entry, fraction: float | None, seed: int | None) -> Cell:
    labels = {"task": task.name, "model": model.name, "variant": variant.name, "fraction": fraction, "seed": seed}
    chosen = {name: value for name, value in (("train_fraction", fraction), ("seed", seed)) if value is not None}
    options = _merged(
        grid.options,
        {"task": task.name},
        task.options,
        {"model": model.name},
        model.options,
        variant.options,
        chosen,
        grid.overrides,
    )
    after = None
    if before := _merged(model.after, variant.after):
        seeded = {"seed": seed} if seed is not None else {}
        first = _merged(grid.options, {"model": options["model"]}, seeded, before, grid.overrides)
        named = {"task": first["task"], "model": model.name, "seed": first.get("seed")}
        after = Cell(named, _placed(grid, first), launched_with=grid.launched_with)
    known = [found for entry in (model, variant) if (found := entry.value(task.name, fraction)) is not None]
    return Cell(labels, _placed(grid, options), after, known[0] if known else None, grid.launched_with)


def _placed(grid: Grid, options: dict[str, Any]) -> dict[str, Any]:
    """The options with this machine's places for their data and their model."""
    place = {"data_dir": grid.data[options["task"]]} if options["task"] in grid.data else {}
    return {**options, "model": grid.checkpoints.get(options["model"], options["model"]), **place}


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win; KEY=VALUE options are merged key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = {**merged[name], **value} if both else value
    return merged
