"""Named-entity recognition: a tag for every word, scored by whole entities."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from registry.data.places import RowError
from registry.data.source import Roles, Source
from registry.heads import IGNORE, TOKEN_CLASSIFICATION, Head
from registry.options import option
from registry.plugins import not_an_option
from registry.tasks import measures, samples
from registry.tasks.base import Batch, Examples, Features, Limits, Metrics, Task
from registry.tasks.columns import closest, map_column, refuse_unread
from registry.tasks.entities import (
    OUTSIDE,
    SCHEMES,
    entities_in,
    entity_scores,
    guess_scheme,
    have_prefixes,
    spans,
    to_bio,
)
from registry.tasks.tokens import frame_of, pad, pad_column, room_for
from registry.tasks.words import are_characters, joined_words, split_words, windows, word_pieces

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ner(Task):
    """Sentences as lists of words (or characters) and lists of tags.

    Args:
        tokens, tags: columns of the source, or candidates of which one must be there.
        types: the entity types; empty: those found in train.
    """

    family: ClassVar[str] = "ner"
    prediction_keys: ClassVar[tuple[str, ...]] = ("entities",)
    cuts: ClassVar[bool] = False
    group_by_length: ClassVar[bool | None] = False  # an update of short sentences has few words to learn from

    tokens: str | tuple[str, ...] = not_an_option("tokens")
    tags: str | tuple[str, ...] = not_an_option("tags")
    types: tuple[str, ...] = not_an_option(())
    primary_metric: str = not_an_option("f1")

    scheme: str = option("auto", "How the source writes tags (io: bare types); training uses bio.", choices=SCHEMES)
    characters: bool = option(False, "Tokens are characters, as in Chinese; typed text is split into them.")
    overlap: float = option(
        0.25, "Share of a window that the next one of a long sentence repeats.", minimum=0, maximum=0.5
    )

    @property
    def roles(self) -> Roles:
        return {"tokens": self.tokens, "tags": self.tags}

    def load(self, source: Source) -> DatasetDict:
        from datasets import List, Value

        raw = self.read(source)
        first = raw["train"] if "train" in raw else next(iter(raw.values()))
        scheme = self._scheme_of(first)
        return map_column(raw, "tags", lambda tags: tags and to_bio(tags, scheme), List(Value("string")))

    def _scheme_of(self, rows: Dataset) -> str:
        """The scheme that the rows are written in: the option's, unless it leaves that to the tags."""
        if self.scheme not in ("auto", "io") or "tags" not in rows.column_names:
            return self.scheme
        given = [tags for tags in rows["tags"][:] if tags is not None]
        if self.scheme == "io" and not have_prefixes(given):
            return self.scheme
        scheme = guess_scheme(given)
        logger.info("tags are read as %s (scheme=%s)", scheme, scheme)
        return scheme

    def head(self, raw: DatasetDict) -> Head:
        found = {tag[2:] for tags in raw["train"]["tags"][:] for tag in tags or () if tag != OUTSIDE}
        types = self.types or tuple(sorted(found))
        if not types:
            raise ValueError("train has no entities: nothing to learn")
        if not self.characters and are_characters(raw["train"]["tokens"][:1000]):
            raise ValueError("the tokens of train are single characters; say --task-option characters=true")
        return Head(TOKEN_CLASSIFICATION, (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI")))

    def encode(
        self, examples: Examples, tokenizer: PreTrainedTokenizerBase, head: Head, limits: Limits
    ) -> dict[str, list[Any]]:
        frame = frame_of(tokenizer)
        room = room_for(frame, limits)
        index = {label: i for i, label in enumerate(head.labels)}
        given = examples.get("tags") or [None] * len(examples["row"])
        columns: dict[str, list[Any]] = {n: [] for n in ("input_ids", "labels", "words", "row", "truncated")}
        sentences = word_pieces(tokenizer, examples["tokens"], spaced=not self.characters)
        for pieces, tags, row in zip(sentences, given, examples["row"], strict=True):
            labels = [IGNORE] * len(pieces) if tags is None else _indices(tags, index, head, row)
            # A word longer than a window keeps its first pieces; its tag sits on the first one.
            kept = [ids[:room] for ids in pieces]
            for window in windows([len(ids) for ids in kept], room, self.overlap):
                inputs: list[int] = []
                targets, words = [], []
                for word in range(window.first, window.last):
                    owned = window.owned_first <= word < window.owned_last
                    rest = len(kept[word]) - 1
                    inputs += kept[word]
                    targets += [labels[word] if owned else IGNORE, *[IGNORE] * rest]
                    words += [word if owned else -1, *[-1] * rest]
                framed, before = frame.around(inputs), len(frame.prefix)
                after = len(framed) - before - len(inputs)
                columns["input_ids"].append(framed)
                columns["labels"].append([*[IGNORE] * before, *targets, *[IGNORE] * after])
                columns["words"].append([*[-1] * before, *words, *[-1] * after])
                columns["row"].append(row)
                columns["truncated"].append(any(len(ids) > room for ids in pieces[window.first : window.last]))
        return columns

    def collate(
        self,
        features: Sequence[Features],
        tokenizer: PreTrainedTokenizerBase,
        key: tuple[int, int],
        pad_to_multiple_of: int | None = None,
    ) -> Batch:
        import torch

        words = pad_column(features, "words", tokenizer, pad_to_multiple_of, fill=-1)
        inputs = pad(features, tokenizer, pad_to_multiple_of)
        if "word_mask" in tokenizer.model_input_names:
            inputs["word_mask"] = (words >= 0).long()
        return {
            "inputs": inputs,
            "labels": pad_column(features, "labels", tokenizer, pad_to_multiple_of, fill=IGNORE),
            "words": words,
            "row": torch.tensor([int(f["row"]) for f in features]),
        }

    def count(self, batch: Batch) -> float:
        return float((batch["labels"] != IGNORE).sum())

    def loss(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> Tensor:
        if "loss_sum" in outputs:
            return outputs["loss_sum"]
        return _word_losses(outputs["logits"], batch["labels"]).sum()

    def reduce(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> dict[str, Tensor]:
        logits, labels = outputs["logits"].float(), batch["labels"]
        predictions = outputs["predictions"] if "predictions" in outputs else logits.argmax(-1)
        counts = (labels != IGNORE).sum(-1).float()
        losses = outputs["scored_loss"] if "scored_loss" in outputs else _word_losses(logits, labels).sum(-1)
        return {
            "row": batch["row"],
            "words": batch["words"],
            "labels": labels,
            "predictions": predictions,
            "confidence": logits.softmax(-1).gather(-1, predictions.clamp(min=0).unsqueeze(-1)).squeeze(-1),
            "scored_loss": losses,
            "scored_count": counts,
        }

    def join(self, reduced: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        names = ("labels", "predictions", "confidence")
        scored = [np.asarray(batch["words"]) >= 0 for batch in reduced]
        words = np.concatenate([np.asarray(b["words"])[s] for b, s in zip(reduced, scored, strict=True)])
        rows = np.concatenate([np.repeat(b["row"], s.sum(1)) for b, s in zip(reduced, scored, strict=True)])
        found, inverse = np.unique(np.concatenate([b["row"] for b in reduced]), return_inverse=True)
        order = np.lexsort((words, rows))
        # Training may see a row twice between two evaluations: its first tags count.
        again = (np.diff(words[order]) == 0) & (np.diff(rows[order]) == 0)
        order = order[np.concatenate([[True], ~again])[: len(order)]]
        cuts = np.searchsorted(rows[order], found)[1:]
        joined: dict[str, Any] = {"row": found}
        for name in names:
            flat = np.concatenate([np.asarray(b[name])[s] for b, s in zip(reduced, scored, strict=True)])
            joined[name] = np.split(flat[order], cuts)
        for name in ("scored_loss", "scored_count"):
            joined[name] = np.bincount(inverse, weights=np.concatenate([b[name] for b in reduced]))
        return joined

    def metrics(self, joined: Mapping[str, Any], head: Head) -> Metrics:
        labelled = [i for i, labels in enumerate(joined["labels"]) if not (labels == IGNORE).any()]
        names = np.array(head.labels, dtype=object)
        truth = [joined["labels"][i] for i in labelled]
        predicted = [joined["predictions"][i] for i in labelled]
        found: Metrics = {"loss": measures.mean(joined["scored_loss"], joined["scored_count"])}
        if not sum(map(len, truth)):
            return found | {"support": 0}
        found["accuracy"] = float((np.concatenate(truth) == np.concatenate(predicted)).mean())
        return found | entity_scores([names[t].tolist() for t in truth], [names[p].tolist() for p in predicted])

    def decode(
        self, joined: Mapping[str, Any], examples: Examples, head: Head, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Any]]:
        decoded = []
        for i, words in enumerate(examples["tokens"]):
            tags = [head.labels[p] for p in joined["predictions"][i]]
            text, starts = self._placed(examples, i)
            entities = entities_in(text, words, starts, tags)
            for entity, (first, last, _) in zip(entities, spans(tags), strict=True):
                entity["score"] = float(np.mean(joined["confidence"][i][first:last]))
            decoded.append({"text": text, "entities": entities, "tokens": list(words), "tags": tags})
        return decoded

    def truths(self, examples: Examples) -> list[Any]:
        tags = examples.get("tags") or [None] * len(examples["row"])
        return [
            None if own is None else entities_in(text, examples["tokens"][i], starts, own)
            for i, own in enumerate(tags)
            for text, starts in [self._placed(examples, i)]
        ]

    def _placed(self, examples: Examples, i: int) -> tuple[str, Sequence[int]]:
        """(text, where each word starts in it) of one row."""
        if examples.get("text") is not None:
            return examples["text"][i], examples["starts"][i]
        return joined_words(examples["tokens"][i], spaced=not self.characters)

    def from_inputs(self, items: Sequence[str | Mapping[str, Any]]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {name: [] for name in ("row", "text", "tokens", "starts")}
        for number, item in enumerate(items):
            text = item if isinstance(item, str) else item.get("text")
            given = None if isinstance(item, str) else item.get("tokens")
            if isinstance(given, (list, tuple)) and all(isinstance(word, str) for word in given):
                words = list(given)
                text, starts = joined_words(words, spaced=not self.characters)
            elif isinstance(text, str):
                words, starts = split_words(text, self.characters)
            else:
                raise ValueError(f"item {number}: expected a text, or 'tokens' with a list of words")
            if not isinstance(item, str):
                refuse_unread(number, item, ("text", "tokens"), "text or tokens")
            for name, value in zip(columns, (number, text, words, starts), strict=True):
                columns[name].append(value)
        return columns

    def sample(self) -> DatasetDict:
        return samples.ner(self.types)


def _indices(tags: Sequence[str], index: Mapping[str, int], head: Head, row: int) -> list[int]:
    try:
        return [index[tag] for tag in tags]
    except KeyError as error:
        tag = error.args[0]
        raise RowError(row, f"tag {tag!r} is not one that train has{closest(tag, head.labels)}") from None


def _word_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """(batch, length) cross-entropy, 0 where nothing is scored."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORE, reduction="none")
