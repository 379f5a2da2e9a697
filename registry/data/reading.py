"""Raw splits under canonical column names: from the Hub, a publisher's layout, a parquet folder or own files.

Whatever the source, a column comes out as strings or lists of strings (a label 1 is "1", 2.5 is
"2.5"; classes that a parquet file names are given by name, -1 among them as None), so that tasks
need not know where a row came from. Empty cells of the label column are None.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from registry.data.source import Local, Roles, Source

if TYPE_CHECKING:
    from datasets import DatasetDict

OPTIONAL = ("label", "answer", "tags")


def read(
    source: Source,
    *,
    roles: Roles,
    hub: str = "",
    subset: str | None = None,
    revision: str | None = None,
    hub_splits: Mapping[str, str] | None = None,
    local: Local | None = None,
    optional: Collection[str] = OPTIONAL,
) -> DatasetDict:
    """Every split that the source has, with the roles' columns and `row`.

    Args:
        source: says which of the three kinds is read, and overrides columns and revision.
        roles: canonical column -> its name in the source, or candidates (see `Roles`).
        hub, subset, revision: the task's data set on the Hub.
        hub_splits: our split name -> the Hub's; empty: the splits named train…, validation…, test….
        local: our split name -> file in the publisher's layout below `data_dir`.
        optional: roles that a source may lack. Where only some splits have one, the others hold None.

    Raises:
        ValueError: one line that names the file, row and column, and what would be right.
    """
    raise NotImplementedError
