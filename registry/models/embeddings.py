"""Word vectors: random, trained by word2vec on the training texts, or read from a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

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
    vectors = _open_vectors(path)
    if vectors.vector_size != embedding.embedding_dim:
        raise ValueError(
            f"vectors {path}: {vectors.vector_size} numbers a word, but embedding_size is {embedding.embedding_dim}"
        )
    found = {i: key for word, i in vocabulary.items() for key in (word, word.lower())[::-1] if key in vectors}
    if not found:
        raise ValueError(f"vectors {path}: none of the {len(vocabulary)} words of the vocabulary is in it")
    rows = torch.tensor(vectors[list(found.values())])
    with torch.no_grad():
        embedding.weight *= rows.std() / INITIAL_STD
        embedding.weight[list(found)] = rows
    return len(found)


def train_vectors(embedding: nn.Embedding, examples: Iterable[Mapping[str, Any]], seed: int) -> None:
    """Skip-gram word2vec over the encoded examples, straight into `embedding` (Mikolov et al. 2013).

    One worker makes it the same on every process and in every run.
    """
    from gensim.models import Word2Vec

    sentences = [[str(i) for i in example["input_ids"]] for example in examples]
    trained = Word2Vec(
        sentences, vector_size=embedding.embedding_dim, min_count=1, sg=1, window=5, epochs=5, workers=1, seed=seed
    ).wv
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


def _open_vectors(path: str) -> KeyedVectors:
    from gensim.models import KeyedVectors

    binary = path.endswith((".bin", ".bin.gz"))
    try:
        headless = not binary and len(_first_line(path)) != 2
        return KeyedVectors.load_word2vec_format(path, binary=binary, no_header=headless, unicode_errors="replace")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"vectors {path}: {' '.join(str(error).split())}") from None


def _first_line(path: str) -> Sequence[str]:
    from gensim import utils

    if not Path(path).is_file():
        raise ValueError("no such file")
    with utils.open(path, "rb") as file:
        return [field.decode("utf-8", "replace") for field in file.readline().split()]
