"""What a task must do, one function a check. A small model learns the task's own sample."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from registry import models
from registry.data.roles import LABELS, LISTS, TEXTS
from registry.data.source import Source
from registry.heads import HEAD_KINDS, Head
from registry.inference import EncodedColumns
from registry.plugins import options_of, with_options
from registry.run_log import flat_values
from registry.tasks.base import Limits, Task, blank
from registry.testing.agreement import counted_independently
from registry.testing.bench import Bench
from registry.testing.results import Skipped

UPDATES = 60
LOW = 0.3
"""Share of the first loss that a learned sample may still have."""

NOT_ROWS = ("row", "starts")


@dataclass(frozen=True)
class Subject(Bench):
    """A bench with the model that has learned the sample."""

    @cached_property
    def untrained(self) -> nn.Module:
        """The module as built."""
        return self.build()

    @cached_property
    def learned(self) -> tuple[nn.Module, list[float]]:
        """The trained module and its losses."""
        module = self.build()
        return module, self.learn(module, UPDATES)

    def metrics(self, module: nn.Module) -> Mapping[str, Any]:
        """The task's metrics of the training rows."""
        return self.task.metrics(self.task.join(self.predict(module)), self.head)


def subject(task: Task, model: str) -> Subject:
    """The task on the bench with a registered model; the sample, its head and its encoding are made."""
    made = Subject(task, models.get(model))
    assert len(made.encoded), "its sample has no rows"
    return made


def describes_itself(bench: Subject) -> None:
    """Says what it is: description, family, primary metric."""
    for name in ("description", "family", "primary_metric"):
        assert getattr(bench.task, name), f"{name} is empty"
    unknown = {*bench.task.roles} - {*TEXTS, *LISTS, *LABELS}
    known = ", ".join(dict.fromkeys((*TEXTS, *LISTS, *LABELS)))
    assert not unknown, f"roles: nobody else knows a column {sorted(unknown)[0]!r}; the names are {known}"


def options_come_back(bench: Subject) -> None:
    """Options are JSON-able and come back the same."""
    options = json.loads(json.dumps(options_of(bench.task)))
    assert with_options(bench.task, options) == bench.task, f"with_options gives another task from {options}"


def reads_files(bench: Subject) -> None:
    """Reads a person's own files."""
    columns = {name: values for name, values in bench.examples.items() if name not in NOT_ROWS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        lines = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        named = {name: name for name in columns}
        loaded = bench.task.load(Source(files={"train": str(path)}, columns=named))
        alone = bench.task.for_head(bench.head).load(Source(files={"test": str(path)}, columns=named))
    assert alone["test"].to_dict() == loaded["train"].to_dict(), "as a test file without train, the rows are others"
    rows = loaded["train"].to_dict()
    for name, values in columns.items():
        assert rows.get(name) == values, f"column {name!r}: wrote {values[:2]}…, read {rows.get(name, [])[:2]}…"
    assert rows["row"] == list(range(len(rows["row"]))), "column 'row' does not number the rows"


def decides_its_head(bench: Subject) -> None:
    """Decides the same head twice, of a known kind, that JSON keeps."""
    assert bench.head.kind in HEAD_KINDS, f"{bench.head.kind!r} is not one of {', '.join(HEAD_KINDS)}"
    assert bench.task.head(bench.raw) == bench.head, "asked again, head() gives another one"
    assert Head.from_json(json.loads(json.dumps(bench.head.to_json()))) == bench.head, "JSON changes the head"


def encodes_every_row(bench: Subject) -> None:
    """Encodes every row, none longer than the limit."""
    columns = bench.encoded.columns
    sizes = {name: len(values) for name, values in columns.items()}
    assert len(set(sizes.values())) == 1, f"columns of different lengths: {sizes}"
    short = bench.task.encode(bench.examples, bench.tokenizer, bench.head, Limits(max_length=8))
    assert max(map(len, short["input_ids"])) <= 8, "with max_length=8 an example is longer"
    assert len(short.get("truncated", ())) == len(short["input_ids"]), "column 'truncated' is missing"
    for rows in (set(columns["row"]), set(short["row"])):
        assert rows <= set(bench.examples["row"]), "an example comes from no row"
        # A packed block bears the id of the first of its rows.
        assert bench.task.packs or rows == set(bench.examples["row"]), "rows are lost"


def collates_the_same_twice(bench: Subject) -> None:
    """Collates the same tensors for the same key."""
    first, second = bench.batch(), bench.batch()
    assert first["inputs"]["input_ids"].shape == first["inputs"]["attention_mask"].shape, "mask and ids differ in shape"
    assert first["row"].tolist() == list(bench.encoded.columns["row"]), "row ids do not follow the examples"
    for name, tensor in first["inputs"].items():
        assert torch.equal(tensor, second["inputs"][name]), f"{name} differs between two calls with one key"
    wide = bench.batch(pad_to=32)["inputs"]["input_ids"]
    assert wide.shape[1] % 32 == 0, f"pad_to_multiple_of=32 gives a length of {wide.shape[1]}"


def counts_what_it_scores(bench: Subject) -> None:
    """Counts scored items before the forward pass."""
    batch = bench.batch()
    kept = bench.task.reduce(bench.forward(bench.untrained, batch), batch, bench.head)
    for name in ("row", "scored_loss", "scored_count"):
        assert name in kept, f"reduce() keeps no {name!r}"
    counted, scored = bench.task.count(batch), float(kept["scored_count"].sum())
    assert counted == scored, f"count() says {counted}, scored_count sums to {scored}"
    assert counted > 0, "nothing of the sample is scored"
    assert bench.task.count(blank(batch)) == 0, "a blank batch has items to score"


def loss_is_a_sum(bench: Subject) -> None:
    """The loss is a sum: that of a batch is that of its parts together."""
    half = len(bench.encoded) // 2
    whole = bench.loss(bench.untrained, bench.batch())
    parts = [float(bench.loss(bench.untrained, bench.batch(part)).detach()) for part in _parts(bench, half)]
    assert whole.ndim == 0, f"the loss has shape {tuple(whole.shape)}, not a scalar"
    assert whole.dtype == torch.float32, f"the loss is {whole.dtype}, not float32"
    value, together = float(whole.detach()), sum(parts)
    assert math.isclose(value, together, rel_tol=1e-3), f"whole {value:.6g}, parts {together:.6g}"


def blank_batches_cost_nothing(bench: Subject) -> None:
    """A batch with nothing to score costs an exact 0 that can be differentiated."""
    module = bench.build()
    loss = bench.loss(module, blank(bench.batch([0])))
    loss.backward()
    assert float(loss.detach()) == 0.0, f"its loss is {float(loss.detach())}"
    spoiled = [name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().sum() != 0]
    assert not spoiled, f"it moves {', '.join(spoiled[:3])}"


def learns(bench: Subject) -> None:
    """Learns its own sample to low loss."""
    _, losses = bench.learned
    share = losses[-1] / losses[0]
    assert share < LOW, f"after {UPDATES} updates the loss is {losses[-1]:.3g}, of {losses[0]:.3g} at first"


def joins_rows(bench: Subject) -> None:
    """Joins every row once, in order, whatever the order of batches."""
    reduced = bench.predict(bench.untrained)
    joined, again = bench.task.join(reduced), bench.task.join(reduced[::-1])
    rows = np.asarray(joined["row"]).tolist()
    assert rows == sorted(set(bench.encoded.columns["row"])), f"rows after join(): {rows[:8]}…"
    assert np.asarray(again["row"]).tolist() == rows, "the order of the batches changes join()"
    first, second = bench.task.metrics(joined, bench.head), bench.task.metrics(again, bench.head)
    assert math.isclose(first["loss"], second["loss"], rel_tol=1e-6), "the order of the batches changes the loss"


def measures_what_is_better(bench: Subject) -> None:
    """Its primary metric is better after learning."""
    before, after = bench.metrics(bench.untrained), bench.metrics(bench.learned[0])
    name, minimize = bench.task.selecting(bench.head)
    for metrics in (before, after):
        assert name in metrics, f"metrics() has no {name!r}; it has {', '.join(metrics)}"
        assert math.isfinite(metrics["loss"]), f"loss is {metrics['loss']}"
    json.dumps(after)
    was, now = before[name], after[name]  # without a value where all predictions are the same, as untrained ones may be
    gained = now is not None and (was is None or (was - now) * (1 if minimize else -1) > 0)
    assert gained or was == now == 1.0, f"{name} went from {was} to {now}"


def metrics_agree(bench: Subject) -> None:
    """Its metrics agree with an independent count over what it decodes."""
    compared = 0
    for module in (bench.untrained, bench.learned[0]):
        reduced = bench.predict(module)
        joined = bench.task.join(reduced)
        metrics, decoded = bench.task.metrics(joined, bench.head), bench.decode(joined, bench.examples)
        for name, value in counted_independently(bench.head, bench.examples, decoded, reduced).items():
            if name in metrics:
                compared += 1
                assert math.isclose(metrics[name], value, rel_tol=1e-5, abs_tol=1e-6), (
                    f"{name} is {metrics[name]}, counted independently {value}"
                )
    if not compared:
        raise Skipped("none of its metrics is known here")


def decodes(bench: Subject) -> None:
    """Decodes every row to something that JSON can hold."""
    joined = bench.task.join(bench.predict(bench.untrained))
    decoded = bench.decode(joined, bench.examples)
    assert len(decoded) == len(joined["row"]), f"{len(decoded)} results for {len(joined['row'])} rows"
    assert all(isinstance(item, dict) for item in decoded), "a result is not a dictionary"
    json.dumps(decoded)
    keys, truths = bench.task.prediction_keys, bench.task.truths(bench.examples)
    if keys:
        assert all(any(key in item for key in keys) for item in decoded), f"a result has none of {', '.join(keys)}"
        assert len(truths) == len(decoded), f"{len(truths)} truths for {len(decoded)} rows"


def scores_nothing_without_labels(bench: Subject) -> None:
    """Has no value, and no error, for the metrics of rows without labels."""
    labels = {*bench.examples} & {*LABELS}
    if not labels:
        raise Skipped("its rows have no labels")
    bare = {name: [None] * len(values) if name in labels else values for name, values in bench.examples.items()}
    encoded = EncodedColumns(bench.task.encode(bare, bench.tokenizer, bench.head, bench.limits))
    metrics = bench.task.metrics(bench.task.join(bench.predict(bench.untrained, encoded)), bench.head)
    spoiled = [name for name, value in flat_values(metrics) if isinstance(value, float) and not math.isfinite(value)]
    assert not spoiled, f"{', '.join(spoiled)} of no label is a number that JSON has not; None says that there is none"


def predicts_what_is_typed(bench: Subject) -> None:
    """Predicts for rows that somebody types, without labels."""
    shown = _typed(bench)
    examples = {"row": list(range(len(shown))), **bench.task.from_inputs(shown)}
    encoded = EncodedColumns(bench.task.encode(examples, bench.tokenizer, bench.head, bench.limits))
    reduced = bench.predict(bench.untrained, encoded)
    decoded = bench.decode(bench.task.join(reduced), examples)
    assert len(decoded) == len(shown), f"{len(decoded)} results for {len(shown)} texts"


def _typed(bench: Subject) -> list[dict[str, Any]]:
    """The sample's first rows as dictionaries of what a prediction is made from."""
    inputs = bench.task.inputs()
    shown = {name: values for name, values in bench.examples.items() if name in inputs}
    return [{name: values[row] for name, values in shown.items()} for row in range(3)]


def _parts(bench: Subject, half: int) -> list[list[int]]:
    return [list(range(half)), list(range(half, len(bench.encoded)))]


CHECKS = (
    describes_itself,
    options_come_back,
    reads_files,
    decides_its_head,
    encodes_every_row,
    collates_the_same_twice,
    counts_what_it_scores,
    loss_is_a_sum,
    blank_batches_cost_nothing,
    joins_rows,
    decodes,
    scores_nothing_without_labels,
    predicts_what_is_typed,
    learns,
    measures_what_is_better,
    metrics_agree,
)
