"""Classification in its four shapes: labels in, sums out, metrics that agree with scikit-learn and SciPy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from registry.data.source import Source
from registry.heads import IGNORE, SEQUENCE_CLASSIFICATION, Head
from registry.plugins import with_options
from registry.tasks import measures
from registry.tasks.base import Limits, blank
from registry.tasks.classification import Classification
from registry.tasks.columns import label_order
from registry.tasks.labels import name_labels
from registry.training.assembly import refuse_unused

BINARY = Head(SEQUENCE_CLASSIFICATION, ("negative", "positive"))
THREE = Head(SEQUENCE_CLASSIFICATION, ("a", "b", "c"))
SEVERAL = Head(SEQUENCE_CLASSIFICATION, ("a", "b", "c"), "multi_label")
NUMBER = Head(SEQUENCE_CLASSIFICATION, problem="regression")


def rows_of(labels: list[Any], **columns: list[Any]) -> DatasetDict:
    texts = [f"text {i}" for i in range(len(labels))]
    return DatasetDict(train=Dataset.from_dict({"text": texts, "label": labels, **columns, "row": range(len(labels))}))


def task_of(given: list[Any], **fields: Any) -> Classification:
    return Classification(rows=lambda: rows_of(given), **fields)


def batch_of(task: Classification, head: Head, labels: list[Any], tokenizer: PreTrainedTokenizerBase) -> Any:
    examples = {"text": ["a b c"] * len(labels), "label": labels, "row": range(len(labels))}
    columns = task.encode(examples, tokenizer, head, Limits(8))
    features = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return task.collate(features, tokenizer, (0, 0))


def joined(task: Classification, head: Head, batch: Any, logits: torch.Tensor) -> dict[str, Any]:
    reduced = task.reduce({"logits": logits}, batch, head)
    return task.join([{name: values.numpy() for name, values in reduced.items()}])


def test_indices_and_names_become_names_and_minus_one_none() -> None:
    task = task_of(["0", "1", "positive", "-1"], labels=BINARY.labels)
    assert task.load(Source())["train"]["label"] == ["negative", "positive", "positive", None]


def test_a_foreign_label_is_named_with_its_row() -> None:
    with pytest.raises(ValueError, match=r"train row 1.*'positiv' is not a label.*did you mean positive"):
        task_of(["0", "positiv"], labels=BINARY.labels).load(Source())


def test_labels_without_a_declared_space_are_ordered_by_number_or_name() -> None:
    task = task_of(["10", "9", "1"])
    assert task.head(task.load(Source())).labels == ("1", "9", "10")
    task = task_of(["b", "c", "a"])
    assert task.head(task.load(Source())) == THREE


def test_one_label_only_is_refused() -> None:
    task = task_of(["a", "a"])
    with pytest.raises(ValueError, match="two labels or more"):
        task.head(task.load(Source()))


@pytest.mark.parametrize(
    ("labels", "option"),
    [
        (["1.5", "2"], {"class_weights": "balanced"}),
        (["1.5", "2"], {"label_smoothing": 0.5}),
        (["1.5", "2"], {"positive": "a"}),
        ([["a"], ["b"]], {"positive": "a"}),
        (["a", "b"], {"threshold": 0.4}),
    ],
)
def test_options_without_use_are_refused(labels: Any, option: dict[str, Any]) -> None:
    task = task_of(labels, **option)
    head = task.head(task.load(Source()))  # what a team's own task presets is no fault
    with pytest.raises(ValueError, match=r"^--task-option .*=.*: labels are taken for .*, which has no use for it$"):
        refuse_unused(option, "--task-option", task.unused(head))
    refuse_unused({}, "--task-option", task.unused(head))


def test_lists_of_labels_are_renamed_one_by_one() -> None:
    task = dataclasses.replace(task_of([["pos"], ["neg", "pos"], []]), renamed={"pos": "positive", "neg": "negative"})
    assert task.load(Source())["train"]["label"][:] == [["positive"], ["negative", "positive"], []]


def test_one_of_three_labels_is_not_the_positive_one() -> None:
    assert task_of([], positive="b").head(rows_of(["a", "b"])).labels == ("a", "b")
    with pytest.raises(ValueError, match="positive='b' is for two labels; f1 of 3 is their mean"):
        task_of([], positive="b").head(rows_of(["a", "b", "c"]))


@pytest.mark.parametrize(
    ("labels", "fields", "problem", "expected"),
    [
        (["1", "2"], {}, "single_label", ["1", "2"]),
        (["1.5", "2", None], {}, "regression", [1.5, 2.0, None]),
        (["1", "2"], {"problem": "regression"}, "regression", [1.0, 2.0]),
        ([["a", "b"], [], None], {}, "multi_label", [["a", "b"], [], None]),
        (["a|c", "b"], {"label_separator": "|"}, "multi_label", [["a", "c"], ["b"]]),
        (["a|c", None, ""], {"label_separator": "|"}, "multi_label", [["a", "c"], [], []]),
        ([None, None], {"label_separator": "|"}, "multi_label", [None, None]),
        (["1", "nan"], {"problem": "single_label"}, "single_label", ["1", "nan"]),
        (["a", None], {"problem": "multi_label"}, "multi_label", [["a"], None]),
    ],
)
def test_the_problem_follows_from_the_labels(labels: Any, fields: Any, problem: str, expected: Any) -> None:
    task = task_of(labels, **fields)
    raw = task.load(Source())
    assert list(raw["train"]["label"]) == expected
    if problem != "single_label":
        assert task.head(raw).problem == problem if problem == "regression" else True


@pytest.mark.parametrize("fields", [{}, {"problem": "multi_label"}, {"label_separator": ","}])
@pytest.mark.parametrize("cell", ["['a', 'c']", '["a"]', "[]", "['a' 'c']", "[1, 0]"])
def test_a_list_written_as_text_is_refused(cell: str, fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^train row 1, column label: .* written as text; use JSON lines or parquet"):
        task_of(["[a]", cell, None], **fields).load(Source())
    raw = task_of(["[a]", cell, None], problem="single_label").load(Source())
    assert raw["train"]["label"][:] == ["[a]", cell, None]


@pytest.mark.parametrize(("zero", "one"), [("0", "1"), ("0.0", "1.0"), ("false", "true"), ("False", "True")])
def test_vectors_are_read_by_place_or_refused(zero: str, one: str) -> None:
    vectors = [None, [zero, one, one], [zero, zero, zero]]
    raw = task_of(vectors, labels=("a", "b", "c")).load(Source())
    assert raw["train"]["label"][:] == [None, ["b", "c"], []]
    message = rf"^train row 1, column label: \['{zero}', '{one}', '{one}'\] is a vector of 0 and 1; write the names, or"
    for fields in ({}, {"problem": "multi_label"}, {"labels": ("a", "b")}):
        with pytest.raises(ValueError, match=message):
            task_of(vectors, **fields).load(Source())
    with pytest.raises(ValueError, match="is a vector of 0 and 1"):  # of two places, each row has both "names"
        task_of([[zero, one], [one, zero]]).load(Source())
    for other in ([one, zero], "abc", ["a", zero, one]):
        splits = DatasetDict(train=rows_of(vectors)["train"], test=rows_of([other])["train"])
        with pytest.raises(ValueError, match=r"^test row 0, column label: .* is no vector of 0 and 1 for 3 labels"):
            name_labels(splits, "auto", ("a", "b", "c"), "")


def test_names_and_indices_that_are_0_and_1_are_no_vectors() -> None:
    names = [["0", "1"], ["1"], [], None]
    assert task_of(names).load(Source())["train"]["label"][:] == names
    assert task_of([["0"], ["1"]]).load(Source())["train"]["label"][:] == [["0"], ["1"]]
    assert task_of([["0", "1"], ["2", "1"]]).load(Source())["train"]["label"][:] == [["0", "1"], ["2", "1"]]
    indices = [["0", "1"], ["1"]]
    assert task_of(indices, labels=("a", "b")).load(Source())["train"]["label"][:] == [["a", "b"], ["b"]]
    evaluated = DatasetDict(test=rows_of([["0", "1"]])["train"])  # rows of a run whose labels are 0, 1 and 2
    assert name_labels(evaluated, "multi_label", (), "")["test"]["label"][:] == [["0", "1"]]


def test_lists_of_labels_where_one_is_needed_are_named() -> None:
    message = r"row 1, column label: \['a', 'b'\] is a list of labels, where one is needed \(problem=multi_label"
    with pytest.raises(ValueError, match=f"^train {message}"):
        task_of([None, ["a", "b"]], problem="single_label").load(Source())
    splits = DatasetDict(train=rows_of(["a", "b"])["train"], validation=rows_of([None, ["a", "b"]])["train"])
    with pytest.raises(ValueError, match=f"^validation {message}"):
        name_labels(splits, "auto", (), "")


def test_a_label_beside_lists_of_labels_is_not_taken_apart() -> None:
    splits = DatasetDict(train=rows_of(["pos"])["train"], validation=rows_of([["pos", "neg"]])["train"])
    task = Classification(rows=lambda: splits, renamed={"pos": "positive"})
    with pytest.raises(ValueError, match=r"^train row 0, column label: 'pos' is one label, where other splits have"):
        task.load(Source())


def test_numbers_that_would_become_classes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"most are fractions, but 'n/a' is no number; empty it \(problem=single_label"
    ):
        task_of(["4.5", "n/a", "3.0", "2.5"]).load(Source())
    with pytest.raises(ValueError, match=r"'0,5' and others are numbers with a decimal comma; write 0\.5"):
        task_of(["0,5", "2", "1,5"]).load(Source())
    for labels, fields in (["0,5", "2"], {"problem": "single_label"}), (["v1", "v2", "1.5"], {}), (["1,a", "2,b"], {}):
        assert task_of(labels, **fields).load(Source())["train"]["label"][:] == labels


def test_indices_written_as_floats_are_indices() -> None:
    assert task_of(["1.0", "0.0", None, "-1.0"], labels=BINARY.labels).load(Source())["train"]["label"][:] == [
        *("positive", "negative"),
        *(None, None),
    ]


def test_other_rows_are_read_as_the_head_learned_them() -> None:
    several = task_of(["ab", None]).for_head(Head("", ("a", "b"), "multi_label")).load(Source())
    assert several["train"]["label"][:] == [["ab"], None]
    stars = task_of(["4.5"]).for_head(Head("", ("4", "5"))).load(Source())
    assert stars["train"]["label"][:] == ["4.5"]
    with pytest.raises(ValueError, match="row 0, column label: 'n/a' is not a number"):
        task_of(["n/a"]).for_head(Head("", problem="regression")).load(Source())


def test_a_word_among_numbers_is_named() -> None:
    with pytest.raises(ValueError, match="train row 1, column label: 'high' is not a number"):
        name_labels(rows_of(["1.5", "high"]), "regression", (), "")


@pytest.mark.parametrize(
    ("labels", "fields"), [(["0", "1", "NaN"], {}), (["1", "2", "-inf"], {"problem": "regression"})]
)
def test_a_number_that_is_none_is_named(labels: list[Any], fields: Any) -> None:
    with pytest.raises(ValueError, match=r"train row 2, column label: '.*' is not finite .* must be empty$"):
        task_of(labels, **fields).load(Source())


def test_names_that_float_reads_have_one_order() -> None:
    assert label_order(["nan", "2", "10", "1"]) == ("1", "10", "2", "nan")
    assert label_order(["10", "2", "2.0"]) == ("2", "2.0", "10")


def test_pairs_carry_both_texts_and_missing_ones_are_named(tokenizer: PreTrainedTokenizerBase) -> None:
    task = Classification(text="premise", text_pair="hypothesis", labels=("no", "yes"))
    given = task.from_inputs([{"premise": "a", "hypothesis": "b"}, {"text": "c", "text_pair": "d"}])
    assert given == {"row": [0, 1], "text": ["a", "c"], "text_pair": ["b", "d"]}
    encoded = task.encode(given, tokenizer, BINARY, Limits(16))
    assert encoded["token_type_ids"][0] == [0, 0, 0, 1, 1]
    assert encoded["labels"] == [IGNORE, IGNORE]
    with pytest.raises(ValueError, match="item 1: 'text_pair' is missing"):
        task.from_inputs([{"premise": "a", "hypothesis": "b"}, "only one"])
    with pytest.raises(ValueError, match="item 0: 'text' must be text, not int"):
        Classification().from_inputs([{"text": 3}])
    with pytest.raises(ValueError, match=r"item 1: column 'text_pair' is not read here; this takes text$"):
        Classification().from_inputs(["a", {"text": "a", "text_pair": "b"}])


@pytest.mark.parametrize(
    ("head", "labels", "expected"),
    [
        (THREE, ["a", None, "c"], torch.nn.functional.cross_entropy),
        (SEVERAL, [["a", "c"], None, []], torch.nn.functional.binary_cross_entropy_with_logits),
        (NUMBER, [0.5, None, -2.0], torch.nn.functional.mse_loss),
    ],
)
def test_the_loss_is_the_sum_over_labelled_rows(
    head: Head, labels: list[Any], expected: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    task = Classification()
    batch = batch_of(task, head, labels, tokenizer)
    logits = torch.randn(3, max(head.outputs, 1), generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert task.count(batch) == 2
    loss = task.loss({"logits": logits}, batch, head)
    kept = torch.tensor([0, 2])
    chosen = logits[kept].squeeze(-1) if head is NUMBER else logits[kept]
    torch.testing.assert_close(loss / 2, expected(chosen, batch["labels"][kept]))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1].abs().sum() == 0
    assert logits.grad[0].abs().sum() > 0
    together = joined(task, head, batch, logits.detach())
    assert task.metrics(together, head)["loss"] == pytest.approx(loss.item() / 2, rel=1e-6)


@pytest.mark.parametrize(("head", "labels"), [(THREE, ["a", "b"]), (SEVERAL, [["a"], []]), (NUMBER, [1.0, 2.0])])
def test_a_blank_batch_counts_nothing_and_has_no_gradient(
    head: Head, labels: list[Any], tokenizer: PreTrainedTokenizerBase
) -> None:
    task = Classification(label_smoothing=0.1)
    batch = blank(batch_of(task, head, labels, tokenizer))
    logits = torch.randn(2, max(head.outputs, 1), requires_grad=True)
    loss = task.loss({"logits": logits}, batch, head)
    loss.backward()
    assert task.count(batch) == 0
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_sums_of_parts_are_the_sum_of_the_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    task = with_options(Classification(), {"label_smoothing": "0.1", "class_weights": "balanced"})
    labels = ["a", "b", "c", "a", "a"]
    head = task.head(rows_of(labels))
    logits = torch.randn(5, 3)
    whole = task.loss({"logits": logits}, batch_of(task, head, labels, tokenizer), head)
    parts = [
        task.loss({"logits": logits[part]}, batch_of(task, head, labels[part], tokenizer), head)
        for part in (slice(0, 2), slice(2, 5))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_balanced_weights_are_scikit_learns_and_weigh_the_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = ["a"] * 6 + ["b"] * 3 + ["c"]
    task = Classification(class_weights="balanced")
    head = task.head(rows_of(labels))
    assert head.label_weights == pytest.approx(
        compute_class_weight("balanced", classes=np.array(list("abc")), y=labels)
    )
    batch = batch_of(task, head, labels, tokenizer)
    logits = torch.randn(10, 3)
    plain = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
    weights = torch.tensor(head.label_weights)[batch["labels"]]
    torch.testing.assert_close(task.loss({"logits": logits}, batch, head), (plain * weights).sum())
    assert float(weights.sum()) == pytest.approx(len(labels))
    reduced = task.reduce({"logits": logits}, batch, head)
    torch.testing.assert_close(reduced["scored_loss"], plain)


def test_single_label_metrics_are_scikit_learns(tokenizer: PreTrainedTokenizerBase) -> None:
    from sklearn import metrics

    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 60)
    logits = torch.tensor(generator.normal(size=(60, 3)) + 1.5 * np.eye(3)[truth], dtype=torch.float32)
    names = [THREE.labels[i] for i in truth]
    task = Classification()
    found = task.metrics(joined(task, THREE, batch_of(task, THREE, names, tokenizer), logits), THREE)
    predicted = logits.argmax(1).numpy()
    probabilities = logits.softmax(1).numpy()
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    for average in ("macro", "micro", "weighted"):
        assert found[f"f1_{average}"] == pytest.approx(metrics.f1_score(truth, predicted, average=average))
    assert found["f1"] == found["f1_macro"]
    assert found["precision"] == pytest.approx(metrics.precision_score(truth, predicted, average="macro"))
    assert found["recall"] == pytest.approx(metrics.recall_score(truth, predicted, average="macro"))
    assert found["matthews"] == pytest.approx(metrics.matthews_corrcoef(truth, predicted))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert found["support"] == 60
    report = metrics.classification_report(truth, predicted, target_names=list("abc"), output_dict=True)
    for label in "abc":
        assert found["per_class"][label]["f1"] == pytest.approx(report[label]["f1-score"])
        assert found["per_class"][label]["support"] == report[label]["support"]


@pytest.mark.parametrize(("positive", "label"), [("", 1), ("negative", 0)])
def test_of_two_labels_f1_is_the_positive_ones(positive: str, label: int, tokenizer: PreTrainedTokenizerBase) -> None:
    from sklearn.metrics import f1_score

    task = Classification(positive=positive)
    names = ["negative", "positive", "positive", "negative", None]
    logits = torch.tensor([[2.0, 0], [0, 1], [1, 0], [0, 3], [1, 0]])
    found = task.metrics(joined(task, BINARY, batch_of(task, BINARY, names, tokenizer), logits), BINARY)
    assert found["f1"] == pytest.approx(f1_score([0, 1, 1, 0], [0, 1, 0, 1], pos_label=label))
    assert found["support"] == 4


def test_calibration_error_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    from registry.tasks.measures import calibration_error

    confidence = np.array([0.91, 0.92, 0.55, 0.95])
    assert calibration_error(confidence, np.array([1, 0, 1, 1]), bins=10) == pytest.approx(
        (abs(2 - (0.91 + 0.92 + 0.95)) + abs(1 - 0.55)) / 4
    )


def test_multi_label_metrics_are_scikit_learns(tokenizer: PreTrainedTokenizerBase) -> None:
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(5)
    truth = generator.integers(0, 2, (40, 3))
    logits = torch.tensor(generator.normal(size=(40, 3)) + truth, dtype=torch.float32)
    names = [[SEVERAL.labels[i] for i in row.nonzero()[0]] for row in truth]
    for threshold in (0.5, 0.7):
        task = Classification(threshold=threshold)
        together = joined(task, SEVERAL, batch_of(task, SEVERAL, names, tokenizer), logits)
        found = task.metrics(together, SEVERAL)
        predicted = (logits.sigmoid().numpy() >= threshold).astype(int)
        for average in ("macro", "micro", "weighted", "samples"):
            expected = f1_score(truth, predicted, average=average, zero_division=0)
            assert found[f"f1_{average}"] == pytest.approx(expected)
        decoded = task.decode(together, {"row": range(40)}, SEVERAL, tokenizer)
        assert set(decoded[0]["labels"]) == {SEVERAL.labels[i] for i in predicted[0].nonzero()[0]}


def test_regression_metrics_are_scipys(tokenizer: PreTrainedTokenizerBase) -> None:
    from scipy.stats import pearsonr, spearmanr

    truth, values = [1.0, 2.5, 4.0, 0.5], [1.5, 2.0, 3.0, 1.0]
    task = Classification()
    logits = torch.tensor(values).unsqueeze(1)
    found = task.metrics(joined(task, NUMBER, batch_of(task, NUMBER, truth, tokenizer), logits), NUMBER)
    assert found["pearson"] == pytest.approx(pearsonr(truth, values).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(truth, values).statistic)
    assert found["mse"] == pytest.approx(np.mean((np.array(truth) - values) ** 2))


def test_correlations_with_a_constant_are_none() -> None:
    for truth, values in ((np.ones(1), np.zeros(1)), (np.arange(3.0), np.ones(3)), (np.ones(3), np.arange(3.0))):
        found = measures.regression(truth, values)
        assert found["pearson"] is found["spearman"] is None
        assert found["mse"] == np.mean((truth - values) ** 2)


def test_rows_are_joined_in_order_and_once(tokenizer: PreTrainedTokenizerBase) -> None:
    task = Classification()
    batch = batch_of(task, BINARY, ["negative", "positive", None], tokenizer)
    logits = torch.tensor([[2.0, 0], [0, 1], [1, 0]])
    reduced = {name: values.numpy() for name, values in task.reduce({"logits": logits}, batch, BINARY).items()}
    parts = [{n: v[[2, 1]] for n, v in reduced.items()}, {n: v[[0, 1]] for n, v in reduced.items()}]
    together = task.join(parts)
    assert together["row"].tolist() == [0, 1, 2]
    decoded = task.decode(together, {"row": [0, 1, 2]}, BINARY, tokenizer)
    assert [answer["label"] for answer in decoded] == ["negative", "positive", "negative"]
    assert decoded[1]["score"] == pytest.approx(float(torch.tensor([0.0, 1.0]).softmax(0)[1]))
    assert list(decoded[1]["scores"]) == ["positive", "negative"]


def test_an_unlabelled_split_is_not_scored(tokenizer: PreTrainedTokenizerBase) -> None:
    task = Classification()
    batch = batch_of(task, BINARY, [None, None], tokenizer)
    assert task.metrics(joined(task, BINARY, batch, torch.zeros(2, 2)), BINARY) == {"loss": None, "support": 0}
