"""Which tokens a masked language model has to guess, and what it sees in their place."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from registry.heads import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from registry.tasks.base import Features

MASKED, RANDOM = 0.8, 0.1
"""Of the chosen tokens so many become the mask token, so many a random one; the rest stay (Devlin et al. 2019, 3.1)."""


def mask_features(
    features: Sequence[Features], tokenizer: PreTrainedTokenizerBase, key: tuple[int, int], rate: float
) -> list[Features]:
    """`input_ids` with masks, and `labels` that are IGNORE everywhere but at the chosen tokens.

    Every block has round(rate x candidates) chosen tokens, at least one (BERT's own recipe, steadier
    than drawing each token); with `words` among the features, whole words are chosen. Special and
    unknown tokens never are. The draw is a function of key, row and part alone.
    """
    special, ordinary = _vocabulary(len(tokenizer), tuple(sorted(set(tokenizer.all_special_ids))))
    masked = []
    for feature in features:
        seeds = (*key, int(feature["row"]), int(feature["part"]))
        draw = np.random.default_rng([seed & 0xFFFFFFFF for seed in seeds])
        ids = np.array(feature["input_ids"], dtype=np.int64)
        chosen = choose(ids, special, feature.get("words"), rate, draw)
        labels = np.full_like(ids, IGNORE)
        labels[chosen] = ids[chosen]
        fate = draw.random(len(chosen))
        ids[chosen[fate < MASKED]] = tokenizer.mask_token_id
        replaced = chosen[(fate >= MASKED) & (fate < MASKED + RANDOM)]
        ids[replaced] = ordinary[draw.integers(len(ordinary), size=len(replaced))]
        masked.append({"input_ids": ids, "labels": labels})
    return masked


def choose(
    ids: np.ndarray, special: np.ndarray, words: Sequence[int] | None, rate: float, draw: np.random.Generator
) -> np.ndarray:
    """Positions that are to be guessed, in order."""
    allowed = ~np.isin(ids, special)
    groups = np.arange(len(ids)) if words is None else np.asarray(words)
    candidates = np.unique(groups[allowed])
    if not len(candidates):
        return candidates
    count = max(1, round(rate * len(candidates)))
    picked = draw.choice(candidates, size=count, replace=False, shuffle=False)
    return (allowed & np.isin(groups, picked)).nonzero()[0]


@functools.lru_cache(maxsize=8)
def _vocabulary(size: int, special: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Special and ordinary token ids."""
    return np.array(special), np.setdiff1d(np.arange(size), special)
