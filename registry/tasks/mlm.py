"""Masked language modelling: packed blocks of text, some of whose tokens are to be guessed.

Masks are drawn anew in every epoch, as a function of seed, epoch, row and block alone, so that a
continued run draws the same ones. `scored_positions` among the inputs are indices into the flattened
(batch · length) positions: a model may project only those onto the vocabulary and return logits of
(scored, vocabulary); logits of (batch, length, vocabulary) are taken too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from registry.data.source import Roles, Source
from registry.heads import IGNORE, MASKED_LM, Head
from registry.options import option
from registry.plugins import not_an_option
from registry.tasks import measures, samples
from registry.tasks.base import Batch, Examples, Features, Limits, Metrics, Task
from registry.tasks.columns import concatenate, input_columns
from registry.tasks.masking import mask_features
from registry.tasks.packing import MASK_SIGN, join_masked, pack
from registry.tasks.tokens import pad, pad_column

if TYPE_CHECKING:
    from datasets import DatasetDict
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class MaskedLM(Task):
    """Texts, whose own tokens are the labels.

    Args:
        text: column of the source, or candidates of which one must be there.
    """

    family: ClassVar[str] = "mlm"
    prediction_keys: ClassVar[tuple[str, ...]] = ()
    packs: ClassVar[bool] = True
    cuts: ClassVar[bool] = False

    text: str | tuple[str, ...] = not_an_option("text")
    primary_metric: str = not_an_option("perplexity")
    minimize: bool = not_an_option(True)

    mask_rate: float = option(0.15, "Share of tokens (or words) that is to be guessed.", above=0, maximum=0.9)
    whole_word: bool = option(False, "Mask all pieces of a word together.")
    top: int = option(5, "Guesses that a prediction lists for each mask.", minimum=1)

    @property
    def roles(self) -> Roles:
        return {"text": self.text}

    def load(self, source: Source) -> DatasetDict:
        return self.read(source)

    def head(self, raw: DatasetDict) -> Head:
        return Head(MASKED_LM)

    def encode(
        self, examples: Examples, tokenizer: PreTrainedTokenizerBase, head: Head, limits: Limits
    ) -> dict[str, list[Any]]:
        if tokenizer.mask_token_id is None:
            raise ValueError(f"tokenizer {tokenizer.name_or_path!r} has no mask token: it cannot do masked-lm")
        if self.whole_word and not tokenizer.is_fast:
            raise ValueError(
                f"tokenizer {tokenizer.name_or_path!r} ({type(tokenizer).__name__}) is written in Python and does not "
                "tell words apart: leave --task-option whole_word out"
            )
        if "around_masks" in examples:
            return join_masked(tokenizer, examples["around_masks"], examples["row"], limits)
        return pack(tokenizer, examples["text"], examples["row"], limits, words=self.whole_word)

    def collate(
        self,
        features: Sequence[Features],
        tokenizer: PreTrainedTokenizerBase,
        key: tuple[int, int],
        pad_to_multiple_of: int | None = None,
    ) -> Batch:
        import torch

        fill = bool(features[0].get("fill", False))
        masked = features if fill else mask_features(features, tokenizer, key, self.mask_rate)
        inputs = pad(masked, tokenizer, pad_to_multiple_of)
        if fill:
            labels = torch.full_like(inputs["input_ids"], IGNORE)
            scored = inputs["input_ids"] == tokenizer.mask_token_id
        else:
            labels = pad_column(masked, "labels", tokenizer, pad_to_multiple_of, fill=IGNORE)
            scored = labels != IGNORE
        inputs["scored_positions"] = scored.flatten().nonzero().squeeze(1)
        batch: Batch = {
            "inputs": inputs,
            "labels": labels,
            "row": torch.tensor([int(f["row"]) for f in features]),
            "part": torch.tensor([int(f["part"]) for f in features]),
        }
        return {**batch, "fill": torch.ones(len(features), dtype=torch.bool)} if fill else batch

    def count(self, batch: Batch) -> float:
        return float((batch["labels"] != IGNORE).sum())

    def loss(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> Tensor:
        if "loss_sum" in outputs:
            return outputs["loss_sum"]
        from torch.nn import functional as F

        logits, labels, _ = _scored(outputs, batch)
        return F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")

    def reduce(self, outputs: Mapping[str, Any], batch: Batch, head: Head) -> dict[str, Tensor]:
        from torch.nn import functional as F

        logits, labels, example = _scored(outputs, batch)
        logits = logits.float()
        nothing = logits.new_zeros(len(batch["row"]))
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
        scored = labels != IGNORE
        right = scored & (logits.argmax(-1) == labels)
        found = {
            "row": batch["row"],
            "part": batch["part"],
            "right": nothing.index_add(0, example, right.float()),
            "scored_loss": nothing.index_add(0, example, losses),
            "scored_count": nothing.index_add(0, example, scored.float()),
        }
        return {**found, **_guesses(logits, example, len(nothing), self.top)} if "fill" in batch else found

    def join(self, reduced: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        columns = concatenate(reduced)
        order = np.lexsort((columns["part"], columns["row"]))
        rows, inverse = np.unique(columns["row"][order], return_inverse=True)
        joined: dict[str, Any] = {"row": rows}
        for name in ("right", "scored_loss", "scored_count"):
            joined[name] = np.bincount(inverse, weights=columns[name][order].astype(np.float64))
        if "guesses" in columns:
            cuts = np.flatnonzero(np.diff(inverse)) + 1
            for name in ("guesses", "guess_scores"):
                blocks = [np.concatenate(list(parts)) for parts in np.split(columns[name][order], cuts)]
                joined[name] = [guesses[guesses[:, 0] >= 0] for guesses in blocks]
        return joined

    def metrics(self, joined: Mapping[str, Any], head: Head) -> Metrics:
        loss = measures.mean(joined["scored_loss"], joined["scored_count"])
        if loss is None:
            return {"loss": None, "support": 0}
        support = int(np.sum(joined["scored_count"]))
        accuracy = float(np.sum(joined["right"]) / support)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700)), "masked_accuracy": accuracy, "support": support}

    def decode(
        self, joined: Mapping[str, Any], examples: Examples, head: Head, tokenizer: PreTrainedTokenizerBase
    ) -> list[dict[str, Any]]:
        if "guesses" not in joined:
            return [{"masked": int(count)} for count in joined["scored_count"]]
        decoded = []
        columns = (examples["around_masks"], joined["guesses"], joined["guess_scores"])
        for stretches, guesses, scores in zip(*columns, strict=True):
            masks = [
                [{"token": str(tokenizer.decode([i])).strip(), "score": s} for i, s in zip(ids, row, strict=True)]
                for ids, row in zip(guesses.tolist(), scores.tolist(), strict=True)
            ]
            best = [_inside(tokenizer, ids[0]) for ids in guesses.tolist()]
            filled = itertools.chain.from_iterable(zip(stretches, [*best, ""], strict=True))
            decoded.append({"text": "".join(filled), "masks": masks})
        return decoded

    def from_inputs(self, items: Sequence[str | Mapping[str, Any]]) -> dict[str, list[Any]]:
        columns = input_columns(items, {"text": self.text})
        # Split before cleaning, which may take a sign for a tag, or write it small.
        return {"row": columns["row"], "around_masks": [MASK_SIGN.split(text) for text in columns["text"]]}

    def sample(self) -> DatasetDict:
        return samples.mlm()


def _inside(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The token as it reads inside of a text: WordPiece marks one that continues a word only where it stands first."""
    twice = str(tokenizer.decode([token, token]))
    return twice[len(str(tokenizer.decode([token]))) :].strip()


def _scored(outputs: Mapping[str, Any], batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (scored, vocabulary), labels (scored,) and the example of each (scored,)."""
    positions = batch["inputs"]["scored_positions"]
    logits = outputs["logits"]
    if logits.ndim == 3:
        logits = logits.flatten(0, 1)[positions]
    return logits, batch["labels"].flatten()[positions], positions // batch["labels"].shape[1]


def _guesses(logits: Tensor, example: Tensor, examples: int, top: int) -> dict[str, Tensor]:
    """The best tokens for every mask, (examples, masks, top), -1 where an example has fewer masks."""
    best = logits.softmax(-1).topk(min(top, logits.shape[-1]))
    counts = example.bincount(minlength=examples)
    place = example.new_tensor(range(len(example))) - (counts.cumsum(0) - counts)[example]
    shape = (examples, max(int(counts.max()), 1), best.indices.shape[-1])
    guesses, scores = best.indices.new_full(shape, -1), best.values.new_full(shape, -1)
    guesses[example, place], scores[example, place] = best.indices, best.values
    return {"guesses": guesses, "guess_scores": scores}
