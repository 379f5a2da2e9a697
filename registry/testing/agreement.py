"""Metrics counted once more, from what a task decodes and the rows' own labels: nothing of the task's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head

TOPS = {"accuracy": 1, "top3_accuracy": 3, "top5_accuracy": 5}


def counted_independently(
    head: Head,
    examples: Mapping[str, Sequence[Any]],
    decoded: Sequence[Mapping[str, Any]],
    reduced: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, float]:
    """Values by the names of `metrics.json`, as far as the kind of head tells what is decoded."""
    total = sum(float(batch["scored_count"].sum()) for batch in reduced)
    found = {"loss": sum(float(batch["scored_loss"].astype(np.float64).sum()) for batch in reduced) / total}
    if head.kind == SEQUENCE_CLASSIFICATION:
        found |= _classification(head, examples, decoded)
    elif head.kind == TOKEN_CLASSIFICATION and "tags" in examples:
        found |= _entities(examples, decoded)
    elif head.kind == MASKED_LM:
        found["perplexity"] = float(np.exp(found["loss"]))
    return found


def _classification(
    head: Head, examples: Mapping[str, Sequence[Any]], decoded: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    from sklearn import metrics

    truth = next((list(examples[name]) for name in ("label", "answer") if name in examples), None)
    if truth is None:
        return {}
    if head.problem == "regression" and "value" in decoded[0]:
        values = [item["value"] for item in decoded]
        return {"mse": metrics.mean_squared_error(truth, values), "mae": metrics.mean_absolute_error(truth, values)}
    if head.problem == "multi_label" and "labels" in decoded[0]:
        given = [item["labels"] for item in decoded]
        table = [np.array([[label in row for label in head.labels] for row in rows]) for rows in (truth, given)]
        return {
            "accuracy": metrics.accuracy_score(*table),
            "f1_micro": metrics.f1_score(*table, average="micro", zero_division=0),
            "f1_samples": metrics.f1_score(*table, average="samples", zero_division=0),
        }
    if "answers" in decoded[0]:
        ranks = [_rank(answer, item["answers"]) for answer, item in zip(truth, decoded, strict=True)]
        return {name: float(np.mean(np.array(ranks) <= top)) for name, top in TOPS.items()}
    if head.problem == "single_label" and "label" in decoded[0]:
        chosen = [item["label"] for item in decoded]
        return {
            "accuracy": metrics.accuracy_score(truth, chosen),
            "f1_macro": metrics.f1_score(truth, chosen, average="macro", zero_division=0),
            "f1_weighted": metrics.f1_score(truth, chosen, average="weighted", zero_division=0),
            "matthews": metrics.matthews_corrcoef(truth, chosen),
        }
    return {}


def _rank(answer: str, ranked: Sequence[Mapping[str, Any]]) -> float:
    places = [place for place, item in enumerate(ranked, start=1) if item["answer"] == answer]
    return places[0] if places else float("inf")


def _entities(examples: Mapping[str, Sequence[Any]], decoded: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Micro precision, recall and F1 over (row, first word, last word, type), for BIO tags."""
    if "tags" not in decoded[0]:
        return {}
    truth = {(row, *span) for row, tags in enumerate(examples["tags"]) for span in _spans(tags)}
    found = {(row, *span) for row, item in enumerate(decoded) for span in _spans(item["tags"])}
    right = len(truth & found)
    precision, recall = (right / len(side) if side else 0.0 for side in (found, truth))
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def _spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first, last, type) of each entity; an I- that continues nothing begins one, as the CoNLL script has it."""
    spans: list[tuple[int, int, str]] = []
    open_type = ""
    for place, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix == "I" and kind == open_type:
            spans[-1] = (spans[-1][0], place, kind)
        elif prefix in ("B", "I"):
            spans.append((place, place, kind))
        open_type = kind if prefix in ("B", "I") else ""
    return spans
