"""Our engine beside transformers' Trainer: the same model, rows and settings, in turn, in one run.

python scripts/benchmark.py train --task sst2 --model roberta-base --max-train-rows 4096 --epochs 1
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from registry.cli import GroupedCommand, friendly, training_options, typed_values

SIDES = {"ours": "this project", "default": "Trainer, its defaults", "best": "Trainer at its best"}


@click.group()
def main() -> None:
    """Measure training and serving."""


@main.command(cls=GroupedCommand)
@training_options
@click.option("--rounds", default=3, show_default=True, help="Times that each side trains, in turn.")
@click.option("--peers", default="default,best", show_default=True, help="Trainer settings to compare with.")
@click.option("--output", type=click.Path(dir_okay=False), help="JSON file for every figure of every round.")
@friendly
def train(rounds: int, peers: str, output: str | None, **arguments: Any) -> None:
    """Train with both engines, alternating, and print medians and ratios.

    Every side is a process of its own that starts from the same weights and the same cached rows.
    """
    from registry.training.assembly import choose

    typed = typed_values(arguments)
    choose(typed, {})  # a wrong name or value is said here, once
    sides = ["ours", *[name for name in peers.split(",") if name]]
    unknown = set(sides) - set(SIDES)
    if unknown:
        raise ValueError(f"--peers {peers}: {', '.join(sorted(unknown))} is not one of default, best")
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            results[side].append(_measure(side, typed))
            values = results[side][-1]
            click.echo(f"round {number + 1}: {SIDES[side]}: {values['samples_per_second']:.1f} samples/s")
    _show(results)
    if output:
        Path(output).write_text(json.dumps(results, indent=1), encoding="utf-8")


@main.command()
@click.argument("run")
@click.option("--clients", default="1,8,64", show_default=True, help="Numbers of clients at the same time.")
@click.option("--seconds", type=click.FloatRange(1, 120), default=10, show_default=True, help="For each number.")
@click.option("--requests", type=click.IntRange(1), default=100_000, show_default=True, help="At most, for each.")
@click.option("--file", help="Texts to send, one a line; default: the run's validation predictions.")
@friendly
def serve(run: str, clients: str, seconds: float, requests: int, file: str | None) -> None:
    """Start serve.py on RUN on this machine, with and without micro-batching, and put load on it."""
    from registry.benchmarking.service import measure_service, texts_of

    if not all(number.strip().isdecimal() and int(number) > 0 for number in clients.split(",")):
        raise ValueError(f"--clients {clients}: give whole numbers, such as 1,8,64")
    numbers = [int(number) for number in clients.split(",")]
    texts = texts_of(Path(run), file)
    script = str(Path(__file__).parent / "serve.py")
    _show_service(measure_service([sys.executable, script, run], texts, numbers, seconds=seconds, requests=requests))


@main.command(hidden=True)
@click.argument("side")
@click.argument("request", type=click.Path(exists=True))
@click.argument("answer", type=click.Path())
@friendly
def worker(side: str, request: str, answer: str) -> None:
    """One round of one side, in a process of its own."""
    from registry.benchmarking.round import run_round

    typed = json.loads(Path(request).read_text(encoding="utf-8"))
    Path(answer).write_text(json.dumps(run_round(side, typed, Path(answer).parent)), encoding="utf-8")


def _measure(side: str, typed: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        request.write_text(json.dumps(typed), encoding="utf-8")
        command = [sys.executable, __file__, "worker", side, str(request), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not answer.is_file():
            raise ValueError(f"{SIDES[side]} failed: {' '.join(done.stderr.split())[-600:]}")
        values: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return values


def _show_service(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="one text a request, kept connections", title_justify="left")
    for name in ("micro-batching", "clients", "requests/s", "p50 ms", "p99 ms", "statuses"):
        table.add_column(name, justify="right")
    for row in rows:
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(row["statuses"].items()))
        milliseconds = (f"{1000 * row[name]:.1f}" for name in ("p50", "p99"))
        batching = "on" if row["batching"] else "off"
        table.add_row(batching, str(row["clients"]), f"{row['requests_per_second']:.1f}", *milliseconds, statuses)
    Console(width=120).print(table)


def _show(results: dict[str, list[dict[str, Any]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="medians over rounds; ratios are ours to theirs, round by round", title_justify="left")
    for name in ("", "samples/s", "tokens/s", "of matmul peak", "memory MiB", "loss", "metric", "ours/theirs"):
        table.add_column(name, justify="left" if not name else "right")
    for side, rounds in results.items():
        pairs = zip(results["ours"], rounds, strict=True)
        ratios = sorted(ours["samples_per_second"] / theirs["samples_per_second"] for ours, theirs in pairs)
        middle = {name: statistics.median(r[name] for r in rounds) for name in rounds[0] if name != "metric_name"}
        table.add_row(
            f"{SIDES[side]} ({rounds[0]['precision']})",
            f"{middle['samples_per_second']:.1f}",
            f"{middle['tokens_per_second']:,.0f}",
            f"{middle['peak_share']:.1%}",
            f"{middle['peak_memory_mb']:,.0f}",
            f"{middle['loss']:.4f}",
            f"{rounds[0]['metric_name']} {middle['metric']:.4f}",
            "" if side == "ours" else f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
