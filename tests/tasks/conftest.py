"""A tokenizer of every kind, built once."""

from __future__ import annotations

import functools

import pytest
from tokenizers_of_all_kinds import KINDS
from transformers import PreTrainedTokenizerBase


@functools.lru_cache
def _built(kind: str) -> PreTrainedTokenizerBase:
    return KINDS[kind]()


@pytest.fixture(params=list(KINDS))
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Each kind in turn."""
    return _built(request.param)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    """WordPiece, as BERT has it."""
    return _built("wordpiece")


@pytest.fixture
def byte_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level, as RoBERTa has it."""
    return _built("byte_level")
