"""Tokenizers of transformers: a checkpoint's own or a given vocabulary, fitted to the model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from registry.models.base import ModelSource

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


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, accepted: Iterable[str], positions: int | None) -> None:
    """Fit a tokenizer to its model, in place: padding, the inputs that forward takes, the longest text.

    Args:
        accepted: names of the inputs that the model's forward takes.
        positions: tokens that the model has positions for; None for any number.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    # Absolute positions count from the first column, padding or not; every head finds where a text ends by itself.
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "right"
    names = set(accepted)
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in names]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # what save_pretrained writes
    if positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
