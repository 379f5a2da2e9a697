"""Cleaning of texts, declared by options and applied alike at training, evaluation and service."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry.data.roles import TEXTS
from registry.options import Cleaning

if TYPE_CHECKING:
    from datasets import DatasetDict

Step = Callable[[str], str]

_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>", re.DOTALL)
_EQUALS = re.compile(r"(?<!\\)(?<!\(\?)(?<!\(\?<)=")  # not the "=" of a look-around, nor an escaped one


class Cleaner:
    """The steps that the options ask for, in the order in which `Cleaning` lists them.

    Raises:
        ValueError: a --replace is no pattern=text or no regular expression.
    """

    def __init__(self, cleaning: Cleaning) -> None:
        self._steps = _steps(cleaning)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def text(self, text: str) -> str:
        """One text, cleaned."""
        for step in self._steps:
            text = step(text)
        return text

    def tokens(self, tokens: Sequence[str]) -> list[str]:
        """Tokens, each cleaned by itself; one of which nothing would be left stays, so that tags still fit."""
        return [self.text(token).strip() or token for token in tokens]

    def around(self, texts: Sequence[str]) -> list[str]:
        """What stands around the gaps of a text, each stretch cleaned by itself; the blanks beside a gap stay."""
        cleaned = [self.text(text) for text in texts]
        for i in range(1, len(texts)):
            if texts[i - 1][-1:].isspace() and not cleaned[i - 1][-1:].isspace():
                cleaned[i - 1] += " "
            if texts[i][:1].isspace() and not cleaned[i][:1].isspace():
                cleaned[i] = " " + cleaned[i]
        return cleaned

    def columns(self, examples: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Columns of rows with the texts and tokens among them cleaned; None stays None."""
        if not self._steps:
            return dict(examples)
        changes: dict[str, Callable[[Any], Any]] = dict.fromkeys(TEXTS, self.text)
        changes |= {"tokens": self.tokens, "around_masks": self.around}
        return {
            name: [None if value is None else changes[name](value) for value in values] if name in changes else values
            for name, values in examples.items()
        }

    def splits(self, raw: DatasetDict) -> DatasetDict:
        """Every split with its texts cleaned."""
        if not self._steps:
            return raw
        names = [name for name in (*TEXTS, "tokens") if name in next(iter(raw.values())).column_names]
        return raw.map(lambda rows: self.columns({name: rows[name] for name in names}), batched=True)


def parse_replacement(text: str) -> tuple[re.Pattern[str], str]:
    """Pattern and replacement of "PATTERN=TEXT" (an "=" within the pattern is written "\\\\=").

    Raises:
        ValueError: no "=", or not a regular expression.
    """
    parts = _EQUALS.split(text, maxsplit=1)
    if len(parts) != 2 or not parts[0]:
        raise ValueError(f'--replace {text!r}: expected PATTERN=TEXT, such as "n\'t= not"')
    try:
        pattern = re.compile(parts[0])
        re.compile(f"{parts[0]}|").sub(parts[1], "")  # finds references to groups that the pattern lacks
    except (re.error, IndexError) as error:
        raise ValueError(f"--replace {text!r}: not a regular expression and its replacement ({error})") from None
    return pattern, parts[1]


def _steps(cleaning: Cleaning) -> list[Step]:
    steps: list[Step] = []
    if cleaning.strip_html:
        steps.append(strip_html)
    if cleaning.unicode != "none":
        steps.append(lambda text: unicodedata.normalize(cleaning.unicode, text))  # type: ignore[arg-type]
    for replacement in cleaning.replace:
        pattern, by = parse_replacement(replacement)
        steps.append(lambda text, pattern=pattern, by=by: pattern.sub(by, text))  # type: ignore[misc]
    if cleaning.lowercase:
        steps.append(str.lower)
    if cleaning.strip_punctuation:
        steps.append(strip_punctuation)
    if cleaning.collapse_whitespace:
        steps.append(lambda text: " ".join(text.split()))
    return steps


def strip_html(text: str) -> str:
    """Without tags (each leaves a blank, so that words around <br /> stay apart), entities resolved."""
    return html.unescape(_TAG.sub(" ", text))


def strip_punctuation(text: str) -> str:
    """Without characters of Unicode's punctuation classes."""
    return "".join(letter for letter in text if not unicodedata.category(letter).startswith("P"))
