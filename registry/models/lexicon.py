"""A sentiment word list with a threshold fitted on train: nothing is trained by updates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from registry.heads import IGNORE, SEQUENCE_CLASSIFICATION, Head
from registry.models.base import ModelSource, ModelSpec, Texts
from registry.models.baseline import CONFIG, WEIGHTS, save_module
from registry.models.vocabulary import fixed_vocabulary
from registry.plugins import not_an_option, option, options_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from registry.models.networks.lexicon import Lexicon

FOLDER = Path(__file__).parent / "lexicons"


@dataclass(frozen=True, kw_only=True)
class WordList(ModelSpec):
    """AFINN, or a person's own list; tells two labels apart."""

    words: str = option("afinn", "afinn, or a file of one word<TAB>valence a line.")
    heads: tuple[str, ...] = not_an_option((SEQUENCE_CLASSIFICATION,))

    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        """Knows the words of the list and the negators; the texts play no part."""
        return fixed_vocabulary([*self._valences(), *read_negators()], lowercase=True)

    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> Lexicon:
        """The list as tensors; the threshold is still 0."""
        if head.problem != "single_label" or len(head.labels) != 2:
            raise ValueError(
                f"the lexicon model tells two labels apart; this task is {head.problem}, {head.outputs} wide"
            )
        from registry.models.networks.lexicon import Lexicon

        vocabulary, module = tokenizer.get_vocab(), Lexicon(len(tokenizer))
        for word, valence in self._valences().items():
            module.valences[vocabulary[word]] = valence
        module.negates[[vocabulary[word] for word in read_negators()]] = 1
        return module

    def fit(self, module: nn.Module, examples: Iterable[Mapping[str, Any]], head: Head, seed: int) -> None:
        """The threshold of best accuracy on the labelled examples, and a slope that makes probabilities of it."""
        from registry.models.fitting import rectangles

        lexicon = cast("Lexicon", module)
        parts = [(lexicon.scores(ids, mask).numpy(), labels) for ids, mask, labels in rectangles(examples)]
        scores = np.concatenate([part for part, _ in parts]).astype(np.float64)
        labels = np.concatenate([part for _, part in parts])
        known = labels != IGNORE
        threshold, slope = fit_threshold(scores[known], labels[known])
        lexicon.threshold.fill_(threshold)
        lexicon.slope.fill_(slope)

    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        """`model.safetensors`, and in `config.json` the options and the size."""
        size = len(cast("Lexicon", module).valences)
        save_module(state_dict, {"options": options_of(self), "size": size}, directory)

    def load(self, directory: Path, head: Head) -> Lexicon:
        """The module as it was saved; the word list's file is not needed."""
        from safetensors.torch import load_file

        from registry.models.networks.lexicon import Lexicon

        module = Lexicon(json.loads((directory / CONFIG).read_text(encoding="utf-8"))["size"])
        module.load_state_dict(load_file(directory / WEIGHTS))
        return module

    def layer_map(self, module: nn.Module) -> dict[str, int]:
        """There are no parameters."""
        return {}

    def _valences(self) -> dict[str, float]:
        return read_lexicon(FOLDER / "afinn-en-165.txt" if self.words == "afinn" else Path(self.words))


def fit_threshold(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(threshold, slope): label 1 is likelier above the threshold where the slope is positive, else below.

    Which of the two it is says the ranking of the scores, as unequal numbers of labels do not move it. The threshold
    has the best accuracy, perhaps beyond all scores; log-odds slope x (score - threshold) have the highest likelihood.

    Raises:
        ValueError: one of the labels does not occur.
    """
    if not 0 < labels.sum() < len(labels):
        raise ValueError("the threshold needs training rows of both labels")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    rising = roc_auc_score(labels, scores) >= 0.5
    order = np.argsort(scores, kind="stable")
    ordered, ones = scores[order], np.append(0, np.cumsum(labels[order]))
    bounds = np.concatenate([ordered[:1] - 1, ordered, ordered[-1:] + 1])
    below = np.flatnonzero(bounds[1:] > bounds[:-1])  # how many scores each cut has below it: none parts equal ones
    right = below - ones[below] + ones[-1] - ones[below]
    cut = below[right.argmax() if rising else right.argmin()]
    threshold = float(bounds[cut] + bounds[cut + 1]) / 2
    slope = LogisticRegression(fit_intercept=False).fit(scores[:, None] - threshold, labels).coef_.item()
    return threshold, max(slope, 1e-3) if rising else min(slope, -1e-3)


def read_lexicon(path: Path) -> dict[str, float]:
    """Valences by lower-case word; phrases of several words are left out, as tokens are single words.

    Raises:
        ValueError: the file cannot be read, or a line is not word<TAB>number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"word list {path}: {error}") from None
    valences = {}
    for number, line in enumerate(lines, start=1):
        word, _, valence = line.partition("\t")
        if not line.strip():
            continue
        try:
            valences[word.strip().lower()] = float(valence)
        except ValueError:
            raise ValueError(f"word list {path}, line {number}: expected word<TAB>number, found {line!r}") from None
    return {word: valence for word, valence in valences.items() if " " not in word}


def read_negators() -> list[str]:
    """English words that turn round what follows."""
    return (FOLDER / "negators.txt").read_text(encoding="utf-8").split()


lexicon = WordList(
    description="sentiment word list (AFINN), threshold fitted on train",
    defaults={"max_length": 4096, "precision": "fp32"},
)
