"""Tokenizers of transformers: a checkpoint's own, one trained on the task's texts, or a given vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.models.base import ModelSource, Texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """The tokenizer of a Hub id or local directory; ValueError in one line where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            source.path, revision=source.revision, trust_remote_code=source.trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"model {source.path!r}: its tokenizer cannot be loaded ({reason})") from error


def given_tokenizer(directory: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a directory: a complete one, or a bare WordPiece `vocab.txt`.

    A bare vocabulary is lower-cased when no entry of it, special tokens apart, has a capital letter.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise ValueError(f"--model-option vocabulary={directory}: no such directory")
    if (folder / "tokenizer.json").is_file() or (folder / "tokenizer_config.json").is_file():
        return load_tokenizer(ModelSource(path=directory))
    if not (folder / "vocab.txt").is_file():
        raise ValueError(f"--model-option vocabulary={directory}: neither tokenizer.json nor vocab.txt in it")
    from transformers import BertTokenizer

    entries = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    lowercase = not any(e != e.lower() for e in entries if not (e[:1] in "[<" and e[-1:] in "]>"))
    return BertTokenizer(vocab=str(folder / "vocab.txt"), do_lower_case=lowercase)


def train_tokenizer(kind: str, texts: Texts, size: int) -> PreTrainedTokenizerBase:
    """A tokenizer of the architecture's own kind (WordPiece, byte-level BPE, Unigram), trained on `texts`.

    The same texts give the same tokenizer in every process.

    Args:
        kind: a model_type of transformers; WordPiece where that one has no trainable tokenizer.
        size: entries at most, special tokens included.
    """
    import transformers
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    trainable: Any = getattr(transformers, TOKENIZER_MAPPING_NAMES.get(kind) or "", None)
    if trainable is None or trainable is transformers.TokenizersBackend:
        trainable = transformers.BertTokenizer
    if type(trainable().backend_tokenizer.model).__name__ == "WordPiece":
        return _train_wordpiece(trainable, texts, size)
    return trainable().train_new_from_iterator(texts(), size, show_progress=False)


def _train_wordpiece(trainable: Any, texts: Texts, size: int) -> PreTrainedTokenizerBase:
    """WordPiece of a class of transformers, as its own training does it but reproducibly.

    The library numbers "##" characters in the order of a hash table that differs in every process, and
    breaks ties between merges by number: given the alphabet in order, it learns the same everywhere.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.trainers import WordPieceTrainer

    blank = trainable()
    normalizer, splitter = blank.backend_tokenizer.normalizer, blank.backend_tokenizer.pre_tokenizer
    counts: Counter[str] = Counter()
    continuing: set[str] = set()
    for text in texts():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            counts.update(word)
            continuing.update(word[1:])
    alphabet = sorted(counts, key=lambda character: (-counts[character], character))[: size // 2]
    special = sorted(blank.get_vocab(), key=blank.get_vocab().__getitem__)
    learner = Tokenizer(WordPiece(unk_token=blank.unk_token))
    learner.normalizer, learner.pre_tokenizer = normalizer, splitter
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=special + [f"##{character}" for character in alphabet if character in continuing],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner.train_from_iterator(texts(), trainer)
    return trainable(vocab=learner.get_vocab())


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, accepted: Iterable[str], positions: int | None) -> None:
    """Fit a tokenizer to its model, in place: a pad token, the inputs that forward takes, the longest text.

    Args:
        accepted: names of the inputs that the model's forward takes.
        positions: tokens that the model has positions for; None for any number.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    names = set(accepted)
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in names]
    if positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
