"""Ranked answers: rare and unseen ones, templates, abstention, ranks by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from registry.data.source import Source
from registry.heads import IGNORE, SEQUENCE_CLASSIFICATION, Head
from registry.plugins import with_options
from registry.tasks.base import Limits, blank
from registry.tasks.qa import QuestionAnswering

HEAD = Head(SEQUENCE_CLASSIFICATION, ("a", "b", "c", "d", "e", "f", "g"))


def rows_of(answers: list[str | None]) -> DatasetDict:
    questions = [f"question {i}" for i in range(len(answers))]
    columns = {"question": questions, "answer": answers, "row": range(len(answers))}
    return DatasetDict(train=Dataset.from_dict(columns))


def batch_of(task: QuestionAnswering, answers: list[str | None], tokenizer: PreTrainedTokenizerBase) -> Any:
    columns = task.encode(rows_of(answers)["train"][:], tokenizer, HEAD, Limits(16))
    features = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return task.collate(features, tokenizer, (0, 0))


def joined(task: QuestionAnswering, batch: Any, logits: torch.Tensor) -> dict[str, Any]:
    return task.join([{n: v.numpy() for n, v in task.reduce({"logits": logits}, batch, HEAD).items()}])


def test_rare_answers_are_not_learned() -> None:
    answers = ["a"] * 3 + ["b"] * 2 + ["c"] + [None]
    raw = QuestionAnswering(rows=lambda: rows_of(answers)).load(Source())
    assert QuestionAnswering().head(raw).labels == ("a", "b", "c")
    assert QuestionAnswering(min_answer_count=2).head(raw).labels == ("a", "b")
    with pytest.raises(ValueError, match="two answers or more with min_answer_count=3"):
        QuestionAnswering(min_answer_count=3).head(raw)


def test_answers_may_be_declared() -> None:
    raw = QuestionAnswering(rows=lambda: rows_of(["true", "false", "true"]), answers=("false", "true")).load(Source())
    assert QuestionAnswering(answers=("false", "true")).head(raw).labels == ("false", "true")
    with pytest.raises(ValueError, match="train row 1, column answer: 'maybe' is not a label"):
        QuestionAnswering(rows=lambda: rows_of(["true", "maybe"]), answers=("false", "true")).load(Source())


def test_metrics_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    task = QuestionAnswering(threshold=0.5)
    batch = batch_of(task, ["a", "b", "c", "unseen", None], tokenizer)
    assert batch["labels"].tolist() == [0, 1, 2, IGNORE, IGNORE]
    assert task.count(batch) == 3
    logits = torch.tensor(
        [
            [9.0, 0, 0, 0, 0, 0, 0],  # sure and right
            [2.0, 1, 0, 0, 0, 0, 0],  # second place, below the threshold after softmax: 7.39 / 15.1
            [4.0, 3, 1, 2, 0, 0, 0],  # fourth place, sure and wrong
            [9.0, 0, 0, 0, 0, 0, 0],  # sure, but the answer is outside the label space
            [0.0, 0, 0, 0, 0, 0, 0],
        ]
    )
    found = task.metrics(joined(task, batch, logits), HEAD)
    assert found["accuracy"] == 1 / 4
    assert found["top3_accuracy"] == 2 / 4
    assert found["top5_accuracy"] == 3 / 4
    assert found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4) / 4)
    assert found["unseen_answers"] == 1
    assert found["support"] == 4
    assert found["coverage"] == 3 / 4
    assert found["accuracy_answered"] == pytest.approx(1 / 3)
    losses = torch.nn.functional.cross_entropy(logits[:3], torch.tensor([0, 1, 2]))
    assert found["loss"] == pytest.approx(losses.item())


def test_ties_count_against_the_model(tokenizer: PreTrainedTokenizerBase) -> None:
    task = QuestionAnswering()
    found = task.metrics(joined(task, batch_of(task, ["a"], tokenizer), torch.zeros(1, 7)), HEAD)
    assert (found["accuracy"], found["mrr"]) == (0.0, pytest.approx(1 / 7))


def test_predictions_are_ranked_and_may_abstain(tokenizer: PreTrainedTokenizerBase) -> None:
    task = QuestionAnswering(threshold=0.5, top=2)
    given = task.from_inputs(["where ?", {"question": "when ?"}])
    columns = task.encode(given, tokenizer, HEAD, Limits(16))
    features = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    batch = task.collate(features, tokenizer, (0, 0))
    logits = torch.tensor([[0.0, 5, 3, 0, 0, 0, 0], [0.1, 0, 0, 0, 0, 0, 0.0]])
    sure, unsure = task.decode(joined(task, batch, logits), given, HEAD, tokenizer)
    assert sure["answer"] == "b"
    assert [answer["answer"] for answer in sure["answers"]] == ["b", "c"]
    assert sure["answers"][0]["score"] == pytest.approx(logits[0].softmax(0)[1].item())
    assert unsure["answer"] is None
    assert len(unsure["answers"]) == 2


def test_a_template_surrounds_the_question(tokenizer: PreTrainedTokenizerBase) -> None:
    task = with_options(QuestionAnswering(), {"question_template": "for the {question} works"})
    examples = {"question": ["music"], "row": [0]}
    expected = tokenizer("for the music works")["input_ids"]
    assert task.encode(examples, tokenizer, HEAD, Limits(16))["input_ids"] == [expected]


@pytest.mark.parametrize("template", ["no placeholder", "{answer}", "{question", "{question} {context}"])
def test_a_template_without_its_placeholder_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="question_template="):
        with_options(QuestionAnswering(), {"question_template": template})


def test_a_context_is_the_second_text(tokenizer: PreTrainedTokenizerBase) -> None:
    task = QuestionAnswering(context="passage")
    given = task.from_inputs([{"question": "music", "passage": "film"}])
    assert task.encode(given, tokenizer, HEAD, Limits(16))["input_ids"] == [tokenizer("music", "film")["input_ids"]]


def test_a_blank_batch_is_an_exact_zero(tokenizer: PreTrainedTokenizerBase) -> None:
    task = QuestionAnswering(label_smoothing=0.1)
    batch = blank(batch_of(task, ["a", "b"], tokenizer))
    logits = torch.randn(2, 7, requires_grad=True)
    loss = task.loss({"logits": logits}, batch, HEAD)
    loss.backward()
    assert (task.count(batch), loss.item()) == (0, 0)
    assert logits.grad is not None
    assert not logits.grad.any()
