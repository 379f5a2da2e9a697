"""Our engine beside transformers' Trainer: the same model, rows and settings, in turn, in one run.

python scripts/benchmark.py train --task sst2 --model roberta-base --max-train-rows 4096 --epochs 1
python scripts/benchmark.py train --cases scripts/benchmarks/speed.yaml --model minilm --output speed.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from registry.cli import GroupedCommand, friendly, training_options, typed_values


@click.group()
def main() -> None:
    """Measure training and serving."""


@main.command(cls=GroupedCommand)
@training_options
@click.option("--cases", "cases_file", type=click.Path(dir_okay=False), help="YAML file of several (benchmarks/).")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Trainings a side, seed by seed.")
@click.option(
    "--peers",
    default="default,best",
    show_default=True,
    help="Trainer to compare with: without settings; with bf16 or fp16 where the device is fast in it and batches "
    "grouped by length, on a GPU padded to multiples of 8 and collated by other processes (not compiled). '': none.",
)
@click.option("--profile", "profiling", is_flag=True, help="Show where an update's time goes; compare nothing.")
@click.option("--data", multiple=True, metavar="TASK=DIR", help="Where a task's data lies; repeatable.")
@click.option("--output", type=click.Path(dir_okay=False), help="File.json for every figure; a .md beside it.")
@friendly
def train(
    cases_file: str | None,
    rounds: int,
    peers: str,
    profiling: bool,
    data: tuple[str, ...],
    output: str | None,
    **arguments: Any,
) -> None:
    """Train with both engines, alternating, and print medians and ratios.

    Every side is a process of its own that starts from the same weights and the same cached rows, and is scored
    with its last weights. Options that Trainer would ignore are refused.
    """
    from registry.benchmarking import tables
    from registry.benchmarking.cases import read_cases
    from registry.benchmarking.comparable import check_options
    from registry.benchmarking.round import measure, profile
    from registry.training.assembly import choose

    sides = ["ours", *[name for name in peers.split(",") if name]]
    unknown = set(sides) - set(tables.SIDES)
    if unknown:
        raise ValueError(f"--peers {peers}: {', '.join(sorted(unknown))} is not one of default, best")
    if any("=" not in place for place in data):
        raise ValueError(f"--data {' '.join(data)}: give TASK=DIR")
    _check_output(output)
    cases = read_cases(cases_file, typed_values(arguments), dict(place.split("=", 1) for place in data))
    chosen = [choose(case.options, {}).options for case in cases]  # a wrong name or value is said here, once
    if profiling:
        if output:
            raise ValueError("--profile compares nothing that --output could hold; give one of them")
        for case in cases:
            click.echo(f"{case.name}\n{profile(case)}")
        return
    if len(sides) > 1:
        for case, options in zip(cases, chosen, strict=True):
            check_options(options, case.processes)
    lines, figures = [], []
    for case, options in zip(cases, chosen, strict=True):
        results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for number in range(rounds):
            # A peer that cannot train this says so before we do; a machine that slows down favours each side in turn.
            for side in sides if number % 2 else reversed(sides):
                results[side].append(measure(side, case, options.run.seed + number))
                speed = results[side][-1]["samples_per_second"]
                click.echo(f"{case.name}: round {number + 1}: {tables.SIDES[side]}: {speed:.1f} samples/s")
        lines += tables.rows(case.name, results)
        figures.append({"case": case.name, "options": case.options, "processes": case.processes, "rounds": results})
        if output:
            Path(output).write_text(json.dumps(figures, indent=1), encoding="utf-8")
            Path(output).with_suffix(".md").write_text(tables.markdown(lines), encoding="utf-8")
    _show(tables.TITLE, tables.COLUMNS, lines)


def _check_output(output: str | None) -> None:
    if output is not None and Path(output).suffix != ".json":
        raise ValueError(f"--output {output}: give a name that ends in .json; the table is written beside it as .md")
    if output is not None and not Path(output).parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {Path(output).parent}")


@main.command()
@click.argument("run")
@click.option("--clients", default="1,8,64", show_default=True, help="Numbers of clients at the same time.")
@click.option("--seconds", type=click.FloatRange(1, 120), default=10, show_default=True, help="For each number.")
@click.option("--requests", type=click.IntRange(1), default=100_000, show_default=True, help="At most, for each.")
@click.option("--file", help="Texts to send, one a line; default: the run's validation predictions.")
@click.option(
    "--overload",
    type=click.FloatRange(0, 120),
    default=0,
    show_default=True,
    help="Seconds of ten times as many requests as it answers, after the rest.",
)
@click.option("--slots", type=click.IntRange(1), default=64, show_default=True, help="Its --max-requests, overloaded.")
@friendly
def serve(run: str, clients: str, seconds: float, requests: int, file: str | None, overload: float, slots: int) -> None:
    """Start serve.py on RUN on this machine, with and without micro-batching, and put load on it."""
    from registry.benchmarking.service import items_of, measure_overload, measure_service, offline_rate

    if not all(number.strip().isdecimal() and int(number) > 0 for number in clients.split(",")):
        raise ValueError(f"--clients {clients}: give whole numbers, such as 1,8,64")
    numbers = [int(number) for number in clients.split(",")]
    items = items_of(Path(run), file)
    command = [sys.executable, str(Path(__file__).parent / "serve.py"), run]
    offline = offline_rate(Path(run), items, seconds=seconds / 2)
    _show_service(measure_service(command, items, numbers, offline, seconds=seconds, requests=requests))
    if overload:
        _show_overload(measure_overload(command, items, slots, calm=seconds, seconds=overload))


@main.command(hidden=True)
@click.argument("side")
@click.argument("request", type=click.Path(exists=True))
@click.argument("answer", type=click.Path())
@friendly
def worker(side: str, request: str, answer: str) -> None:
    """One round of one side, in a process of its own."""
    from registry.benchmarking.round import run_round

    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    found = run_round(side, asked["options"], asked["processes"], Path(answer).parent)
    if found:
        Path(answer).write_text(json.dumps(found), encoding="utf-8")


def _show_service(rows: list[dict[str, Any]]) -> None:
    lines = []
    for row in rows:
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(row["statuses"].items()))
        milliseconds = (f"{1000 * row[name]:.1f}" for name in ("p50", "p99"))
        batching = "on" if row["batching"] else "off"
        rate, offline = row["requests_per_second"], row["offline"]
        rates = (f"{rate:.1f}", f"{offline:.1f}", f"{rate / offline:.0%}")
        lines.append([batching, str(row["clients"]), *rates, *milliseconds, statuses])
    names = ("micro-batching", "clients", "requests/s", "offline", "share", "p50 ms", "p99 ms", "statuses")
    _show("one text a request, kept connections; beside predict.py's texts/s right before and after", names, lines)


def _show_overload(found: dict[str, Any]) -> None:
    lines = []
    before, limit, middle, end = (f"{megabytes:,.0f}" for megabytes in found["memory"])
    for name, memory in (("limit", limit), ("overload", f"{middle}, {end}")):
        load = found[name]
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(load.statuses.items()))
        milliseconds = (f"{1000 * load.percentile(share):.1f}" for share in (50, 99))
        answers = f"{load.requests_per_second:.1f}"
        lines.append([name, str(load.clients), answers, *milliseconds, memory, str(load.failures), statuses])
    names = ("", "clients", "answers/s", "p50 ms", "p99 ms", "memory MiB", "broken", "statuses")
    _show(f"as many clients as slots, then ten times its rate; {before} MiB before, half-way and end", names, lines)


def _show(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < 2 else "right")
    for line in lines:
        table.add_row(*line)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
