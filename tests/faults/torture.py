"""Kills of real trainings at random moments, over engines and kinds of training; prints a table of what survived.

make torture                       # or: python tests/faults/torture.py --kills 50 --only ddp --output kills.md

A run is killed again and again until it ends, and must then be what a launched run that was never killed is, to the
last bit. Of several processes either all are killed at once, as a power cut does, or one, whose partners must notice.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from faults.kit import differences  # noqa: E402
from faults.launches import POLL, ended, fork, launch, locked_by, prepare, tail, work  # noqa: E402
from registry.run_directory import FINISHED, RunDirectory  # noqa: E402

SMALL = [
    *("--max-train-rows", "240", "--max-validation-rows", "64", "--max-test-rows", "32", "--epochs", "3"),
    *("--micro-batch-size", "8", "--evaluate-every", "7", "--log-every", "3", "--checkpoint-every", "4", "--keep", "2"),
]
"""24 updates of several micro-batches each; evaluations and checkpoints seldom coincide."""
CONFIGURATIONS: dict[str, tuple[str, list[str]]] = {
    "one process, fp32": ("", []),
    "one process, bf16": ("", ["--precision", "bf16"]),
    "one process, LoRA": ("", ["--lora-rank", "4"]),
    "one process, 8-bit optimizer": ("", ["--optimizer", "adamw8bit"]),
    "one process, augmentation, patience": ("", ["--augment-delete", "0.2", "--patience", "4"]),
    "one process, masked LM": ("", ["--task", "demo-mlm", "--batch-size", "6", "--micro-batch-size", "2"]),
    "one process, NER, averaged weights": ("", ["--task", "demo-ner", "--ema-decay", "0.9"]),
    "DDP x 2, fp32": ("cpu_ddp", []),
    "DDP x 2, bf16": ("cpu_ddp", ["--precision", "bf16"]),
    "DDP x 2, LoRA": ("cpu_ddp", ["--lora-rank", "4"]),
    "DDP x 2, augmentation, patience, averaged weights": (
        "cpu_ddp",
        ["--augment-delete", "0.2", "--patience", "4", "--ema-decay", "0.9"],
    ),
    "DDP x 2, masked LM": ("cpu_ddp", ["--task", "demo-mlm", "--batch-size", "6", "--micro-batch-size", "2"]),
    "DDP x 2, gradients exchanged by parameter": ("cpu_ddp", ["--deterministic"]),
    "ZeRO-1 x 2, fp32": ("deepspeed_zero1_cpu", []),
    "ZeRO-1 x 2, bf16": ("deepspeed_zero1_cpu", ["--precision", "bf16"]),
    "ZeRO-1 x 2, LoRA": ("deepspeed_zero1_cpu", ["--lora-rank", "4"]),
    "ZeRO-2 x 2, fp32": ("deepspeed_zero2_cpu", []),
    "ZeRO-2 x 2, bf16": ("deepspeed_zero2_cpu", ["--precision", "bf16"]),
    "ZeRO-2 x 2, LoRA": ("deepspeed_zero2_cpu", ["--lora-rank", "4"]),
    "ZeRO-2 x 2, QLoRA": ("deepspeed_zero2_cpu", ["--lora-rank", "4", "--quantize", "nf4"]),
    "ZeRO-2 x 2, offload": ("deepspeed_zero2_offload_cpu", []),
    "ZeRO-3 x 2, fp32": ("deepspeed_zero3_cpu", []),
    "ZeRO-3 x 2, bf16": ("deepspeed_zero3_cpu", ["--precision", "bf16"]),
    "ZeRO-3 x 2, LoRA": ("deepspeed_zero3_cpu", ["--lora-rank", "4"]),
}
KILLS_A_RUN = 10
LEAST = 0.2
"""Share of a whole run's time over which kills are drawn at its end, when no update is left: the final scores."""
PATIENCE = 60.0
"""Seconds that the partners of a killed process may take to notice on a busy machine."""


@dataclass
class Outcome:
    """What became of the kills of a configuration.

    Args:
        updates: of a run.
        survived: kills after which the run ended as one never killed.
        writing: kills that left a half-written checkpoint or model behind.
        alone: kills of one process of several; `hung` of them left a partner waiting, and `noticed` is the
            longest time in seconds until all partners of the others had ended.
        checkpoint_share: of the time of a training that is never killed.
        wrong: what differed.
    """

    configuration: str
    updates: int = 0
    tried: int = 0
    survived: int = 0
    writing: int = 0
    alone: int = 0
    hung: int = 0
    noticed: float = 0.0
    checkpoint_share: float = 0.0
    wrong: list[str] = dataclasses.field(default_factory=list)


@click.command()
@click.option("--kills", default=50, show_default=True, help="Kills for each configuration.")
@click.option("--only", default="", help="Configurations whose name holds this text.")
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The table as .md or .json, too.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Work here, and keep what is wrong.")
def main(kills: int, only: str, seed: int, output: Path | None, folder: Path | None) -> None:
    """Kill each configuration at random moments until it has been killed so often; compare the ends."""
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        prepare(folder or Path(temporary))
        for name, (config, options) in CONFIGURATIONS.items():
            if only.lower() in name.lower():
                place = (folder or Path(temporary)) / str(len(outcomes))
                place.mkdir(parents=True)
                outcomes.append(
                    torture(place, name, config, [*SMALL, *options], kills, random.Random(f"{seed} {name}"))
                )
                click.echo(f"{name}: {outcomes[-1].survived} of {outcomes[-1].tried} kills survived bit for bit")
                if output is not None:  # after every configuration: this takes long
                    output.write_text(json_of(outcomes) if output.suffix == ".json" else table(outcomes))
    click.echo(table(outcomes))
    sys.exit(any(outcome.survived != outcome.tried or outcome.hung for outcome in outcomes))


def torture(folder: Path, name: str, config: str, options: Sequence[str], kills: int, draw: random.Random) -> Outcome:
    """Kill runs of one configuration so often, and compare each with one that was launched and left alone."""
    outcome, number = Outcome(name), 0
    environments, seconds = launch(folder, config, options, "whole")
    trained = json.loads((folder / "whole" / "metrics.json").read_text(encoding="utf-8"))
    outcome.checkpoint_share, outcome.updates = trained["train"]["checkpoint_share"], trained["updates"]
    start = partial(fork, folder, environments, options)
    while outcome.tried < kills:
        number += 1
        run, here = folder / f"killed-{number}", 0
        while not finished(run) and here < min(KILLS_A_RUN, kills - outcome.tried):
            if not killed(run, start, seconds, draw, outcome):
                break
            here += 1
        if not finished(run):
            statuses = [ended(child) for child in start(run.name)]
            assert finished(run), f"{run} {statuses}\n{tail(folder)}"
        found = differences(folder / "whole", run)
        outcome.tried += here
        outcome.survived += here * (not found)
        if found:
            outcome.wrong.append(f"{run.name}: {', '.join(found)}")
        else:
            shutil.rmtree(run)
    return outcome


def killed(run: Path, start: Callable[[str], list[int]], seconds: float, draw: random.Random, outcome: Outcome) -> bool:
    """Start or continue a run and kill it at a moment drawn from what is left of it; False where it ended before."""
    moment = draw.uniform(0, max(left(run, outcome.updates), LEAST) * seconds)
    children = start(run.name)
    alone = draw.choice([None, *children]) if len(children) > 1 else None
    if work(until_locked(run, children), moment) is not None:
        assert [ended(child) for child in children[1:]] == [0] * len(children[1:]), tail(run.parent)
        return False
    for child in children if alone is None else [alone]:
        os.kill(child, signal.SIGKILL)
    outcome.writing += any([*run.glob("checkpoints/.step-*"), *run.glob(".model-*")])
    started = time.monotonic()
    for child in children:
        if ended(child, PATIENCE) is None:
            outcome.hung += 1
            os.kill(child, signal.SIGKILL)
            ended(child)
    if alone is not None:
        outcome.alone += 1
        outcome.noticed = max(outcome.noticed, time.monotonic() - started)
    return True


def until_locked(run: Path, children: Sequence[int]) -> int:
    """Wait until the first process has locked its run directory; its id."""
    while locked_by(run) != children[0]:
        assert ended(children[0], POLL) is None, tail(run.parent)
    return children[0]


def finished(run: Path) -> bool:
    """Whether a run has ended in peace, or was killed when all was written."""
    return RunDirectory(run).status() == FINISHED


def left(run: Path, updates: int) -> float:
    """Share of the updates that come after the newest checkpoint."""
    saved = [int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*")]
    return 1 - max(saved, default=0) / updates


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes in Markdown."""
    lines = [
        "| configuration | kills | survived bit for bit | in half-written files | of one process alone | checkpoints |",
        "|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        alone = f"{o.alone}; the others ended within {o.noticed:.1f} s, {o.hung} hung" if o.alone else ""
        share = f"{o.checkpoint_share:.1%} of the time"
        lines.append(f"| {o.configuration} | {o.tried} | {o.survived} | {o.writing} | {alone} | {share} |")
        lines += [f"| {wrong} |" for wrong in o.wrong]
    return "\n".join(lines) + "\n"


def json_of(outcomes: Sequence[Outcome]) -> str:
    """The outcomes in JSON."""
    return json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1) + "\n"


if __name__ == "__main__":
    main()
