"""The Task contract: what a task says about its data and how it is learned.

A task is a frozen dataclass. Its families (classification, ner, qa, mlm) share the verbs below; a
named task is a value of a family. Fields whose metadata does not say ``option: False`` are what
``--task-option key=value`` may set.

Canonical columns. `load` gives every split the column ``row`` (int64: the row's number in its
source, unique within the split) and the family's columns under fixed names, with labels as *names*:

======================  ==========================================================
classification          text, [text_pair], label (str | list[str] | float | None)
ner                     tokens (list[str]), tags (list[str]); [text, starts]
qa                      question, [context], answer (str | None)
mlm                     text
======================  ==========================================================

A family of its own uses these names, too, and says by `roles` how a source calls them ("query" -> text): cleaning,
checks, vocabularies and `--text-column` know no others. `load` may be given any of the splits alone.

Splits are named train, validation, test; further ones begin with one of these names
(``validation_mismatched``). Unlabelled rows carry None.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from registry.data.source import Local, Roles, Source
from registry.heads import IGNORE, Head
from registry.plugins import not_an_option
from registry.tasks.measures import LESS_IS_BETTER

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

Examples = Mapping[str, Sequence[Any]]
"""Columns of raw rows: name -> one value a row."""

Features = dict[str, Any]
"""One encoded example: `input_ids` (list[int]), `row` (int), [token_type_ids, labels, …]."""

Metrics = dict[str, Any]
"""Named values; nested dictionaries hold per-class or per-type tables."""


class Batch(TypedDict, total=False):
    """What `collate` gives. Tensors of `inputs` go to the model's forward by name."""

    inputs: dict[str, Tensor]
    labels: Tensor
    row: Tensor
    words: Tensor  # ner: word number of each scored position, else -1
    part: Tensor  # mlm: number of the block within its row
    fill: Tensor  # mlm: the masks are the person's own, nothing is scored
    known: Tensor  # qa: the row has an answer, be it outside the label space


@dataclass(frozen=True)
class Limits:
    """How long texts are cut: at most `max_length` tokens, keeping "head", "tail" or "head-tail"."""

    max_length: int = 128
    truncation: str = "head"


@dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """Base of the families: where data lies, and the verbs every task has.

    Args:
        description: one line for `plugins.py list`.
        hub, subset, revision: the data set on the Hub.
        hub_splits: our split name -> the Hub's, where they differ.
        local: our split name -> file (glob) in the publisher's own layout under --data-dir.
        rows: gives raw splits with canonical columns, for tasks that make their own data.
        primary_metric: selects the best checkpoint; `minimize` says in which direction.
        max_length: recommended --max-length, where the default does not suit.
    """

    contract: ClassVar[int] = 1
    family: ClassVar[str] = ""
    prediction_keys: ClassVar[tuple[str, ...]] = ("label",)
    """Keys of `decode`, of which one holds the prediction itself, comparable with `truths`; empty: rows have none."""
    packs: ClassVar[bool] = False
    """Whether `encode` puts several rows into one example, so that noise in one row would move all that follow."""
    cuts: ClassVar[bool] = True
    """Whether `encode` cuts long texts as `Limits.truncation` says; else a person who sets --truncation is told so."""
    less_is_better: ClassVar[tuple[str, ...]] = LESS_IS_BETTER
    """Names of metrics whose smaller values are better, should a person select or compare by them."""
    group_by_length: ClassVar[bool | None] = None
    """Recommended --group-by-length, where the default does not suit."""

    description: str = not_an_option("")
    hub: str = not_an_option("")
    subset: str | None = not_an_option(None)
    revision: str | None = not_an_option(None)
    hub_splits: Mapping[str, str] = not_an_option({})
    local: Local = not_an_option({})
    # Left out of repr, which names encoded rows in the cache: a function's is another in every process.
    rows: Callable[[], DatasetDict] | None = field(default=None, repr=False, metadata={"option": False})
    primary_metric: str = not_an_option("accuracy")
    minimize: bool = not_an_option(False)
    max_length: int | None = not_an_option(None)

    @property
    def roles(self) -> Roles:
        """Canonical column -> its name in a source, or the names that it may have there."""
        return {}

    def read(self, source: Source) -> DatasetDict:
        """Raw splits of `source` with columns renamed by `roles`; the verb that every `load` begins with."""
        if self.rows is not None and not source.files and not source.data_dir:
            return self.rows()
        from registry.data.reading import read

        return read(
            source,
            hub=self.hub,
            subset=self.subset,
            revision=self.revision,
            hub_splits=self.hub_splits,
            local=self.local,
            roles=self.roles,
        )

    @abc.abstractmethod
    def load(self, source: Source) -> DatasetDict:
        """Raw splits with canonical columns (see the module).

        Raises:
            ValueError: files, columns or labels are missing or wrong; names file, row and column.
        """

    @abc.abstractmethod
    def head(self, raw: DatasetDict) -> Head:
        """The label space, decided once from the declared labels or the rows of the whole train.

        `raw` holds all rows of the splits, before options cut them: a small part keeps the labels of the whole.
        """

    def unused(self, head: Head) -> Mapping[str, str]:
        """Options that this head has no use for, each with the reason: a person who sets one is told so."""
        return {}

    def selecting(self, head: Head) -> tuple[str, bool]:
        """(metric that selects the best weights, whether less is better) for what the head turned out to be."""
        return self.primary_metric, self.minimize

    @abc.abstractmethod
    def encode(
        self, examples: Examples, tokenizer: PreTrainedTokenizerBase, head: Head, limits: Limits
    ) -> dict[str, list[Any]]:
        """Tokenise a batch of rows. One encoded example is a text, a window or a packed block.

        Returns columns of encoded examples: `input_ids`, `row`, `truncated` (bool), [`token_type_ids`,
        `labels`, …]; special tokens included, no padding, no attention mask. Label indices come from
        `head`; a label that is not in it is a ValueError that names the row.
        """

    @abc.abstractmethod
    def collate(
        self,
        features: Sequence[Features],
        tokenizer: PreTrainedTokenizerBase,
        key: tuple[int, int],
        pad_to_multiple_of: int | None = None,
    ) -> Batch:
        """Padded tensors. `key` is (seed, epoch): random choices are a function of key and row alone."""

    @abc.abstractmethod
    def count(self, batch: Batch) -> float:
        """Scored items of a batch, from the batch alone (known before the forward pass)."""

    @abc.abstractmethod
    def loss(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> Tensor:
        """Sum of the loss over scored items, float32 scalar. Prefers the model's own `loss_sum`."""

    @abc.abstractmethod
    def reduce(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> dict[str, Tensor]:
        """What evaluation keeps of a batch, computed on the device: never vocabulary-sized logits.

        Every tensor's first dimension is the batch's examples; `row` is always there. Reference
        labels travel along, so that `join` and `metrics` need nothing else. `scored_loss`
        (examples,) holds each example's summed loss and `scored_count` its items.
        """

    @abc.abstractmethod
    def join(self, reduced: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        """Batches, windows and blocks put together by row id, sorted by `row`, each row once.

        Fractions are finite but for `labels`, where NaN marks rows without one; a trained run that gives others is
        refused.
        """

    @abc.abstractmethod
    def metrics(self, joined: Mapping[str, Any], head: Head) -> Metrics:
        """Named metrics over the labelled rows; `loss` (mean over items) always among them.

        A value that these rows do not define is None; a split may have no labelled row at all.
        """

    @abc.abstractmethod
    def decode(
        self, joined: Mapping[str, Any], examples: Examples, head: Head, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Any]]:
        """What a person reads, one dictionary a row of `joined`; `examples` has the same rows in order."""

    def for_columns(self, columns: Mapping[str, str]) -> Task:
        """The task on files of which a person names these columns (role -> name): a second text makes pairs."""
        return self

    def for_head(self, head: Head) -> Task:
        """The task as a run with this head reads labels of other rows: what they are is guessed from train alone."""
        return self

    def inputs(self) -> Roles:
        """Columns that a prediction is made from, and their names in a source; a bare text is the first of them."""
        return {name: source for name, source in self.roles.items() if name not in ("label", "answer", "tags")}

    def truths(self, examples: Examples) -> list[Any]:
        """What each row is labelled with, in the form of the prediction that `decode` gives; None where it is not."""
        rows = examples["row"]
        return list(examples.get("label") or [None] * len(rows))

    @abc.abstractmethod
    def from_inputs(self, items: Sequence[str | Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Canonical unlabelled columns from what somebody types or posts: texts or dictionaries of columns."""

    def sample(self) -> DatasetDict:
        """A few labelled rows that `load` could have given; what `registry.testing` learns by heart.

        Here some of a task's own `rows`, from everywhere; the families make some up.
        """
        import numpy as np
        from datasets import DatasetDict

        if self.rows is None:
            raise ValueError(f"{type(self).__name__} has no rows of its own: it must define sample()")

        def some(rows: Dataset) -> Dataset:
            return rows.select(np.unique(np.linspace(0, len(rows) - 1, 16).astype(int)))

        return DatasetDict({name: some(rows) for name, rows in self.rows().items()})


def blank(batch: Batch) -> Batch:
    """The batch with nothing scored: its count is 0 and its loss an exact, differentiable 0.

    It fills the places of ranks that have no examples left in an update. Integer labels become
    IGNORE, real-valued ones (regression, multi-label) NaN.
    """
    labels = batch["labels"]
    nothing = float("nan") if labels.is_floating_point() else IGNORE
    return {**batch, "labels": labels.new_full(labels.shape, nothing)}
