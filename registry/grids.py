"""A grid of runs: tasks x models x variants x train fractions x seeds, from YAML or options.

    tasks: [imdb]
    models: [bilstm, {name: frozen, model: minilm, freeze: encoder}]
    fractions: [0.25, 1]
    seeds: [1, 2, 3]
    options: {epochs: 3}

An entry of `tasks`, `models` or `variants` is a name or a mapping of options of train.py with a
`name`; a model's `after` holds the options of a run that is trained first and whose weights it
starts from. This module imports no torch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.options import fields
from registry.resolving import check, suggestion

AXES = ("tasks", "models", "variants", "fractions", "seeds")
KEYS = (*AXES, "options", "evaluate_on", "title", "note")
ENTRY_KEYS = ("name", "after", "published")


@dataclass(frozen=True)
class Entry:
    """One value of an axis: its name, the options it sets, and what it brings along."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    published: Any = None


@dataclass(frozen=True)
class Grid:
    """The axes of a comparison, validated.

    Args:
        options: of every cell, unless its task, model or variant says otherwise.
        overrides: of every cell, whatever else is said.
        evaluate_on: tasks that every trained model is scored on as well.
        data: task -> where its data lies on this machine.
        checkpoints: model of the grid -> the directory that stands for it on this machine.
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

    @property
    def slug(self) -> str:
        """The name of its directory; other options make another name, so that no old result is taken for a new one."""
        given = {"options": self.options, "after": self.after.slug if self.after else None}
        digest = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()[:6]
        parts = [str(value) for value in self.labels.values() if value not in ("", None)]
        return re.sub(r"[^\w.-]+", "-", "-".join([*parts, digest])).strip("-.")

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        named = {"fraction": lambda v: f"{100 * v:g} %", "seed": lambda v: f"seed {v}"}
        return " · ".join(named.get(k, str)(v) for k, v in self.labels.items() if v not in ("", None))


def build_grid(
    values: Mapping[str, Any],
    where: str = "grid",
    overrides: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    checkpoints: Mapping[str, str] | None = None,
) -> Grid:
    """A validated grid from plain values, with the keys of the YAML file.

    Args:
        where: what messages call the grid.
        overrides, data, checkpoints: what `Grid` says of them.

    Raises:
        ValueError: a key or option is unknown or a value wrong; says which, and what is close.
    """
    for key in values:
        if key not in KEYS:
            raise ValueError(f"{where}: unknown key {key!r}{suggestion(key, KEYS)}")
    for key in ("tasks", "models"):
        if not values.get(key):
            raise ValueError(f"{where}: {key} is missing: a comparison needs at least one task and one model")
    return Grid(
        tasks=_entries(values["tasks"], "task", where),
        models=_entries(values["models"], "model", where),
        variants=_entries(values.get("variants") or [{"name": ""}], "variant", where),
        fractions=tuple(_numbers(values.get("fractions"), float, f"{where}: fractions")),
        seeds=tuple(_numbers(values.get("seeds"), int, f"{where}: seeds")),
        options=_options(values.get("options") or {}, f"{where}: options"),
        evaluate_on=tuple(_listed(values.get("evaluate_on"))),
        title=str(values.get("title") or ""),
        note=str(values.get("note") or ""),
        overrides=_options(overrides or {}, "--set"),
        data=data or {},
        checkpoints=checkpoints or {},
    )


def expand(grid: Grid) -> list[Cell]:
    """Every cell, task by task, in the order of the axes."""
    fractions: Sequence[float | None] = grid.fractions or (None,)
    seeds: Sequence[int | None] = grid.seeds or (None,)
    axes = itertools.product(grid.tasks, grid.models, grid.variants, fractions, seeds)
    return [_cell(grid, *place) for place in axes]


def prerequisites(cells: Sequence[Cell]) -> list[Cell]:
    """The runs that other cells start from, each once."""
    return list({cell.after.slug: cell.after for cell in cells if cell.after}.values())


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
    if model.after:
        seeded = {"seed": seed} if seed is not None else {}
        first = _merged(grid.options, {"model": options["model"]}, model.after, seeded, grid.overrides)
        after = Cell({"task": first["task"], "model": model.name, "seed": seed}, _placed(grid, first))
    return Cell(labels, _placed(grid, options), after, _published(model, fraction) or _published(variant, fraction))


def _placed(grid: Grid, options: dict[str, Any]) -> dict[str, Any]:
    """The options with this machine's places for their data and their model."""
    place = {"data_dir": grid.data[options["task"]]} if options["task"] in grid.data else {}
    return {**options, "model": grid.checkpoints.get(options["model"], options["model"]), **place}


def _entries(given: Any, axis: str, where: str) -> tuple[Entry, ...]:
    entries = []
    for item in _listed(given):
        if not isinstance(item, Mapping):
            entries.append(Entry(str(item)))
            continue
        rest = {str(k).replace("-", "_"): v for k, v in item.items()}
        own = {key: rest.pop(key) for key in ENTRY_KEYS if key in rest}
        name = own.get("name", rest.get(axis))
        if name is None:
            raise ValueError(f"{where}: an entry of {axis}s has no name: {dict(item)}")
        options = _options(rest, f"{where}: {axis} {name!r}")
        after = _options(own.get("after") or {}, f"{where}: {axis} {name!r}, after")
        if own.get("after") and "task" not in after:
            raise ValueError(f"{where}: {axis} {name!r}: after needs a task")
        entries.append(Entry(str(name), options, after, own.get("published")))
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: two {axis}s are named {name!r}; give each a name of its own")
    return tuple(entries)


def _options(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: expected options as `name: value`, found {given!r}")
    known = {name: item for _, name, item in fields()}
    values = {str(name).replace("-", "_"): value for name, value in given.items()}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{where}: unknown option {name!r}{suggestion(name, known)}")
        try:
            check(known[name], value, "option")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return values


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win; KEY=VALUE options are merged key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
            merged[name] = {**merged[name], **value} if both else value
    return merged


def _published(entry: Entry, fraction: float | None) -> float | None:
    value = entry.published
    if isinstance(value, Mapping):
        value = next((v for k, v in value.items() if float(k) == (1.0 if fraction is None else fraction)), None)
    return None if value is None else float(value)


def _numbers(given: Any, kind: type, where: str) -> Iterator[Any]:
    for value in _listed(given):
        try:
            number = kind(value)
        except (TypeError, ValueError):
            raise ValueError(f"{where}: {value!r} is not a number") from None
        yield number


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple)) else [given]
