"""The run directory: what is written where, and the record (`run.json`) of what made it.

A record names registered things and plain values only, never import paths: reading a stranger's run
must not choose what is imported. This module imports no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors import SafetensorError

from registry.heads import Head
from registry.models.base import ModelSource
from registry.tasks.base import Limits

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from registry.models.base import ModelSpec

SCHEMA = 1
CHUNK = 1 << 20
RUNNING, INTERRUPTED, FINISHED = "running", "interrupted", "finished"
OLD_MODEL = ".model-old"
PROFILE = "profile"
"""What --profile leaves; a run may begin beside it."""
RECORDED_VERSIONS = (
    "finetune-registry",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "datasets",
    "peft",
    "numpy",
)


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run. Nothing is created until something is written."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    run_json = property(lambda self: self.path / "run.json")
    config_yaml = property(lambda self: self.path / "config.yaml")
    model = property(lambda self: self.path / "model")
    checkpoints = property(lambda self: self.path / "checkpoints")
    metrics_jsonl = property(lambda self: self.path / "metrics.jsonl")
    metrics_json = property(lambda self: self.path / "metrics.json")
    splits = property(lambda self: self.path / "splits.json")
    evaluations = property(lambda self: self.path / "evaluations")
    predictions = property(lambda self: self.path / "predictions")
    tensorboard = property(lambda self: self.path / "tensorboard")
    report = property(lambda self: self.path / "report.html")
    card = property(lambda self: self.path / "README.md")
    onnx = property(lambda self: self.path / "onnx")
    plugin = property(lambda self: self.path / "plugin.py")

    def entries(self) -> list[Path]:
        """Everything that a run writes, there or not: what --overwrite removes."""
        names = [name for name, value in vars(RunDirectory).items() if isinstance(value, property)]
        return [getattr(self, name) for name in names]

    def status(self) -> str | None:
        """The status in run.json; None where there is no run."""
        return read_json(self.run_json).get("status", RUNNING) if self.run_json.is_file() else None


@dataclass(frozen=True)
class Named:
    """A registered object as a record holds it: its name, the options set on it, where it came from."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """The content of `run.json`.

    Args:
        options: every option by name, as resolved; the cleaning that every text is given is among them.
        data: a digest of the rows of each split; none in records of earlier versions.
        launch: how many `processes` trained, and the launcher's `config_file` where it was given one.
    """

    task: Named
    model: Named
    source: ModelSource
    head: Head
    options: dict[str, Any]
    limits: Limits
    seed: int
    data: dict[str, Any] = field(default_factory=dict)
    launch: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: versions())
    status: str = RUNNING

    def to_json(self) -> dict[str, Any]:
        """What `run.json` holds; `from_json` reads it."""
        values = dataclasses.asdict(self)
        values["model"]["source"] = values.pop("source")
        return {"schema": SCHEMA, "status": values.pop("status"), **values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """The record that `to_json` wrote; ValueError where it is of a newer schema or incomplete."""
        if values.get("schema") != SCHEMA:
            raise ValueError(f"schema {values.get('schema')!r} is not {SCHEMA}, which this version reads")
        try:
            given = {item.name: values[item.name] for item in dataclasses.fields(cls) if item.name in values}
            model = dict(values["model"])
            given["source"] = ModelSource(**model.pop("source"))
            given |= {"task": Named(**values["task"]), "model": Named(**model)}
            given |= {"head": Head.from_json(values["head"]), "limits": Limits(**values["limits"])}
            return cls(**given)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"incomplete or of another form ({error})") from None


def write_run(directory: RunDirectory, record: Record, *, replace: bool = False) -> None:
    """Write `run.json`; with `replace`, first remove what an earlier run left there, and nothing else."""
    if replace:
        for entry in reversed(directory.entries()):  # run.json last: what is half removed is still a run
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink(missing_ok=True)
    write_json(directory.run_json, record.to_json())


def record_results(directory: RunDirectory, **results: Any) -> None:
    """Add what training found out to `run.json`."""
    write_json(directory.run_json, {**read_json(directory.run_json), **results})


def interrupt_run(directory: RunDirectory) -> None:
    """Mark a run that was asked to stop and has saved itself: the same command goes on from there."""
    record_results(directory, status=INTERRUPTED)


def finish_run(directory: RunDirectory) -> None:
    """Mark a run finished, the last thing of all: whatever it leaves, the report too, is there."""
    record_results(directory, status=FINISHED)


def save_model(
    directory: RunDirectory,
    spec: ModelSpec,
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Write `model/`, weights and tokenizer, whole or not at all: beside first, then in place of the old one.

    Raises:
        OSError: the disk is full, or refuses otherwise; the old one stands.
    """
    directory.path.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".model-", dir=directory.path))
    try:
        spec.save(module, state_dict, fresh)
        tokenizer.save_pretrained(fresh)
        fresh.chmod(0o755)
        for entry in [*fresh.rglob("*"), fresh]:
            flush(entry)
        old = directory.path / OLD_MODEL
        shutil.rmtree(old, ignore_errors=True)
        if directory.model.exists():
            directory.model.rename(old)
        fresh.rename(directory.model)
        flush(directory.path)
        shutil.rmtree(old, ignore_errors=True)
    except SafetensorError as error:
        raise OSError(f"the model cannot be written ({error})") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def tidy(directory: RunDirectory) -> None:
    """Put in order what a killed process left half-written; a model that was being replaced is in its place again."""
    old = directory.path / OLD_MODEL
    if old.is_dir() and not directory.model.exists():
        old.rename(directory.model)
    for left in [*directory.path.glob(".model-*"), *directory.checkpoints.glob(".*.unfinished")]:
        shutil.rmtree(left)
    for left in [*directory.path.glob(".*.[0-9]*"), *directory.predictions.glob(".*.[0-9]*")]:
        left.unlink()


def flush(path: Path) -> None:
    """What a file or a directory holds is on disk when this returns, and stays there when the power fails."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_name(text: str) -> str:
    """A name for files and directories, made of what people call a thing."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            found.update(block)
    return found.hexdigest()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file so that at every moment either the old or the new content stands on disk."""
    with written(path) as file:
        file.write(indented(values))


def indented(values: Mapping[str, Any]) -> str:
    """A JSON file that people read."""
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"


@contextlib.contextmanager
def written(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file that takes the place of the one at `path` when the block ends, whole and on disk.

    What is there is never written to: of a link that leads out of the run, only the link goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def written_out(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of the one that a person named, or of what their link leads to.

    A device or a pipe is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as file:
            yield file
    else:
        with written(path.resolve()) as file:
            yield file


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError in one line where it is missing, broken or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object, found a {type(values).__name__}")
    return values


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes, without importing them."""
    found = {"python": platform.python_version()}
    for name in RECORDED_VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
