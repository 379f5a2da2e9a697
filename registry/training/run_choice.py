"""Where a run goes: a directory of its own, or that of an unfinished run which it continues."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.options import Options, default_of, fields
from registry.run_directory import FINISHED, PROFILE, RunDirectory, file_name, read_json
from registry.training.lock import LOCK
from registry.training.resuming import check_options, interval

if TYPE_CHECKING:
    from registry.training.control import Control

NOTICED = 60
"""Seconds after which a file that one machine has written is seen by all: network file systems remember absent ones."""

READ = ("model", "data_dir", "train_file", "validation_file", "test_file", "plugin_file")
"""Options that name what a run reads."""


def destination(options: Options) -> tuple[RunDirectory, bool]:
    """Where the run of these options goes, and whether it continues an unfinished one there. Nothing is written.

    Raises:
        ValueError: it cannot go there, or the unfinished run was started with options that make another training; or
            --checkpoint-every does not say when anything is written there.
    """
    interval(options.checkpoints.checkpoint_every)
    run, values = options.run, options.flat()
    affecting = [name for _, name, item in fields() if item.metadata["affects_training"]]
    resume = options.checkpoints.resume
    directory, continues = choose_directory(
        run.output_dir, run.task, run.model, values, affecting, overwrite=run.overwrite, resume=resume
    )
    if run.overwrite and not continues:
        check_kept(directory, values)
    if continues:
        check_options(directory.path, read_json(directory.run_json)["options"], values)
    return directory, continues


def check_kept(directory: RunDirectory, options: Mapping[str, Any]) -> None:
    """ValueError where the run that --overwrite removes holds what the new one reads: its model, or a file."""
    named = {**{name: options[name] for name in READ}, **options["model_option"]}
    for name, value in named.items():
        inside = (
            value and Path(str(value)).exists() and Path(str(value)).resolve().is_relative_to(directory.path.resolve())
        )
        if inside:
            raise ValueError(
                f"--overwrite would remove {directory.path}, where {name.replace('_', '-')} {value} is to be read; "
                "give another --output-dir"
            )


def check_one_place(directory: RunDirectory, control: Control) -> None:
    """ValueError where a process does not see, for a while, what the first one has written there."""
    for _ in range(NOTICED):
        if not control.any(not directory.run_json.is_file()):
            return
        time.sleep(1)
    raise ValueError(
        f"{directory.path}: some processes do not see what the first one writes; it must be one place for all"
    )


def going_on(options: Options, directory: Path) -> str:
    """The command that an interrupted run goes on with: the one that began it, unless that would begin anew."""
    resume = options.checkpoints.resume
    anew = ["--overwrite"] * options.run.overwrite + [f"--resume {resume}"] * (resume != "auto")
    if not anew:
        return "the same command goes on"
    return f"the same command with --output-dir {directory} and without {' and '.join(anew)} goes on"


def choose_directory(
    output_dir: str | None,
    task: str,
    model: str,
    options: Mapping[str, Any],
    affecting: Iterable[str],
    *,
    overwrite: bool = False,
    resume: str = "auto",
    root: Path = Path("runs"),
) -> tuple[RunDirectory, bool]:
    """Where a run goes, and whether it continues an unfinished one there.

    `resume` is "auto", "never" (start anew) or the path of a checkpoint (continue that one's run).

    Without `output_dir`: the latest unfinished `<task>-<model>-<n>` whose `affecting` options are the
    same (begun anew with `overwrite`), otherwise the next number.

    Raises:
        ValueError: `output_dir` holds a finished run (without `overwrite`), or files that are not a run's; `resume`
            names no checkpoint of an unfinished run.
    """
    if resume not in ("auto", "never"):
        if overwrite:
            raise ValueError(f"--overwrite removes the run of --resume {resume}; give one of them")
        output_dir = str(_run_of(Path(resume), output_dir))
    if output_dir is not None:
        return _explicit_directory(RunDirectory(Path(output_dir)), overwrite, resume)
    stem = f"{file_name(task) or 'run'}-{file_name(Path(model.rstrip('/')).name or model) or 'run'}"
    numbered: dict[int, RunDirectory] = {}
    for path in root.glob(f"{stem}-*"):
        number = path.name.removeprefix(f"{stem}-")
        if number.isdecimal():
            numbered[int(number)] = RunDirectory(path)
    for _, directory in sorted(numbered.items(), reverse=True):
        if resume != "never" and _continues(directory, options, affecting):
            return directory, not overwrite
    return RunDirectory(root / f"{stem}-{max(numbered, default=0) + 1}"), False


def _run_of(checkpoint: Path, output_dir: str | None) -> Path:
    """The run directory that a checkpoint lies in."""
    run = checkpoint.absolute().parent.parent
    if not (run / "run.json").is_file():
        raise ValueError(f"--resume {checkpoint}: not a checkpoint of a run (runs/<name>/checkpoints/step-…)")
    if output_dir is not None and Path(output_dir).absolute() != run:
        raise ValueError(f"--resume {checkpoint} is of another run than --output-dir {output_dir}")
    return run


def _explicit_directory(directory: RunDirectory, overwrite: bool, resume: str) -> tuple[RunDirectory, bool]:
    path = directory.path
    if path.exists() and not path.is_dir():
        raise ValueError(f"--output-dir {path}: is a file, not a directory")
    status = directory.status()
    if status is None:
        if path.is_dir() and any(entry.name not in (PROFILE, LOCK) for entry in path.iterdir()):
            raise ValueError(f"--output-dir {path}: holds files that are not a run's; choose an empty or new directory")
        return directory, False
    if overwrite:
        return directory, False
    if status == FINISHED:
        if resume not in ("auto", "never"):
            raise ValueError(f"--resume {resume}: its run is finished; --model {path} trains it further")
        raise ValueError(f"--output-dir {path}: holds a finished run; choose another directory or add --overwrite")
    if resume == "never":
        raise ValueError(f"--output-dir {path}: holds an unfinished run; add --overwrite, or leave out --resume never")
    return directory, True


def _continues(directory: RunDirectory, options: Mapping[str, Any], affecting: Iterable[str]) -> bool:
    try:
        record = read_json(directory.run_json)
    except ValueError:
        return False
    recorded = record.get("options", {})
    # JSON turns tuples into lists; compare what would be written.
    wanted = json.loads(json.dumps(dict(options)))
    defaults = {name: default_of(item) for _, name, item in fields()}  # of options that are younger than the run
    same = all(recorded.get(name, defaults.get(name)) == wanted.get(name) for name in affecting)
    return same and record.get("status") != FINISHED
