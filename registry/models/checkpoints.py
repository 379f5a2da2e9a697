"""Checkpoints of the Hub that have a short name here. This module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.models.families import NARROW, WIDE


@dataclass(frozen=True)
class Checkpoint:
    """What a short name stands for.

    Args:
        path: Hub id.
        family: model_type of transformers, whose recommended settings hold.
        defaults: settings that differ from the family's.
    """

    path: str
    family: str
    description: str
    defaults: Mapping[str, Any] = field(default_factory=dict)


CHECKPOINTS: dict[str, Checkpoint] = {
    "albert-base-v2": Checkpoint("albert/albert-base-v2", "albert", "ALBERT base: 12 layers that share 12M weights."),
    "bart-base": Checkpoint("facebook/bart-base", "bart", "BART base, an encoder-decoder."),
    "bert-base-cased": Checkpoint("google-bert/bert-base-cased", "bert", "BERT base, English."),
    "bert-base-chinese": Checkpoint("google-bert/bert-base-chinese", "bert", "BERT base on Chinese characters."),
    "bert-base-multilingual-cased": Checkpoint(
        "google-bert/bert-base-multilingual-cased", "bert", "BERT base of 104 languages."
    ),
    "bert-base-uncased": Checkpoint("google-bert/bert-base-uncased", "bert", "BERT base, English in lower case."),
    "bert-large-uncased": Checkpoint(
        "google-bert/bert-large-uncased", "bert", "BERT large, English in lower case.", WIDE["bert"]
    ),
    "convbert-base": Checkpoint("YituTech/conv-bert-base", "convbert", "ConvBERT base: attention and convolutions."),
    "deberta-base": Checkpoint("microsoft/deberta-base", "deberta", "DeBERTa base, English."),
    "deberta-v3-small": Checkpoint(
        "microsoft/deberta-v3-small", "deberta-v2", "DeBERTa v3 small, English.", {"learning_rate": 4e-5}
    ),
    "deberta-v3-base": Checkpoint("microsoft/deberta-v3-base", "deberta-v2", "DeBERTa v3 base, English."),
    "deberta-v3-large": Checkpoint(
        "microsoft/deberta-v3-large", "deberta-v2", "DeBERTa v3 large, English.", WIDE["deberta-v2"]
    ),
    "distilbert-base-uncased": Checkpoint(
        "distilbert/distilbert-base-uncased", "distilbert", "DistilBERT: half of BERT's layers, English in lower case."
    ),
    "distilroberta-base": Checkpoint("distilbert/distilroberta-base", "roberta", "Half of RoBERTa's layers, English."),
    "electra-small": Checkpoint(
        "google/electra-small-discriminator", "electra", "ELECTRA small, English.", NARROW["electra"]
    ),
    "electra-base": Checkpoint("google/electra-base-discriminator", "electra", "ELECTRA base, English."),
    "ernie-base": Checkpoint("nghuyong/ernie-2.0-base-en", "ernie", "ERNIE 2.0 base, English."),
    "fnet-base": Checkpoint("google/fnet-base", "fnet", "FNet base: Fourier transforms in place of attention."),
    "gpt2": Checkpoint("openai-community/gpt2", "gpt2", "GPT-2 small, a decoder; reads the last token."),
    "longformer-base": Checkpoint("allenai/longformer-base-4096", "longformer", "Longformer base: 4,096 tokens."),
    "minilm": Checkpoint(
        "sentence-transformers/all-MiniLM-L6-v2",
        "bert",
        "MiniLM: 6 layers, 384 wide, English in lower case.",
        NARROW["bert"],
    ),
    "mobilebert": Checkpoint("google/mobilebert-uncased", "mobilebert", "MobileBERT: 24 thin layers, English."),
    "modernbert-base": Checkpoint("answerdotai/ModernBERT-base", "modernbert", "ModernBERT base, English."),
    "modernbert-large": Checkpoint(
        "answerdotai/ModernBERT-large", "modernbert", "ModernBERT large, English.", WIDE["modernbert"]
    ),
    "mpnet-base": Checkpoint("microsoft/mpnet-base", "mpnet", "MPNet base, English."),
    "opt-125m": Checkpoint("facebook/opt-125m", "opt", "OPT with 125M weights, a decoder."),
    "roberta-base": Checkpoint("FacebookAI/roberta-base", "roberta", "RoBERTa base, English."),
    "roberta-large": Checkpoint("FacebookAI/roberta-large", "roberta", "RoBERTa large, English.", WIDE["roberta"]),
    "squeezebert": Checkpoint(
        "squeezebert/squeezebert-uncased", "squeezebert", "SqueezeBERT: grouped convolutions in place of linear maps."
    ),
    "t5-small": Checkpoint("google-t5/t5-small", "t5", "The encoder of T5 small."),
    "t5-base": Checkpoint("google-t5/t5-base", "t5", "The encoder of T5 base."),
    "xlm-roberta-base": Checkpoint("FacebookAI/xlm-roberta-base", "xlm-roberta", "XLM-R base, 100 languages."),
    "xlm-roberta-large": Checkpoint(
        "FacebookAI/xlm-roberta-large", "xlm-roberta", "XLM-R large, 100 languages.", WIDE["xlm-roberta"]
    ),
}


def attribute(name: str) -> str:
    """The short name as an attribute of `registry.models.named.checkpoints`."""
    return name.replace("-", "_").replace(".", "_")
