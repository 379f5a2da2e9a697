"""Word and character vocabularies: built from the training texts, saved as a tokenizer that AutoTokenizer loads.

A text becomes its tokens and a closing ``[SEP]``, so that no text is empty; a pair becomes
``first [SEP] second [SEP]``. Words are runs of letters and digits with their apostrophes ("don't"),
single Han characters, and single other signs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Level = Literal["word", "character"]

PAD, UNKNOWN, SEPARATOR, MASK = SPECIAL = ("[PAD]", "[UNK]", "[SEP]", "[MASK]")

_WORD = r"\p{Han}|[\w&&[^\p{Han}]]+(?:'[\w&&[^\p{Han}]]+)*|[^\w\s]"


def train_vocabulary(
    texts: Iterable[str], *, level: Level, lowercase: bool, max_size: int, min_count: int, word_mask: bool = False
) -> PreTrainedTokenizerBase:
    """A tokenizer of the most frequent words or characters.

    Args:
        max_size: entries at most, the special ones included.
        min_count: rarer words become [UNK].
        word_mask: whether the model also wants to know which tokens stand for words (a CRF does).
    """
    from tokenizers.trainers import WordLevelTrainer

    tokenizer = _untrained(level, lowercase)
    trainer = WordLevelTrainer(
        vocab_size=max_size, min_frequency=min_count, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _finished(tokenizer, ("word_mask",) if word_mask else ())


def fixed_vocabulary(words: Iterable[str], *, lowercase: bool) -> PreTrainedTokenizerBase:
    """A word-level tokenizer that knows exactly these words, those with a hyphen and of several Han characters too."""
    from tokenizers import AddedToken
    from tokenizers.models import WordLevel

    tokenizer = _untrained("word", lowercase)
    entries = {word: i for i, word in enumerate(dict.fromkeys((*SPECIAL, *words)))}
    tokenizer.model = WordLevel(entries, unk_token=UNKNOWN)
    tokenizer.add_special_tokens(list(SPECIAL))
    # What would be split is looked for first; scripts without blanks do not show where a word ends.
    split = [
        word for word in entries if word not in SPECIAL and len(tokenizer.pre_tokenizer.pre_tokenize_str(word)) > 1
    ]
    tokenizer.add_tokens([AddedToken(word, single_word=word < "\u3040", normalized=True) for word in split])
    return _finished(tokenizer)


def _untrained(level: Level, lowercase: bool) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
    steps: list[normalizers.Normalizer] = [normalizers.NFC(), normalizers.Replace("’", "'")]
    steps += [normalizers.Lowercase()] if lowercase else []
    if level == "word":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    else:
        steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _finished(tokenizer: Tokenizer, further_inputs: tuple[str, ...] = ()) -> PreTrainedTokenizerBase:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    separator = (SEPARATOR, tokenizer.token_to_id(SEPARATOR))
    tokenizer.post_processor = TemplateProcessing(
        single=f"$A {SEPARATOR}", pair=f"$A {SEPARATOR} $B:1 {SEPARATOR}:1", special_tokens=[separator]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        sep_token=SEPARATOR,
        mask_token=MASK,
        model_input_names=["input_ids", "attention_mask", *further_inputs],
    )
