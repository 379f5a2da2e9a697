"""What is registered, from where, and does it work.

python scripts/plugins.py list "bert*"
python scripts/plugins.py show sst2
python scripts/plugins.py check my-model
python scripts/plugins.py new task mood
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from registry.cli import friendly


@click.group()
@click.option("--no-plugins", is_flag=True, help="Only what is built in; REGISTRY_PLUGINS=a,b allows some packages.")
@click.option(
    "--plugin-file", type=click.Path(dir_okay=False), multiple=True, help="File that registers tasks or models."
)
@friendly
def main(no_plugins: bool, plugin_file: tuple[str, ...]) -> None:
    """List, show, check and begin tasks and models."""
    from registry.entry_points import switch_off
    from registry.plugins import load_plugin_file

    if no_plugins:
        switch_off()
    for path in plugin_file:
        load_plugin_file(path)


@main.command(name="list")
@click.argument("patterns", nargs=-1)
@click.option("--load", is_flag=True, help="Import plugins too, to say what they are and which of them fail.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@friendly
def list_(patterns: tuple[str, ...], load: bool, as_json: bool) -> None:
    """Tasks and models, all or those that fit PATTERNS ("bert*"); imports no plugin."""
    from registry.catalogue import listing

    rows = listing(patterns, load=load)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for kind, column in (("task", "family"), ("model", "heads")):
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            _table(
                [f"{kind}s", column, "description", "from"],
                [[row["name"], _short(row.get(column)), _remark(row), _source(row)] for row in chosen],
            )
    if not rows:
        raise ValueError(f"nothing registered fits {' '.join(patterns)}")


@main.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@friendly
def show(name: str, as_json: bool) -> None:
    """Everything about the task or model NAME: its source, its labels or heads, its options."""
    from registry.catalogue import details

    found = details(name)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for item in found:
        options = item.pop("options")
        _table([f"{item.pop('kind')} {item.pop('name')}", ""], [[key, _text(value)] for key, value in item.items()])
        if options:
            columns = ("name", "type", "default", "help")
            _table(["option", "type", "default", ""], [[_text(option[key]) for key in columns] for option in options])


@main.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every registered task and model.")
@click.option(
    "--path", default="", help="Hub id, directory or architecture that a model's configuration is taken from."
)
@click.option("--processes/--no-processes", default=True, help="Also train models in two processes.")
@friendly
def check(names: tuple[str, ...], everything: bool, path: str, processes: bool) -> None:
    """Whether tasks and models keep the contract, by learning something tiny; exit code 1 where one does not."""
    from registry.catalogue import KINDS, holding
    from registry.plugins import PluginError
    from registry.testing import Result, model_results, task_results

    chosen = {name: holding(name) for name in names}
    if everything:
        chosen = {name: holding(name) for registry in KINDS.values() for name in registry.names()}
    if not chosen:
        raise ValueError("say which: names of tasks or models, or --all")
    failed = 0
    for name, tables in chosen.items():
        for kind, registry in tables.items():
            click.secho(f"{kind} {name}", bold=True)
            try:
                item = registry.get(name)
                made = task_results(item) if kind == "task" else model_results(item, path=path, processes=processes)
                for result in made:
                    failed += bool(result.problem)
                    _say(result)
            except PluginError as error:
                failed += 1
                _say(Result("Can be loaded", problem=str(error)))
    click.echo(f"{failed} failed" if failed else "all passed")
    raise SystemExit(1 if failed else 0)


@main.command()
@click.argument("kind", type=click.Choice(["task", "model"]))
@click.argument("name")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where it goes.")
@friendly
def new(kind: str, name: str, directory: Path) -> None:
    """Write a small package that registers a task or model called NAME, with a test."""
    from registry.scaffold import write_package

    path = write_package(kind, name, directory)
    click.echo(f"wrote {path}; next:\n  pip install -e {path}\n  python scripts/plugins.py check {name}")


def _table(columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table, end="\n\n")


def _remark(row: dict[str, Any]) -> str:
    return " ".join(filter(None, (row["description"], row["note"] and f"({row['note']})", row.get("broken"))))


def _short(nature: str | list[str] | None) -> str:
    return _text(nature).replace("-classification", "")


def _source(row: dict[str, Any]) -> str:
    from registry.plugins import OWN

    return "built in" if row["distribution"] == OWN else f"{row['distribution'] or row['target']} {row['version']}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={part}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _say(result: Any) -> None:
    if result.problem:
        click.secho(f"  FAILED   {result.check}: {result.problem}", fg="red")
    elif result.skipped:
        click.secho(f"  skipped  {result.check}: {result.skipped}", fg="yellow")
    else:
        click.echo(f"  passed   {result.check}")


if __name__ == "__main__":
    main()
