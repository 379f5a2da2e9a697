"""What the word-level models have in common: a vocabulary, embeddings, an encoder, a head; saving and loading.

A model of this kind says only how its encoder is built (`Baseline.encoder`).
"""

from __future__ import annotations

import abc
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from registry.heads import SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.base import ModelSource, ModelSpec, Texts
from registry.models.vocabulary import Level, train_vocabulary
from registry.plugins import not_an_option, option, options_of, with_options

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from registry.models.networks.network import Encoder, Network

Pooling = Literal["last", "mean", "max", "attention"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True, kw_only=True)
class Baseline(ModelSpec):
    """Base of the models that learn their own vocabulary; a subclass adds its sizes and its encoder."""

    level: Level = option("word", "Tokens are words or single characters.")
    lowercase: bool = option(True, "Whether the vocabulary ignores case.")
    vocabulary_size: int = option(30_000, "Entries of the vocabulary at most.", minimum=5)
    min_count: int = option(2, "Rarer words are unknown.", minimum=1)
    embedding_size: int = option(128, "Width of the word vectors.", minimum=1)
    vectors: str = option("random", "random, word2vec (trained on the training texts), or a GloVe or word2vec file.")
    freeze_vectors: bool = option(False, "Leave the word vectors as they are.")
    pooling: Pooling = option("max", "How token states become one vector.")
    dropout: float = option(0.5, "On the embeddings and before the classifier.", minimum=0, maximum=0.95)
    crf: bool = option(False, "Score label sequences by a conditional random field (token classification).")
    heads: tuple[str, ...] = not_an_option((SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION))

    def __post_init__(self) -> None:
        object.__setattr__(self, "wants_labels", self.crf)  # the likelihood is computed inside forward

    @abc.abstractmethod
    def encoder(self) -> Encoder:
        """A fresh encoder over vectors of `embedding_size`."""

    def unused(self, head: Head, source: ModelSource) -> Mapping[str, str]:
        """Labels of tokens need no pooling, labels of texts no sequence of labels."""
        if head.kind == TOKEN_CLASSIFICATION:
            return {"pooling": f"is for labels of whole texts, not for {head.kind}"}
        return {"crf": f"is for labels of tokens, not for {head.kind}"}

    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        """Trained on the texts."""
        return train_vocabulary(
            texts(),
            level=self.level,
            lowercase=self.lowercase,
            max_size=self.vocabulary_size,
            min_count=self.min_count,
            word_mask=self.crf,
        )

    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> Network:
        """Random weights; word vectors from a file where `vectors` names one."""
        network = self._network(head, len(tokenizer), tokenizer.pad_token_id)
        if self.vectors not in ("random", "word2vec"):
            from registry.models.embeddings import read_vectors

            read_vectors(network.embedding, self.vectors, tokenizer.get_vocab())
        return network

    def fit(self, module: nn.Module, examples: Iterable[Mapping[str, Any]], head: Head, seed: int) -> None:
        """Train the word vectors on the encoded training examples where `vectors` says word2vec."""
        if self.vectors == "word2vec":
            from registry.models.embeddings import train_vectors

            train_vectors(cast("Network", module).embedding, examples, seed)

    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        """`model.safetensors`, and in `config.json` the options and sizes."""
        embedding = cast("Network", module).embedding
        size, padding = embedding.num_embeddings, embedding.padding_idx
        save_module(state_dict, {"options": options_of(self), "size": size, "padding": padding}, directory)

    def load(self, directory: Path, head: Head) -> Network:
        """The network with the options it was saved with."""
        from safetensors.torch import load_file

        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        network = with_options(self, config["options"])._network(head, config["size"], config["padding"])
        network.load_state_dict(load_file(directory / WEIGHTS))
        return network

    def layer_map(self, module: nn.Module) -> dict[str, int]:
        """Embeddings 0, the encoder's layers from 1, the head last."""
        encoder = cast("Network", module).encoder
        depths = {f"encoder.{name}": depth for name, depth in encoder.depths().items()}
        top = max(depths.values(), default=0) + 1
        names = (name for name, _ in module.named_parameters())
        return {name: 0 if name.startswith("embedding.") else depths.get(name, top) for name in names}

    def _network(self, head: Head, size: int, padding: int) -> Network:
        from registry.models.embeddings import random_embedding
        from registry.models.networks.network import Network
        from registry.models.pooling import Pool

        sequence = head.kind == SEQUENCE_CLASSIFICATION
        if self.crf and sequence:
            raise ValueError("crf=true is for token classification; this task labels whole texts")
        encoder = self.encoder()
        embedding = random_embedding(size, self.embedding_size, padding)
        embedding.weight.requires_grad_(not self.freeze_vectors)
        pool = Pool(self.pooling, encoder.width, encoder.directions) if sequence else None
        return Network(embedding, encoder, pool, head.outputs, self.dropout, self.crf)


def save_module(state_dict: Mapping[str, Tensor], config: Mapping[str, Any], directory: Path) -> None:
    """Write the weights and the configuration of a module of ours."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}, directory / WEIGHTS)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (directory / CONFIG).write_text(text, encoding="utf-8")
