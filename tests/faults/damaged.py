"""How many harmed files of real checkpoints are noticed: each flipped by a bit, cut, emptied or removed in turn.

python tests/faults/damaged.py runs/ddp runs/zero2

The runs need two checkpoints each; they are copied, and stay as they are.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from registry.training.checkpoints import Checkpoints
from registry.training.control import Control


def flip(path: Path, draw: random.Random) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def cut(path: Path, draw: random.Random) -> None:
    """Leave a part from the beginning."""
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(1, len(content))])


HARMS: dict[str, Callable[[Path, random.Random], object]] = {
    "flipped": flip,
    "cut": cut,
    "emptied": lambda path, draw: path.write_bytes(b""),
    "removed": lambda path, draw: path.unlink(),
}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--flips", default=3, show_default=True, help="Bits that are tried of each file, one at a time.")
@click.option("--seed", default=0, show_default=True)
def main(runs: tuple[Path, ...], flips: int, seed: int) -> None:
    """Harm every file of each run's newest checkpoint, and see whether the one before is taken and the file named."""
    draw, tried, recovered, named = random.Random(seed), 0, 0, 0
    for checkpoints in (run / "checkpoints" for run in runs):
        before, newest = sorted(checkpoints.glob("step-*"))[-2:]
        for file in sorted(path.relative_to(checkpoints) for path in newest.rglob("*") if path.is_file()):
            for harm in [*["flipped"] * (flips - 1), *HARMS]:
                with tempfile.TemporaryDirectory() as folder:
                    copy = Path(shutil.copytree(checkpoints, Path(folder) / "checkpoints"))
                    HARMS[harm](copy / file, draw)
                    said: list[str] = []
                    found = Checkpoints(copy, Control(), main=True, keep=2).newest(said.append)
                tried += 1
                recovered += found is not None and found.name == before.name
                named += len(said) == 1 and file.name in said[0]
    click.echo(f"{tried} harmed files: {recovered} noticed and the checkpoint before taken, {named} named")
    sys.exit(recovered != tried)


if __name__ == "__main__":
    main()
