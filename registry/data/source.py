"""Where rows come from: the Hub, a local copy in the publisher's layout, or a person's own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """One place to read raw splits from, and what to do with them before a task sees them.

    Exactly one kind is used: `files` where given (a person's own), else `data_dir` where given (the
    publisher's layout or a parquet folder), else the task's Hub data set.

    Args:
        data_dir: local copy of the task's data.
        files: split -> path or glob of a person's own files.
        columns: role ("text", "label", …) -> column name, overriding the task's.
        revision: Hub commit, tag or branch of the data set.
    """

    data_dir: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
