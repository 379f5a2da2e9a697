"""The rows worth reading: the most confident mistakes, and labels that are probably wrong themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from registry.reports.predictions import Item, Predictions, class_scores

TEXTS = ("text", "text_pair", "question", "context")


@dataclass(frozen=True)
class Span:
    """A piece of text; `kind` is the entity type and `state` how it stands: "found", "missed" or "wrong"."""

    text: str
    kind: str = ""
    state: str = ""


@dataclass(frozen=True)
class Mistake:
    """One row that a person should look at.

    Args:
        score: how sure the model was of its prediction, or how large the error is (regression).
        own_score: the score that the model gave to the row's own label.
        ranked: best-scored classes, where there are more than two.
        labelled, predicted: the text with its entities in place.
    """

    row: int
    texts: tuple[tuple[str, str], ...]
    label: Any
    prediction: Any
    score: float | None = None
    own_score: float | None = None
    ranked: tuple[tuple[str, float], ...] = ()
    labelled: tuple[Span, ...] = ()
    predicted: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Mistakes:
    """The mistakes shown, and how many there are."""

    total: int
    shown: list[Mistake] = field(default_factory=list)


def worst_mistakes(scored: Predictions, count: int = 24) -> Mistakes:
    """The mistakes that the model was surest of; for regression the largest errors, for entities the most."""
    wrong = [i for i, (t, g) in enumerate(zip(scored.true_sets(), scored.predicted_sets(), strict=True)) if t != g]
    severity = _severity(scored)
    wrong.sort(key=lambda i: (-severity[i], scored.items[i]["row"]))
    return Mistakes(len(wrong), [_mistake(scored, i, severity[i]) for i in wrong[:count]])


def likely_label_errors(scored: Predictions, count: int = 12) -> Mistakes:
    """Rows whose label is probably wrong, by confident learning (Northcutt et al. 2021).

    A row counts when the score of another class reaches that class's usual score (its mean over rows
    labelled so) while the score of its own label stays under its own.
    """
    if scored.kind != "single" or not all(map(class_scores, scored.items)):
        return Mistakes(0)
    known = set(scored.classes)
    own_scores: dict[str, list[float]] = defaultdict(list)
    rows = []
    for position, item in enumerate(scored.items):
        others = class_scores(item)
        own = others.pop(item["label"], 0.0)
        if item["label"] in known and others:
            own_scores[item["label"]].append(own)
            best = max(others, key=lambda name: others[name])
            rows.append((own - others[best], position, own, item["label"], best, others[best]))
    usual = {label: fmean(values) for label, values in own_scores.items()}
    found = sorted(
        (difference, position, score)
        for difference, position, own, label, best, score in rows
        if best in usual and score >= usual[best] and own < usual[label]
    )
    return Mistakes(len(found), [_mistake(scored, position, score) for _, position, score in found[:count]])


def _severity(scored: Predictions) -> np.ndarray:
    if scored.kind == "regression":
        return np.abs(np.asarray(scored.truths, dtype=float) - np.asarray(scored.guesses, dtype=float))
    confidence = scored.confidence()
    if confidence is not None:
        return confidence
    if scored.kind == "multi" and (scores := scored.scores()) is not None:
        # The surest single decision that was wrong: |truth - score| is large where the model was sure of the other.
        truth = np.array([[name in (labels or ()) for name in scored.classes] for labels in scored.truths], dtype=float)
        return np.abs(truth - scores).max(axis=1)
    pairs = zip(scored.true_sets(), scored.predicted_sets(), strict=True)
    return np.fromiter((len(truth ^ guess) for truth, guess in pairs), dtype=float)


def _mistake(scored: Predictions, position: int, score: float) -> Mistake:
    item = scored.items[position]
    texts = tuple((name, str(item[name])) for name in TEXTS if item.get(name))
    if scored.kind == "entities":
        labelled, predicted = _as_items(item["label"]), _as_items(item["prediction"])
        text = item["text"]
        return Mistake(
            item["row"], texts, item["label"], item["prediction"],
            labelled=tuple(spans(text, labelled, predicted, "missed")),
            predicted=tuple(spans(text, predicted, labelled, "wrong")),
        )  # fmt: skip
    many = scored.kind == "single" and len(scored.classes) > 2
    own = class_scores(item).get(item["label"]) if scored.kind == "single" else None
    ranked = tuple(scored.ranked(position)) if many else ()
    return Mistake(item["row"], texts, item["label"], item["prediction"], float(score), own, ranked)


def spans(text: str, items: set[Item], others: set[Item], unmatched: str) -> Iterator[Span]:
    """The text in pieces, its entities marked; those that `others` lacks carry the state `unmatched`."""
    position = 0
    for kind, start, end in sorted(items, key=lambda item: (item[1], item[2])):
        if start < position:
            continue
        if start > position:
            yield Span(text[position:start])
        yield Span(text[start:end], kind, "found" if (kind, start, end) in others else unmatched)
        position = end
    if position < len(text):
        yield Span(text[position:])


def _as_items(entities: list[dict[str, Any]]) -> set[Item]:
    return {(entity["type"], entity["start"], entity["end"]) for entity in entities}
