"""The conformance kit passes what keeps the contract, over every built-in, and catches what does not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from registry import models, tasks
from registry.plugins import load_plugin_file, with_options
from registry.tasks.base import Task
from registry.tasks.classification import Classification
from registry.tasks.ner import Ner
from registry.testing import Result, check_model, check_task, model_results, task_results
from registry.testing import model_checks as on_models
from registry.testing import task_checks as on_tasks
from registry.testing.results import Skipped

sys.path.insert(0, str(Path(__file__).parent / "sample_plugin"))

from sample_plugin.models import GatedBag, GatedBagSpec, gated_bag, small_distilbert
from sample_plugin.tasks import weather

QUICK_TASKS = ("sst2", "stsb", "demo-ner", "taipei-qa", "demo-mlm", "mnli")
"""One of each kind; the others differ only in where their rows lie."""

QUICK_MODELS = ("tiny", "bilstm", "textcnn", "bow", "lexicon")
SMALL_BERT = {"hidden_size": "64", "num_hidden_layers": "2", "num_attention_heads": "2", "intermediate_size": "128"}


def marked(names: list[str], quick: tuple[str, ...]) -> list[Any]:
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", marked(tasks.names(), QUICK_TASKS))
def test_built_in_tasks(name: str) -> None:
    check_task(tasks.get(name))


@pytest.mark.parametrize(
    "name", marked([name for name in models.names() if not models.get(name).checkpoint], QUICK_MODELS)
)
def test_built_in_models(name: str) -> None:
    spec = models.get(name)
    if name == "transformer":  # of an architecture from random weights, made small
        check_model(with_options(spec, SMALL_BERT), path="bert", processes=False)
    else:
        check_model(spec, processes=False)


@pytest.mark.parametrize("name", models.names())
def test_built_in_models_describe_themselves(name: str) -> None:
    for check in on_models.ALONE:
        check(models.get(name))


@pytest.mark.parametrize("spec", [gated_bag, pytest.param(small_distilbert, marks=pytest.mark.slow)])
def test_models_of_others_in_two_processes_too(spec: Any) -> None:
    check_model(spec)


def test_two_processes_execute_the_plugin_file_of_a_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from registry.models import register\n"
        "from registry.models.bow import LinearBag\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(LinearBag):\n"
        "    pass\n"
        'register("mine-in-two")(Mine(description="Mine"))\n'
    )
    load_plugin_file(file)
    on_models.in_two_processes((models.get("mine-in-two"), ""))


def test_a_task_of_others() -> None:
    check_task(weather)


def test_numbers_are_selected_by_what_the_task_takes_for_them() -> None:
    check_task(Classification(description="Numbers", problem="regression"), model="bow")


def test_files_may_be_written_in_another_scheme_than_the_sample() -> None:
    check_task(Ner(description="Bare types", scheme="io"), model="bilstm")


def test_checkpoints_that_are_not_at_hand_are_skipped_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    results = list(model_results(models.get("roberta-base"), processes=False))
    assert [bool(result.skipped) for result in results] == [False, False, False, True]
    assert "FacebookAI/roberta-base" in results[-1].skipped


def test_failures_are_named_together() -> None:
    with pytest.raises(AssertionError) as raised:
        check_task(Classification(description="", primary_metric="glory"), model="bow")
    said = str(raised.value)
    assert "- Says what it is: description, family, primary metric: description is empty" in said
    assert "- Its primary metric is better after learning: metrics() has no 'glory'; it has loss, accuracy" in said


def test_what_raises_is_a_result_and_not_an_error() -> None:
    class Broken(Classification):
        def head(self, raw: Any) -> Any:
            raise KeyError("oops")

    assert list(task_results(Broken())) == [Result("Can be prepared", problem="KeyError: 'oops'")]


class MeanLoss(Classification):
    def loss(self, outputs: Any, batch: Any, head: Any) -> Any:
        return super().loss(outputs, batch, head) / max(self.count(batch), 1)


class LosesRows(Classification):
    def join(self, reduced: Any) -> Any:
        return {name: values[:-1] for name, values in super().join(reduced).items()}


class Flatters(Classification):
    def metrics(self, joined: Any, head: Any) -> Any:
        found = super().metrics(joined, head)
        return {**found, "accuracy": found["accuracy"] / 2 + 0.25}


class MiscountsLoss(Classification):
    def metrics(self, joined: Any, head: Any) -> Any:
        return {**super().metrics(joined, head), "loss": float(np.sum(joined["scored_loss"]))}


class CountsPadding(Classification):
    def count(self, batch: Any) -> float:
        return float(batch["inputs"]["attention_mask"].numel())


class DecodesArrays(Classification):
    def decode(self, joined: Any, *arguments: Any) -> Any:
        return [{"scores": scores} for scores in joined["scores"]]


class ForgetsRows(Classification):
    def encode(self, examples: Any, *arguments: Any) -> Any:
        return {name: values[1:] for name, values in super().encode(examples, *arguments).items()}


class DrawsAnew(Classification):
    def collate(self, features: Any, tokenizer: Any, key: Any, pad_to_multiple_of: Any = None) -> Any:
        batch = super().collate(features, tokenizer, key, pad_to_multiple_of)
        ids = batch["inputs"]["input_ids"]
        return {**batch, "inputs": {**batch["inputs"], "input_ids": torch.where(torch.rand(ids.shape) < 0.5, ids, 3)}}


class NamesItsColumns(Classification):
    @property
    def roles(self) -> Any:
        return {"query": "query", "label": "label"}


class ReadsTrainAlone(Classification):
    def load(self, source: Any) -> Any:
        raw = super().load(source)
        assert raw["train"]
        return raw


class CountsNobody(Classification):
    def metrics(self, joined: Any, head: Any) -> Any:
        known = joined["labels"][joined["labels"] >= 0]
        return {**super().metrics(joined, head), "share": float(np.sum(known == 0)) / np.float64(len(known))}


class DecodesElsewhere(Classification):
    def decode(self, joined: Any, *arguments: Any) -> Any:
        return [{"span": "x"} for _ in joined["row"]]


class LearnsNothing(Classification):
    def loss(self, outputs: Any, batch: Any, head: Any) -> Any:
        return super().loss(outputs, batch, head).detach() + 0 * outputs["logits"].sum()


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (MeanLoss, on_tasks.loss_is_a_sum, "whole .*, parts"),
        (LosesRows, on_tasks.joins_rows, "rows after join"),
        (Flatters, on_tasks.metrics_agree, "accuracy is .*, counted independently"),
        (MiscountsLoss, on_tasks.metrics_agree, "loss is .*, counted independently"),
        (CountsPadding, on_tasks.counts_what_it_scores, "count.. says .*, scored_count sums to 16"),
        (DecodesArrays, on_tasks.decodes, "not JSON serializable"),
        (ForgetsRows, on_tasks.encodes_every_row, "rows are lost"),
        (DrawsAnew, on_tasks.collates_the_same_twice, "input_ids differs between two calls"),
        (
            NamesItsColumns,
            on_tasks.describes_itself,
            "nobody else knows a column 'query'; the names are text, text_pair",
        ),
        (ReadsTrainAlone, on_tasks.reads_files, "train"),
        (CountsNobody, on_tasks.scores_nothing_without_labels, "share of no label is a number that JSON has not"),
        (DecodesElsewhere, on_tasks.decodes, "a result has none of label"),
        (LearnsNothing, on_tasks.learns, "after 60 updates the loss is"),
    ],
)
def test_broken_tasks_are_caught(kind: type[Task], check: Callable[..., None], said: str) -> None:
    with pytest.raises((AssertionError, TypeError, KeyError), match=said):
        check(on_tasks.subject(kind(description="broken"), "tiny"))


class SeesPadding(GatedBag):
    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return super().forward(input_ids, torch.ones_like(attention_mask))


class NeverRests(GatedBag):
    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        outputs = super().forward(input_ids, attention_mask)
        return {"logits": nn.functional.dropout(outputs["logits"], 0.5, training=True)}


class HasUnused(GatedBag):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.gate.unused = nn.Parameter(torch.ones(1))


class OneColumn(GatedBag):
    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return {"logits": super().forward(input_ids, attention_mask)["logits"][:, :1]}


@dataclass(frozen=True, kw_only=True)
class Odd(GatedBagSpec):
    network: type[GatedBag] = GatedBag

    def build(self, head: Any, tokenizer: Any, source: Any) -> GatedBag:
        return self.network(len(tokenizer), self.width, head.outputs)


class ForgetsWeights(Odd):
    def load(self, directory: Path, head: Any) -> GatedBag:
        module = super().load(directory, head)
        nn.init.zeros_(module.classifier.weight)
        return module


class Pickles(Odd):
    def save(self, module: Any, state_dict: Any, directory: Path) -> None:
        torch.save(dict(state_dict), directory / "pytorch_model.bin")


class SavesItself(Odd):
    def save(self, module: Any, state_dict: Any, directory: Path) -> None:
        super().save(module, module.state_dict(), directory)


class ChangesItsTokenizer(Odd):
    def tokenizer(self, source: Any, texts: Any) -> Any:
        made = super().tokenizer(source, texts)
        made.padding_side = "left"
        return made


class MapsHalf(Odd):
    def layer_map(self, module: Any) -> dict[str, int]:
        return {name: 0 for name, _ in module.named_parameters() if "gate" not in name}


@pytest.mark.parametrize(
    ("spec", "check", "said"),
    [
        (Odd(network=SeesPadding), on_models.ignores_padding, "logits differ by"),
        (Odd(network=NeverRests), on_models.is_deterministic, "two forward passes differ"),
        (Odd(network=HasUnused), on_models.uses_every_parameter, "none for gate.unused"),
        (Odd(network=OneColumn), on_models.gives_logits, r"logits have shape \(16, 1\), not \(16, 2\)"),
        (ForgetsWeights(), on_models.comes_back, "logits of the weights .* differ by"),
        (SavesItself(), on_models.comes_back, "logits of the weights that save.. is given differ by"),
        (
            ChangesItsTokenizer(),
            on_models.keeps_its_tokenizer,
            "its padding_side left is right when it is loaded again",
        ),
        (Pickles(), on_models.comes_back, "pytorch_model.bin may run code when loaded"),
        (MapsHalf(), on_models.maps_its_layers, "no depth for gate.bias, gate.weight"),
    ],
)
def test_broken_models_are_caught(spec: Any, check: Callable[..., None], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(on_models.subject(spec, "sequence-classification"))


def test_recommendations_must_exist() -> None:
    spec = GatedBagSpec(description="x", defaults={"learning_rates": 1e-3})
    with pytest.raises(ValueError, match="unknown model default 'learning_rates'; did you mean learning_rate"):
        on_models.recommends_options(spec)


def test_a_model_that_padding_disturbs_may_say_so() -> None:
    spec = Odd(network=SeesPadding, pads_freely=False)
    bench = on_models.subject(spec, "sequence-classification")
    with pytest.raises(Skipped, match="it says that it does not"):
        on_models.ignores_padding(bench)
    on_models.accumulates(bench)
    on_models.learns(bench)
