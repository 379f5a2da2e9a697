"""Small real tokenizers, one of each kind, trained on a few sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CanineTokenizer, EsmTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

TEXTS = (
    "John Smith works for the Red Cross in New York .",
    "The film was not very good, but the music isn't bad; we liked it!",
    "tokenizers split unbelievable words into smaller pieces 1998 2,427 U.S. don't",
    "当希望工程救助的百万儿童成长起来，科教兴国蔚然成风时，今天有收藏价值的书",
)


def wordpiece(texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerBase:
    """As BERT: [CLS] a [SEP] b [SEP], token types."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=220, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def byte_level(texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerBase:
    """As RoBERTa: a space belongs to the word after it; <s> a </s></s> b </s>, no token types."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


def unigram(texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerBase:
    """As XLM-R and T5: SentencePiece's ▁ for spaces; a </s> at the end only."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="</s>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


def gemma(texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerBase:
    """As Gemma: ▁ for spaces, by replacement, and none before the first word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    spaced = [f" {text}".replace(" ", " ▁").split() for text in texts]  # pieces do not reach over spaces
    tokenizer.train_from_iterator(
        (word for words in spaced for word in words),
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    tokenizer.decoder = decoders.Replace("▁", " ")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


def gpt2(texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerBase:
    """As GPT-2: no special tokens at all around a text."""
    tokenizer = byte_level(texts)
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def words(texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerBase:
    """The word vocabulary of this project's own baselines."""
    from registry.models.vocabulary import train_vocabulary

    return train_vocabulary(texts, level="word", lowercase=True, max_size=500, min_count=1)


def canine() -> PreTrainedTokenizerBase:
    """A tokenizer written in Python, as CANINE's: code points."""
    return CanineTokenizer(name_or_path="a/canine")


def esm(folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer written in Python, as ESM's: amino acids, no token types."""
    (folder / "vocab.txt").write_text(
        "\n".join(["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWC", "<mask>"])
    )
    return EsmTokenizer(str(folder / "vocab.txt"))


def characters(texts: Iterable[str] = TEXTS) -> PreTrainedTokenizerBase:
    """The character vocabulary of this project's own baselines."""
    from registry.models.vocabulary import train_vocabulary

    return train_vocabulary(texts, level="character", lowercase=False, max_size=500, min_count=1)


KINDS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "wordpiece": wordpiece,
    "byte_level": byte_level,
    "unigram": unigram,
    "gpt2": gpt2,
    "words": words,
    "characters": characters,
}
