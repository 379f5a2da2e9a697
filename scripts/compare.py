"""Compare models: run a grid of tasks x models x variants x train fractions x seeds, or put runs side by side.

python scripts/compare.py --grid scripts/comparisons/demo.yaml
python scripts/compare.py --tasks imdb --models bilstm,textcnn --fractions 0.25,0.5,1 --seeds 1,2,3 --set epochs=2
python scripts/compare.py runs/sst2-tiny-1 runs/sst2-bilstm-1
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli import friendly

if TYPE_CHECKING:
    from registry.grid_runner import Outcome
    from registry.grids import Grid
    from registry.reports.comparison import Compared, Comparison
    from registry.reports.run_record import RunRecord

SCRIPTS = Path(__file__).resolve().parent
FOR_RUNS = ("data", "evaluate_on", "metrics", "output_dir", "plugin_file")


@click.command()
@click.argument("runs", nargs=-1)
@click.option(
    "--grid", "grid_file", type=click.Path(dir_okay=False), help="YAML file of a grid (see scripts/comparisons)."
)
@click.option("--tasks", help="Tasks of a grid, with commas.")
@click.option("--models", help="Models of a grid, with commas.")
@click.option("--fractions", help="Shares of the training rows, with commas: 0.25,0.5,1.")
@click.option("--seeds", help="Seeds, with commas: 1,2,3.")
@click.option(
    "--set", "settings", multiple=True, metavar="OPTION=VALUE", help="Option of train.py for every run; repeatable."
)
@click.option(
    "--data", multiple=True, metavar="TASK=DIR", help="Where a task's data lies; default: the Hub; repeatable."
)
@click.option(
    "--checkpoint", "checkpoints", multiple=True, metavar="MODEL=DIR", help="Directory for a model of the grid."
)
@click.option("--evaluate-on", help="Other tasks to score every run on, with commas.")
@click.option(
    "--metric", "metrics", multiple=True, help="Metric of the table; default: the task's primary one; repeatable."
)
@click.option("--output-dir", help="Where runs, tables and plots go; default: a name of its own in comparisons/.")
@click.option("--config-file", help="Launch configuration of every run (accelerate_configs/…).")
@click.option("--devices", help="CUDA devices, with commas: as many runs at a time, one on each.")
@click.option(
    "--plugin-file", type=click.Path(dir_okay=False), help="File that registers the runs' own tasks or models."
)
@click.option("--dry-run", is_flag=True, help="List the runs of the grid and what is finished; run nothing.")
@friendly
def main(runs: tuple[str, ...], **options: Any) -> None:
    """Train the runs of a grid that are not finished yet and compare all of them, or compare RUNS.

    Writes table.md, table.csv, table.tex, epochs.md, plots/ and comparison.html. A grid can be given again at any
    time: finished runs are kept, interrupted ones continue, one that fails disturbs no other. Asked to stop
    (SIGTERM, SIGUSR1, Ctrl-C), it lets the runs that have begun save themselves and leaves with exit code 75.
    """
    if runs:
        flags = {str(item.name): item.opts[0] for item in click.get_current_context().command.params}
        for name in (name for name, value in options.items() if value and name not in FOR_RUNS):
            raise ValueError(f"{flags[name]} is for a grid: give it without run directories")
    for number in (signal.SIGTERM, signal.SIGUSR1):  # as Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(compare_directories(runs, options) if runs else run_grid(read_options(options), options))
    except KeyboardInterrupt:
        from registry.training.interruption import REQUEUE

        click.echo("asked to stop: runs that had begun are saved; the same command goes on", err=True)
        sys.exit(REQUEUE)


def read_options(options: dict[str, Any]) -> Grid:
    """The grid of --grid, with what the command line says in place of what the file says."""
    from registry.grids import build_grid
    from registry.resolving import read_config

    values: dict[str, Any] = {}
    if options["grid_file"]:
        try:
            values = read_config(options["grid_file"])
        except ValueError as error:
            raise ValueError(str(error).replace("--config", "--grid", 1)) from None
    for name in ("tasks", "models", "fractions", "seeds", "evaluate_on"):
        if options[name]:
            values[name] = listed(options[name])
    overrides = settings(options["settings"])
    if options["plugin_file"]:
        overrides["plugin_file"] = options["plugin_file"]
    checkpoints = dict(pairs("checkpoint", options["checkpoints"]))
    places = dict(pairs("data", options["data"])), checkpoints
    return build_grid(values, options["grid_file"] or "grid", overrides, *places, options["config_file"])


def settings(given: Sequence[str]) -> dict[str, Any]:
    """Options by name; a list of the values where one is given again (model_option=a=1 model_option=b=2)."""
    found: dict[str, list[Any]] = {}
    for name, value in pairs("set", given):
        found.setdefault(name.replace("-", "_"), []).append(setting(value))
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


def setting(text: str) -> Any:
    """A value as YAML reads it, such as 3, true or [a, b]; what is no YAML, such as *.csv or |, as it stands."""
    import yaml

    if text in ("|", ">"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def run_grid(grid: Grid, options: dict[str, Any]) -> int:
    """Run what is not finished, compare everything that is; 1 where a run failed."""
    from rich.console import Console

    from registry import tasks
    from registry.grid_runner import FAILED, Runner
    from registry.grids import expand, prerequisites
    from registry.models.resolution import resolve_model
    from registry.plugins import load_plugin_file

    name = Path(options["grid_file"]).stem if options["grid_file"] else "-".join([listed(options["tasks"])[0], "grid"])
    output = Path(options["output_dir"] or f"comparisons/{name}")
    runner = Runner(output, launch_command(options["config_file"]), listed(options["devices"]) or [None])
    cells, console = expand(grid), Console(highlight=False)
    planned = [*prerequisites(cells), *cells]
    plugin_files = {runner.directory(c): c.options["plugin_file"] for c in planned if c.options.get("plugin_file")}
    for file in dict.fromkeys(plugin_files.values()):
        load_plugin_file(file)
    for task in dict.fromkeys([*(cell.options["task"] for cell in planned), *grid.evaluate_on]):
        tasks.get(task)
    named = {(c.options["model"], bool(c.options.get("from_scratch"))): None for c in planned if c.after is None}
    for model, from_scratch in named:
        if "/" not in model:  # what has one is a place, or asks the Hub
            resolve_model(model, from_scratch=from_scratch)
    if options["dry_run"]:
        for cell in planned:
            console.print(f"{runner.state(cell):10} {cell.title}", markup=False)
        return 0
    console.print(f"{len(cells)} runs in {output}", markup=False)
    outcomes = runner.run(cells, lambda outcome: console.print(outcome_line(outcome), markup=False, soft_wrap=True))
    compared = [compared_cell(outcome) for outcome in outcomes if outcome.state != FAILED]
    failures = [(outcome.cell.title, outcome.reason) for outcome in outcomes if outcome.state == FAILED]
    comparison = build(compared, options, grid.evaluate_on, plugin_files, grid.title or name, grid.note, failures)
    show(comparison, output)
    return 1 if comparison.failures else 0


def compare_directories(runs: Sequence[str], options: dict[str, Any]) -> int:
    """Compare finished run directories; 1 where one could not be scored."""
    from registry.grids import check_places
    from registry.reports.comparison import labelled
    from registry.reports.run_record import read_run

    evaluate_on = listed(options["evaluate_on"])
    check_places("data", dict(pairs("data", options["data"])), evaluate_on)
    records = [read_run(run) for run in {Path(run).resolve(): run for run in runs}.values()]
    for record in records:
        if not record.finished:
            raise ValueError(f"{record.directory.path}: this run is not finished")
    plugin_files = {r.directory.path: options["plugin_file"] for r in records if options["plugin_file"]}
    comparison = build(labelled(records), options, evaluate_on, plugin_files)
    show(comparison, Path(options["output_dir"] or Path("comparisons") / name_of(records)))
    return 1 if comparison.failures else 0


def name_of(records: Sequence[RunRecord]) -> str:
    """A name for the comparison of these runs, which others do not have."""
    import hashlib

    paths = sorted(str(record.directory.path.resolve()) for record in records)
    digest = hashlib.sha256("\0".join(paths).encode()).hexdigest()[:6]
    others = f"-and-{len(records) - 1}-more" if len(records) > 1 else ""
    return f"{records[0].directory.path.resolve().name}{others}-{digest}"


def build(
    compared: list[Compared], options: dict[str, Any], evaluate_on: Sequence[str], plugin_files: Mapping[Path, str],
    title: str = "", note: str = "", failures: Sequence[tuple[str, str]] = (),
) -> Comparison:  # fmt: skip
    """Score the runs on other tasks where that is asked for, then group, rank and test them."""
    from registry.reports.comparison import compare
    from registry.reports.elsewhere import with_scores_on

    check_metrics(compared, options["metrics"])
    failures = list(failures)
    evaluate = [sys.executable, str(SCRIPTS / "evaluate.py")]
    places = dict(pairs("data", options["data"]))
    scored = with_scores_on(
        compared, evaluate_on, places, evaluate, lambda *failure: failures.append(failure), plugin_files
    )
    return compare(scored, options["metrics"], title=title, note=note, failures=failures)


def check_metrics(compared: Sequence[Compared], wanted: Sequence[str]) -> None:
    """ValueError where no run has a metric that --metric asks for."""
    from registry.reports.tables import flat_metrics

    runs = [one.run for one in compared]
    known = {name for run in runs for split in run.evaluated() for name in flat_metrics(run.metrics[split])}
    for metric in wanted:
        if known and metric not in known:
            raise ValueError(f"--metric {metric}: the runs have {', '.join(sorted(known))}")


def show(comparison: Comparison, output: Path) -> None:
    """Print the table and write everything else."""
    from rich.console import Console

    from registry.reports.comparison_page import write_comparison
    from registry.reports.comparison_table import LEGEND, to_terminal

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    for name, reason in comparison.failures:
        console.print(f"failed  {name}: {reason}", markup=False)
    if comparison.groups:
        console.print(to_terminal(comparison))
        console.print(LEGEND, style="dim")
        page = write_comparison(comparison, output)
        console.print(f"{page} · table.md, table.csv, table.tex, epochs.md and plots/ beside it", markup=False)


def compared_cell(outcome: Outcome) -> Compared:
    """A finished cell with its labels."""
    from registry.reports.comparison import Compared
    from registry.reports.run_record import read_run

    return Compared(read_run(outcome.directory), outcome.cell.labels, published=outcome.cell.published)


def outcome_line(outcome: Outcome) -> str:
    """What is printed when a cell ends."""
    from registry.reports.format import duration

    spent = f" in {duration(outcome.seconds)}" if outcome.seconds else ""
    return f"{outcome.state:7} {outcome.cell.title}{spent}{': ' if outcome.reason else ''}{outcome.reason}"


def launch_command(config_file: str | None) -> list[str]:
    """accelerate launch of train.py, with the interpreter that runs this."""
    if config_file and not Path(config_file).is_file():
        raise ValueError(f"--config-file {config_file}: no such file; accelerate_configs/ has one for each engine")
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    return [*launch, *(["--config_file", config_file] if config_file else []), str(SCRIPTS / "train.py")]


def pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """NAME=VALUE pairs of a repeatable option."""
    for pair in given:
        if not pair.partition("=")[0].strip() or "=" not in pair:
            raise ValueError(f"--{option} {pair}: expected NAME=VALUE")
    return [(name.strip(), value) for name, _, value in (pair.partition("=") for pair in given)]


def listed(text: str | None) -> list[str]:
    """The values between commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


if __name__ == "__main__":
    main()
