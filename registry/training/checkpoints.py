"""Checkpoints that are complete or absent: written beside, checksummed, flushed, renamed.

    checkpoints/step-00000500/manifest.json     sha256 and size of every other file
                              loop.json         where the run stands
                              …                 what the processes wrote

An older checkpoint goes only after the newer one stands. Reading takes the newest whose files are
what its manifest says, and names what is wrong with those it passes over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from registry.run_directory import file_digest, flush
from registry.training.control import Control

MANIFEST = "manifest.json"


class Checkpoints:
    """The checkpoints of one run. Every process calls the same methods; the first one renames and removes.

    Args:
        directory: the run's `checkpoints/`.
        keep: how many complete ones stay.
    """

    def __init__(self, directory: Path, control: Control, *, main: bool, keep: int) -> None:
        self.directory, self.control, self.main, self.keep = directory, control, main, keep

    def save(self, update: int, write: Callable[[Path], None]) -> None:
        """Save what `write` puts into the folder it is given (on every process: names must differ).

        Raises:
            OSError: on every process, if any of them could not write; older checkpoints stay.
        """
        final = self.directory / f"step-{update:08d}"
        beside = self.directory / f".{final.name}.unfinished"
        try:
            self._together(lambda: _fresh(beside), only_main=True)
            self._together(lambda: write(beside))
            self._together(lambda: self._publish(beside, final), only_main=True)
        finally:
            if self.main:  # a half of one would eat the disk that is full
                shutil.rmtree(beside, ignore_errors=True)

    def newest(self, say: Callable[[str], None]) -> Path | None:
        """The newest complete checkpoint, or None; damaged ones are passed over and named to `say`."""
        for path in sorted(self.directory.glob("step-*"), reverse=True):
            problem = damage(path)
            if problem is None:
                return path
            say(f"checkpoint {path.name} is damaged and passed over: {problem}")
        return None

    @property
    def latest(self) -> int:
        """The update of the latest one, damaged or not; 0 where there is none."""
        return max((int(path.name.split("-")[1]) for path in self.directory.glob("step-*")), default=0)

    def forget_after(self, update: int) -> None:
        """Remove later ones, to which the run shall not go back: its log will know nothing of them any more."""
        for path in self.directory.glob("step-*"):
            if int(path.name.split("-")[1]) > update:
                shutil.rmtree(path)

    def _publish(self, beside: Path, final: Path) -> None:
        _write_manifest(beside)
        name, again = final.name, 1
        while final.exists():  # the same update again: the first one goes only after this one stands
            again += 1
            final = self.directory / f"{name}-{again:02d}"
        beside.rename(final)
        flush(self.directory)
        for other in superseded(sorted(self.directory.glob("step-*")), final, self.keep):
            shutil.rmtree(other)

    def _together(self, act: Callable[[], None], *, only_main: bool = False) -> None:
        """Act on every process (or the first), then agree on whether it went well everywhere."""
        problem: OSError | None = None
        if self.main or not only_main:
            try:
                act()
            except (OSError, SafetensorError) as error:  # safetensors has a class of its own for a full disk
                problem = error if isinstance(error, OSError) else OSError(str(error))
        if self.control.any(problem is not None):
            raise problem or OSError("another process could not write its part")


def superseded(complete: list[Path], newest: Path, keep: int) -> list[Path]:
    """Of the complete checkpoints, in their order, those that may go now that `newest` stands.

    Later ones are damaged, or of a future that the run was taken back from.
    """
    place = complete.index(newest)
    return complete[: max(place + 1 - keep, 0)] + complete[place + 1 :]


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None: a missing, truncated or changed file is named.

    Raises:
        ValueError: the disk does not say; taken for damaged, a checkpoint would go.
    """
    try:
        files = json.loads((checkpoint / MANIFEST).read_bytes())["files"]
        for name, expected in files.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {expected['bytes']}"
            if file_digest(path) != expected["sha256"]:
                return f"the content of {name} is not what was written"
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise ValueError(f"{checkpoint}: cannot be read ({error.strerror}); nothing was changed there") from None
        return f"{MANIFEST}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST}: {error}"
    return None


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _write_manifest(folder: Path) -> None:
    files = {}
    for path in sorted(folder.rglob("*")):
        flush(path)
        if path.is_file():
            files[str(path.relative_to(folder))] = {"sha256": file_digest(path), "bytes": path.stat().st_size}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    flush(manifest)
    flush(folder)
