"""What a person looks at: the report page, charts, comparison tables and the model card. No torch, no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_report(directory: str | Path) -> Path:
    """Write `report.html` of a run directory; see `registry.reports.page`."""
    from registry.reports.page import write_report

    return write_report(directory)


def write_model_card(directory: str | Path) -> Path:
    """Write `README.md` of a run directory; see `registry.reports.card`."""
    from registry.reports.card import write_model_card

    return write_model_card(directory)


def write_all(directory: str | Path, say: Callable[[str], None]) -> None:
    """Report page, model card and TensorBoard figures of a finished run.

    What cannot be drawn is said: weights and metrics are there, and a run is finished without it.

    Raises:
        OSError: the disk is full, or refuses otherwise.
    """
    from registry.reports.tensorboard import add_run

    for name, write in (("report", write_report), ("model card", write_model_card), ("TensorBoard figures", add_run)):
        try:
            write(directory)
        except OSError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            say(f"{name}: not written ({type(error).__name__}: {reason}); the run is whole without it")
