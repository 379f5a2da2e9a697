"""Tokenizers trained on the task's texts, the same in every process and at every start.

The tokenizers library breaks ties in the order of hash tables that differ in every process, for
WordPiece and Unigram; byte-level BPE has its alphabet in a fixed order and is trained by the library.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from registry.models.base import Texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def train_tokenizer(kind: str, texts: Texts, size: int) -> PreTrainedTokenizerBase:
    """A tokenizer of the architecture's own kind (WordPiece, byte-level BPE, Unigram), trained on `texts`.

    The same texts give the same tokenizer in every process.

    Args:
        kind: a model_type of transformers; WordPiece where that one has no trainable tokenizer.
        size: entries at most, special tokens included.

    Raises:
        ValueError: the architecture's tokenizer is not one that can be trained here.
    """
    import transformers
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    from registry.models.families import BYTE_LEVEL

    name = BYTE_LEVEL.get(kind) or TOKENIZER_MAPPING_NAMES.get(kind)
    trainable: Any = getattr(transformers, name or "", None)
    if trainable is None or trainable is transformers.TokenizersBackend:
        trainable = transformers.BertTokenizer
    try:
        kind_of_model = type(trainable().backend_tokenizer.model).__name__
    except (TypeError, ValueError, AttributeError, ImportError) as error:
        raise ValueError(
            f"{kind}: its tokenizer cannot be trained on texts ({' '.join(str(error).split())}); "
            "give one with --model-option vocabulary=DIRECTORY"
        ) from None
    if kind_of_model == "WordPiece":
        return _train_wordpiece(trainable, texts, size)
    if kind_of_model == "Unigram":
        return _train_unigram(trainable, texts, size)
    return trainable().train_new_from_iterator(texts(), size, show_progress=False)


def _train_wordpiece(trainable: Any, texts: Texts, size: int) -> PreTrainedTokenizerBase:
    """WordPiece of a class of transformers, as its own training does it but reproducibly.

    The library numbers "##" characters in the order of a hash table that differs in every process, and
    breaks ties between merges by number: given the alphabet in order, it learns the same everywhere.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel, WordPiece
    from tokenizers.trainers import WordLevelTrainer, WordPieceTrainer

    blank = trainable()
    normalizer, splitter = blank.backend_tokenizer.normalizer, blank.backend_tokenizer.pre_tokenizer
    words = Tokenizer(WordLevel(unk_token=blank.unk_token))
    words.normalizer, words.pre_tokenizer = normalizer, splitter
    words.train_from_iterator(texts(), WordLevelTrainer(vocab_size=2**31 - 1, show_progress=False))
    distinct = words.get_vocab()
    counts = Counter(character for word in distinct for character in word)
    continuing = {character for word in distinct for character in word[1:]}
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


def _train_unigram(trainable: Any, texts: Texts, size: int) -> PreTrainedTokenizerBase:
    """Unigram of a class of transformers, by sentencepiece, which learns the same everywhere."""
    import sentencepiece

    blank = trainable()
    normalizer = blank.backend_tokenizer.normalizer
    special = [(piece, score) for piece, score in json.loads(blank.backend_tokenizer.to_str())["model"]["vocab"]]
    normalized = (normalizer.normalize_str(text) if normalizer is not None else text for text in texts())
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for text in normalized for line in text.splitlines()),
            model_writer=written,
            model_type="unigram",
            vocab_size=max(size - len(special), 1),
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            max_sentence_length=2**30,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"vocabulary_size={size} is too small for these texts ({' '.join(str(error).split())})"
        ) from None
    learned = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [(learned.id_to_piece(i), learned.get_score(i)) for i in range(1, len(learned))]
    known = {piece for piece, _ in special}
    return trainable(vocab=special + [(piece, score) for piece, score in pieces if piece not in known])
