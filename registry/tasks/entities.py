"""Entities in tag sequences: the schemes that tags are written in, spans, and scores by entity.

Tags become BIO when they are read: ``B-X`` begins an entity of type X, ``I-X`` continues it, ``O`` is
outside. Spans are read from BIO as the CoNLL script does, which takes an ``I-X`` that continues
nothing for a beginning, so that every sequence that a model predicts has a meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SCHEMES = ("auto", "bio", "iob1", "iobes", "io")
OUTSIDE = "O"

Span = tuple[int, int, str]
"""First word, the word after the last, type."""

# Letters of other dialects: BILOU and BMEWO are IOBES under other names.
_IOBES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}


def guess_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of a corpus: iobes where a prefix says so, iob1 where most entities begin with I, else bio.

    IOB1 writes B only where an entity touches one of the same type: those that touch none tell it from BIO.
    """
    starts = Counter[str]()
    for tags in sentences:
        before = OUTSIDE
        for tag in tags:
            if tag[:2] in ("S-", "E-", "L-", "U-", "M-", "W-"):
                return "iobes"
            touches = before != OUTSIDE and before[2:] == tag[2:]
            if tag != OUTSIDE and not touches:
                starts[tag[:2]] += 1
            before = tag
    return "iob1" if starts["I-"] > starts["B-"] else "bio"


def have_prefixes(sentences: Iterable[Sequence[str]]) -> bool:
    """Whether every tag but O begins as ``B-`` and the like do: no bare types, whatever a person calls them."""
    inside = {tag for tags in sentences for tag in tags if tag != OUTSIDE}
    return bool(inside) and all(tag[:1] in _IOBES and tag[1:2] == "-" for tag in inside)


def to_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """One sentence's tags as BIO.

    Raises:
        ValueError: a tag that breaks the scheme; names the tag, its place and what it follows.
    """
    if scheme in ("iob1", "io"):
        return _from_inside(tags, scheme)
    bio = []
    before, kind = OUTSIDE, ""
    for place, tag in enumerate(tags):
        prefix, _, this = (tag, "", "") if tag == OUTSIDE else tag.partition("-")
        if tag != OUTSIDE:
            if scheme == "iobes":
                prefix = _IOBES.get(prefix, "")
            if not this or prefix not in ("B", "I", "E", "S") or (scheme == "bio" and prefix in ("E", "S")):
                raise ValueError(_unlike(tag, place, scheme))
        inside = prefix in ("I", "E")
        opened = before in ("B", "I")
        if inside and not (opened and kind == this):
            follows = "nothing" if before == OUTSIDE else f"{before}-{kind}"
            raise ValueError(
                f"tag {tag!r} at token {place} continues {follows} ({scheme}; scheme=iob1 reads it as a start)"
            )
        if scheme == "iobes" and opened and not inside:
            raise ValueError(f"tag {tag!r} at token {place}: {before}-{kind} before it was not ended (iobes)")
        bio.append(OUTSIDE if tag == OUTSIDE else f"{'I' if inside else 'B'}-{this}")
        before, kind = prefix, this
    if scheme == "iobes" and before in ("B", "I"):
        raise ValueError(f"tag {tags[-1]!r} at token {len(tags) - 1} is not ended (iobes)")
    return bio


def _from_inside(tags: Sequence[str], scheme: str) -> list[str]:
    """BIO of IOB1 (B only between touching entities of one type) and of bare types (io)."""
    bio = []
    before = ""
    for place, tag in enumerate(tags):
        if tag == OUTSIDE:
            bio.append(OUTSIDE)
            before = ""
            continue
        prefix, _, kind = tag.partition("-") if scheme == "iob1" else ("I", "", tag)
        if prefix not in ("B", "I") or not kind:
            raise ValueError(_unlike(tag, place, scheme))
        bio.append(f"{'I' if prefix == 'I' and kind == before else 'B'}-{kind}")
        before = kind
    return bio


def _unlike(tag: str, place: int, scheme: str) -> str:
    if tag.removeprefix("-").isdecimal():
        hint = "; numbers must be written as the names they stand for (B-PER, O)"
    else:
        hint = "" if tag.partition("-")[0] in _IOBES else "; scheme=io reads bare types"
    return f"tag {tag!r} at token {place} is not of the {scheme} scheme{hint}"


def spans(tags: Sequence[str]) -> list[Span]:
    """Entities of a BIO sequence, in order."""
    found: list[Span] = []
    start, kind = 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, this = tag.partition("-")
        if kind and (prefix != "I" or this != kind):
            found.append((start, place, kind))
            kind = ""
        if this and not kind:
            start, kind = place, this
    return found


def entities_in(text: str, words: Sequence[str], starts: Sequence[int], tags: Sequence[str]) -> list[dict[str, Any]]:
    """The entities of BIO tags with their place in `text`, where word i begins at `starts[i]`."""
    places = [(kind, starts[first], starts[last - 1] + len(words[last - 1])) for first, last, kind in spans(tags)]
    return [{"text": text[start:end], "type": kind, "start": start, "end": end} for kind, start, end in places]


def entity_scores(truth: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Precision, recall and F1 over whole entities: micro, macro, weighted and by type.

    An entity counts as found when first word, last word and type are all right (conlleval).
    """
    true, guessed, right = Counter[str](), Counter[str](), Counter[str]()
    for reference, prediction in zip(truth, predicted, strict=True):
        one, other = set(spans(reference)), set(spans(prediction))
        true.update(span[2] for span in one)
        guessed.update(span[2] for span in other)
        right.update(span[2] for span in one & other)
    types = sorted({*true, *guessed})
    per_type = {kind: _scores(right[kind], guessed[kind], true[kind]) for kind in types}
    micro = _scores(right.total(), guessed.total(), true.total())
    averages = {}
    for name in ("precision", "recall", "f1"):
        averages[f"{name}_macro"] = sum(row[name] for row in per_type.values()) / max(len(types), 1)
        weighted = sum(row[name] * row["support"] for row in per_type.values())
        averages[f"{name}_weighted"] = weighted / max(true.total(), 1)
    return {**micro, **averages, "per_type": per_type}


def _scores(right: int, guessed: int, true: int) -> dict[str, Any]:
    precision, recall = right / guessed if guessed else 0.0, right / true if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "support": true}
