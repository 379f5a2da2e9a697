"""Classification: one label a text, several labels, a pair of texts, or a number (regression)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from registry.data.source import Roles, Source
from registry.heads import SEQUENCE_CLASSIFICATION, Head
from registry.options import option
from registry.plugins import not_an_option
from registry.tasks import measures, samples
from registry.tasks.base import Batch, Examples, Features, Limits, Metrics, Task
from registry.tasks.columns import concatenate, input_columns, label_order, one_per_row
from registry.tasks.labels import balanced_weights, encode_labels, labelled, name_labels, problem_of, strip_labels
from registry.tasks.scoring import describe, example_losses, scores_of
from registry.tasks.tokens import encode_texts, pad

if TYPE_CHECKING:
    from datasets import DatasetDict
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

PROBLEMS = ("auto", "single_label", "multi_label", "regression")
UNUSED = {
    "single_label": ("label_separator", "threshold"),
    "multi_label": ("positive",),
    "regression": ("label_separator", "class_weights", "label_smoothing", "threshold", "positive"),
}
"""Options that a problem has no use for."""


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Texts, or pairs of texts, and what to say of them.

    Args:
        text, text_pair, label: columns of the source, or candidates of which one must be there. No `text_pair`:
            "" where there never is one, () where a person may name one (`for_columns`).
        labels: the label space by name, in index order; empty: the labels found in train. A source
            may hold indices into it, and -1 where there is no label.
        label_pattern: regular expression of the part of a cell that is the label.
        unlabelled: further cells that stand for no label.
        renamed: label as the source has it -> its name here, so that tasks of the same labels share their names.
    """

    family: ClassVar[str] = "classification"
    prediction_keys: ClassVar[tuple[str, ...]] = ("label", "labels", "value")

    text: str | tuple[str, ...] = not_an_option("text")
    text_pair: str | tuple[str, ...] = not_an_option("")
    label: str | tuple[str, ...] = not_an_option("label")
    labels: tuple[str, ...] = not_an_option(())
    label_pattern: str = not_an_option("")
    unlabelled: tuple[str, ...] = not_an_option(())
    renamed: Mapping[str, str] = not_an_option({})

    problem: str = option(
        "auto", "What a label is; auto: a list is multi_label, a fraction regression.", choices=PROBLEMS
    )
    label_separator: str = option("", "Splits one cell into several labels (multi_label).")
    class_weights: str = option("none", "balanced: rare labels weigh more in the loss.", choices=("none", "balanced"))
    label_smoothing: float = option(0.0, "Share of each target spread over all labels.", minimum=0, maximum=0.99)
    threshold: float = option(0.5, "Probability from which a label is given (multi_label).", minimum=0, maximum=1)
    positive: str = option("", "Label that f1, precision and recall are of, of two; default: the second.")

    @property
    def roles(self) -> Roles:
        pair = {"text_pair": self.text_pair} if self.text_pair else {}
        return {"text": self.text, **pair, "label": self.label}

    def for_columns(self, columns: Mapping[str, str]) -> Classification:
        pair = columns.get("text_pair")
        return dataclasses.replace(self, text_pair=pair) if pair and self.text_pair == () else self

    def for_head(self, head: Head) -> Classification:
        return dataclasses.replace(self, problem=head.problem)

    def load(self, source: Source) -> DatasetDict:
        raw = strip_labels(self.read(source), self.label_pattern, self.unlabelled, self.renamed)
        return name_labels(raw, self.problem, self.labels, self.label_separator)

    def head(self, raw: DatasetDict) -> Head:
        train = [label for label in raw["train"]["label"][:] if label is not None]
        problem = problem_of(raw)
        if problem == "regression":
            return Head(SEQUENCE_CLASSIFICATION, problem=problem)
        given = [name for label in train for name in (label if problem == "multi_label" else [label])]
        labels = self.labels or label_order(given)
        if len(labels) < 2:
            raise ValueError(f"train needs two labels or more to tell apart; it has {', '.join(labels) or 'none'}")
        if self.positive and self.positive not in labels:
            raise ValueError(f"positive={self.positive!r} is not a label; labels are {', '.join(labels)}")
        if self.positive and len(labels) > 2:
            raise ValueError(f"positive={self.positive!r} is for two labels; f1 of {len(labels)} is their mean")
        weights = balanced_weights(given, labels, len(train), problem) if self.class_weights == "balanced" else ()
        return Head(SEQUENCE_CLASSIFICATION, labels, problem, weights)

    def unused(self, head: Head) -> Mapping[str, str]:
        return dict.fromkeys(
            UNUSED.get(head.problem, ()), f"labels are taken for {head.problem}, which has no use for it"
        )

    def selecting(self, head: Head) -> tuple[str, bool]:
        if head.problem == "regression" and self.primary_metric == "accuracy":  # a person's file of numbers
            return "pearson", False
        return self.primary_metric, self.minimize

    def encode(
        self, examples: Examples, tokenizer: PreTrainedTokenizerBase, head: Head, limits: Limits
    ) -> dict[str, list[Any]]:
        columns = encode_texts(tokenizer, examples["text"], examples.get("text_pair"), limits)
        columns["row"] = list(examples["row"])
        given = examples.get("label") or [None] * len(columns["row"])
        columns["labels"] = encode_labels(given, columns["row"], head)
        return columns

    def collate(
        self,
        features: Sequence[Features],
        tokenizer: PreTrainedTokenizerBase,
        key: tuple[int, int],
        pad_to_multiple_of: int | None = None,
    ) -> Batch:
        import torch

        labels = torch.tensor(np.array([f["labels"] for f in features]))
        return {
            "inputs": pad(features, tokenizer, pad_to_multiple_of),
            "labels": labels.float() if labels.is_floating_point() else labels,
            "row": torch.tensor([int(f["row"]) for f in features]),
        }

    def count(self, batch: Batch) -> float:
        return float(labelled(batch["labels"]).sum())

    def loss(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> Tensor:
        if "loss_sum" in outputs:
            return outputs["loss_sum"]
        return example_losses(outputs["logits"], batch["labels"], head, self.label_smoothing, weighted=True).sum()

    def reduce(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> dict[str, Tensor]:
        logits, labels = outputs["logits"].float(), batch["labels"]
        return {
            "row": batch["row"],
            "labels": labels,
            "scores": scores_of(logits, head),
            "scored_loss": example_losses(logits, labels, head),
            "scored_count": labelled(labels).float(),
        }

    def join(self, reduced: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        return one_per_row(concatenate(reduced))

    def metrics(self, joined: Mapping[str, Any], head: Head) -> Metrics:
        labels, scores = np.asarray(joined["labels"]), np.asarray(joined["scores"])
        known = np.asarray(joined["scored_count"]) > 0
        found: Metrics = {"loss": measures.mean(joined["scored_loss"], joined["scored_count"])}
        if head.problem == "regression":
            return found | measures.regression(labels[known], scores[known, 0])
        if head.problem == "multi_label":
            return found | measures.multi_label(labels[known], scores[known], head.labels, self.threshold)
        return found | measures.single_label(labels[known], scores[known], head.labels, self.positive)

    def decode(
        self, joined: Mapping[str, Any], examples: Examples, head: Head, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Any]]:
        return [describe(scores, head, self.threshold) for scores in np.asarray(joined["scores"])]

    def from_inputs(self, items: Sequence[str | Mapping[str, Any]]) -> dict[str, list[Any]]:
        return input_columns(items, self.inputs())

    def sample(self) -> DatasetDict:
        return samples.classification(self.labels, self.problem, bool(self.text_pair))
