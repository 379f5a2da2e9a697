"""What a person looks at: the report page, charts, comparison tables and the model card. No torch, no model."""

from __future__ import annotations

from pathlib import Path


def write_report(directory: str | Path) -> Path:
    """Write `report.html` of a run directory; see `registry.reports.page`."""
    from registry.reports.page import write_report

    return write_report(directory)


def write_model_card(directory: str | Path) -> Path:
    """Write `README.md` of a run directory; see `registry.reports.card`."""
    from registry.reports.card import write_model_card

    return write_model_card(directory)


def write_all(directory: str | Path) -> None:
    """Report page, model card and TensorBoard figures of a finished run."""
    from registry.reports.tensorboard import add_run

    write_report(directory)
    write_model_card(directory)
    add_run(directory)
