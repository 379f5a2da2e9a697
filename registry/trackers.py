"""Scalars to Weights & Biases, MLflow and others as well, through accelerate's trackers (`--tracker`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PACKAGES = {
    "aim": "aim", "clearml": "clearml", "comet_ml": "comet_ml", "dvclive": "dvclive", "mlflow": "mlflow",
    "swanlab": "swanlab", "trackio": "trackio", "wandb": "wandb",
}  # fmt: skip
"""Name for --tracker -> the package that it needs; TensorBoard is always written."""


def check_trackers(names: Sequence[str]) -> None:
    """ValueError where a tracker is unknown or its package is not installed; the same on every process."""
    for name in names:
        if name not in PACKAGES:
            raise ValueError(f"--tracker {name}: is not one of {', '.join(PACKAGES)} (TensorBoard is always written)")
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise ValueError(f"--tracker {name}: the package {PACKAGES[name]} is not installed; pip install it")


def open_trackers(names: Sequence[str], directory: Path, options: Mapping[str, Any]) -> list[GeneralTracker]:
    """Started trackers that know the run's options; for the main process alone.

    Args:
        directory: of the run; its name is the project's, and trackers that write files do it there.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    plain = (bool, int, float, str)
    told = {name: value if isinstance(value, plain) else str(value) for name, value in options.items()}
    trackers = []
    for name in names:
        kind = LOGGER_TYPE_TO_CLASS[name]
        place = [str(directory)] if kind.requires_logging_directory else []
        tracker = kind(directory.resolve().name, *place)
        tracker.start()
        tracker.store_init_configuration(told)
        trackers.append(tracker)
    return trackers
