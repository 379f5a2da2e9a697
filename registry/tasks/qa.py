"""Question answering as classification: the answers are the classes, ranked for every question."""

from __future__ import annotations

import dataclasses
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from registry.data.source import Roles, Source
from registry.heads import IGNORE, SEQUENCE_CLASSIFICATION, Head
from registry.options import option
from registry.plugins import not_an_option
from registry.tasks import measures, samples
from registry.tasks.base import Batch, Examples, Features, Limits, Metrics, Task
from registry.tasks.columns import concatenate, input_columns, label_order, one_per_row
from registry.tasks.labels import labelled, name_column
from registry.tasks.scoring import example_losses
from registry.tasks.tokens import encode_texts, pad

if TYPE_CHECKING:
    from datasets import DatasetDict
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(Task):
    """Questions, with a context where there is one, and one of a closed set of answers.

    Args:
        question, context, answer: columns of the source, or candidates of which one must be there. No `context`:
            "" where there never is one, () where a person may name one (`for_columns`).
        answers: the answers by name, in index order; empty: those found in train.
    """

    family: ClassVar[str] = "qa"
    prediction_keys: ClassVar[tuple[str, ...]] = ("answer",)

    question: str | tuple[str, ...] = not_an_option("question")
    context: str | tuple[str, ...] = not_an_option("")
    answer: str | tuple[str, ...] = not_an_option("answer")
    answers: tuple[str, ...] = not_an_option(())

    question_template: str = option("{question}", "Text around every question, for prompt variants.")
    min_answer_count: int = option(1, "Answers with fewer training rows are not learned.", minimum=1)
    label_smoothing: float = option(0.0, "Share of each target spread over all answers.", minimum=0, maximum=0.99)
    threshold: float = option(0.0, "Score below which the model abstains.", minimum=0, maximum=1)
    top: int = option(5, "Ranked answers that a prediction lists.", minimum=1)

    def __post_init__(self) -> None:
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(self.question_template) if name is not None}
        except ValueError as error:
            raise ValueError(f"question_template={self.question_template!r}: {error}") from None
        if fields != {"question"}:
            raise ValueError(f"question_template={self.question_template!r} must hold {{question}} and no other field")

    @property
    def roles(self) -> Roles:
        context = {"context": self.context} if self.context else {}
        return {"question": self.question, **context, "answer": self.answer}

    def for_columns(self, columns: Mapping[str, str]) -> QuestionAnswering:
        context = columns.get("text_pair")
        return dataclasses.replace(self, context=context) if context and self.context == () else self

    def load(self, source: Source) -> DatasetDict:
        return name_column(self.read(source), "answer", self.answers)

    def head(self, raw: DatasetDict) -> Head:
        counts = Counter(answer for answer in raw["train"]["answer"][:] if answer is not None)
        common = {answer for answer, count in counts.items() if count >= self.min_answer_count}
        labels = tuple(a for a in self.answers if a in common) if self.answers else label_order(common)
        if len(labels) < 2:
            raise ValueError(
                f"train needs two answers or more with min_answer_count={self.min_answer_count} rows; "
                f"it has {', '.join(labels) or 'none'}"
            )
        return Head(SEQUENCE_CLASSIFICATION, labels)

    def encode(
        self, examples: Examples, tokenizer: PreTrainedTokenizerBase, head: Head, limits: Limits
    ) -> dict[str, list[Any]]:
        questions = [self.question_template.format(question=question) for question in examples["question"]]
        columns = encode_texts(tokenizer, questions, examples.get("context"), limits)
        columns["row"] = list(examples["row"])
        given = examples.get("answer") or [None] * len(questions)
        index = {answer: i for i, answer in enumerate(head.labels)}
        columns["labels"] = [index.get(answer, IGNORE) for answer in given]
        columns["known"] = [answer is not None for answer in given]
        return columns

    def collate(
        self,
        features: Sequence[Features],
        tokenizer: PreTrainedTokenizerBase,
        key: tuple[int, int],
        pad_to_multiple_of: int | None = None,
    ) -> Batch:
        import torch

        return {
            "inputs": pad(features, tokenizer, pad_to_multiple_of),
            "labels": torch.tensor([int(f["labels"]) for f in features]),
            "known": torch.tensor([bool(f["known"]) for f in features]),
            "row": torch.tensor([int(f["row"]) for f in features]),
        }

    def count(self, batch: Batch) -> float:
        return float(labelled(batch["labels"]).sum())

    def loss(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> Tensor:
        if "loss_sum" in outputs:
            return outputs["loss_sum"]
        return example_losses(outputs["logits"], batch["labels"], head, self.label_smoothing).sum()

    def reduce(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> dict[str, Tensor]:
        logits, labels = outputs["logits"].float(), batch["labels"]
        scored = labelled(labels)
        of_truth = logits.gather(1, labels.clamp(min=0).unsqueeze(1))
        # Ties count against the model: an answer is behind every other with the same score.
        ranks = (logits >= of_truth).sum(1)
        top = logits.softmax(-1).topk(min(self.top, len(head.labels)))
        return {
            "row": batch["row"],
            "labels": labels,
            "known": batch["known"],
            "rank": ranks.where(scored, ranks.new_zeros(())),
            "top": top.indices,
            "top_scores": top.values,
            "scored_loss": example_losses(logits, labels, head),
            "scored_count": scored.float(),
        }

    def join(self, reduced: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        return one_per_row(concatenate(reduced))

    def metrics(self, joined: Mapping[str, Any], head: Head) -> Metrics:
        known = np.asarray(joined["known"]).astype(bool)
        found: Metrics = {"loss": measures.mean(joined["scored_loss"], joined["scored_count"])}
        ranks, scores = np.asarray(joined["rank"])[known], np.asarray(joined["top_scores"])[known, 0]
        return found | measures.ranking(ranks, scores, self.threshold)

    def decode(
        self, joined: Mapping[str, Any], examples: Examples, head: Head, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Any]]:
        decoded = []
        for indices, scores in zip(np.asarray(joined["top"]), np.asarray(joined["top_scores"]).tolist(), strict=True):
            answers = [{"answer": head.labels[i], "score": s} for i, s in zip(indices, scores, strict=True)]
            best = {"answer": answers[0]["answer"] if scores[0] >= self.threshold else None, "score": scores[0]}
            decoded.append({**best, "answers": answers})
        return decoded

    def truths(self, examples: Examples) -> list[Any]:
        return list(examples.get("answer") or [None] * len(examples["row"]))

    def from_inputs(self, items: Sequence[str | Mapping[str, Any]]) -> dict[str, list[Any]]:
        return input_columns(items, self.inputs())

    def sample(self) -> DatasetDict:
        return samples.qa(self.answers, bool(self.context))
