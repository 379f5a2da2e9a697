"""What somebody may have meant who typed a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def close_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that go on where this one ends, the shortest first; where there are none, those spelled alike."""
    names = sorted(known)
    longer = [found for found in names if found.lower().startswith(name.lower())] if name else []
    return sorted(longer, key=len)[:most] or difflib.get_close_matches(name, names, n=most)
