"""Word vectors: random, trained by word2vec on the training texts, or read from a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

INITIAL_STD = 0.1


def random_embedding(size: int, width: int, padding: int) -> nn.Embedding:
    """Small random vectors; the padding row is zero and stays so."""
    embedding = nn.Embedding(size, width, padding_idx=padding)
    with torch.no_grad():
        embedding.weight.normal_(std=INITIAL_STD)
        embedding.weight[padding] = 0
    return embedding


def read_vectors(embedding: nn.Embedding, path: str, vocabulary: Mapping[str, int]) -> int:
    """Put the vectors of a GloVe or word2vec file (text, or binary when it ends in .bin) into `embedding`.

    Words that the file does not have, as written or in lower case, keep their random vector, scaled
    to the file's spread.

    Returns:
        How many words of the vocabulary were found.

    Raises:
        ValueError: the file cannot be read, its width is another, or it knows no word.
    """
    vectors, width = _open_vectors(path, {key for word in vocabulary for key in (word, word.lower())})
    if width != embedding.embedding_dim:
        raise ValueError(f"vectors {path}: {width} numbers a word, but embedding_size is {embedding.embedding_dim}")
    found = {i: vectors[key] for word, i in vocabulary.items() for key in (word.lower(), word) if key in vectors}
    if not found:
        raise ValueError(f"vectors {path}: none of the {len(vocabulary)} words of the vocabulary is in it")
    rows = torch.from_numpy(np.stack(list(found.values())))
    with torch.no_grad():
        embedding.weight *= rows.std() / INITIAL_STD
        embedding.weight[list(found)] = rows
    return len(found)


def train_vectors(embedding: nn.Embedding, examples: Iterable[Mapping[str, Any]], seed: int) -> None:
    """Skip-gram word2vec over the encoded examples, straight into `embedding` (Mikolov et al. 2013).

    One worker makes it the same on every process and in every run.
    """
    from gensim.models import Word2Vec

    names = [str(i) for i in range(embedding.num_embeddings)]  # one string a word, not one a token
    sentences = [[names[i] for i in example["input_ids"]] for example in examples]
    width, seed = embedding.embedding_dim, seed % 2**32  # numpy takes no larger one
    trained = Word2Vec(sentences, vector_size=width, min_count=1, sg=1, window=5, epochs=5, workers=1, seed=seed).wv
    with torch.no_grad():
        embedding.weight[[int(key) for key in trained.index_to_key]] = torch.tensor(trained.vectors)
        if embedding.padding_idx is not None:
            embedding.weight[embedding.padding_idx] = 0


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """(length, width) positions as sines and cosines, for texts of any length (Vaswani et al. 2017, 3.5)."""
    position = torch.arange(length, device=device, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-9.210340371976184 / width))
    angles = position * rate
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]


def _open_vectors(path: str, words: Set[str]) -> tuple[dict[str, np.ndarray], int]:
    """The vectors of those of the words that a file has, and how many numbers each of its vectors has."""
    try:
        if not Path(path).is_file():
            raise ValueError("no such file")
        return (_from_binary if path.endswith((".bin", ".bin.gz")) else _from_text)(path, words)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"vectors {path}: {' '.join(str(error).split())}") from None


def _from_binary(path: str, words: Set[str]) -> tuple[dict[str, np.ndarray], int]:
    from gensim.models import KeyedVectors

    vectors = KeyedVectors.load_word2vec_format(path, binary=True, unicode_errors="replace")
    return {word: vectors[word] for word in words if word in vectors}, vectors.vector_size


def _from_text(path: str, words: Set[str]) -> tuple[dict[str, np.ndarray], int]:
    """A word with its numbers in every line; the word itself may have blanks, as some of glove.840B have.

    A first line of two numbers, as word2vec writes it, tells how many lines follow, and how wide.
    """
    from gensim import utils

    found: dict[str, np.ndarray] = {}
    with utils.open(path, "rb") as file:
        first = file.readline().split()
        headed = len(first) == 2
        lines, width = map(int, first) if headed else (None, max(len(first) - 1, 0))
        if not headed:
            file.seek(0)
        number = int(headed)
        for number, line in enumerate(itertools.islice(file, lines), start=1 + headed):
            word, *numbers = line.decode("utf-8", "replace").rstrip().rsplit(" ", width)
            try:
                if len(numbers) != width:
                    raise ValueError(f"expected a word and {width} numbers")
                if word in words and word not in found:
                    found[word] = np.array(numbers, dtype=np.float32)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    if headed and number - 1 != lines:
        raise ValueError(f"{number - 1} words, but its first line says {lines}")
    return found, width
