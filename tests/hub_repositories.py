"""Small repositories for the stand-in of the Hub, under the real ones' file lists, columns and class names.

File lists as they were read in stored pages of huggingface.co in 2026-11: nyu-mll/glue (commit a17903a and
the following, "Convert dataset to Parquet (#16)"; columns not of every subset), google/boolq (8ab2d3e),
legacy-datasets/banking77 (f541215), lansinuote/ChnSentiCorp (b0c4c11), raquiba/Sarcasm_News_Headline
(643ceef), clinc/clinc_oos (a08ec0a), the parquet conversions of levow/msra_ner (c2e6af1) and
leondz/wnut_17 (2f2f888), and FacebookAI/roberta-base. Not read but generally known: imdb, ag_news, trec and
conll2003, the columns of clinc's `plus`, and the tag names of wnut17 and msra.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import Hub

CONVERTED = "refs/convert/parquet"
TEXT, ID = "string", "int32"
NER = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
WNUT = ("corporation", "creative-work", "group", "location", "person", "product")


@dataclass(frozen=True)
class Published:
    """One data set: its columns (a type, or the names of classes; a list of either), files and rows by split."""

    repository: str
    columns: Mapping[str, Any]
    rows: Mapping[str, Sequence[tuple[Any, ...]]]
    files: str = "data/{split}-00000-of-00001.parquet"
    subset: str = ""
    revision: str = "main"


def glue(subset: str, columns: Mapping[str, Any], *rows: tuple[Any, ...], nothing: Any = -1) -> Published:
    """A task of GLUE: `rows` without `idx`, labels last; test has none."""
    numbered = [(*row, i) for i, row in enumerate(rows)]
    hidden = [(*row[:-1], nothing, i) for i, row in enumerate(rows)]
    splits = {"train": numbered, "validation": numbered, "test": hidden}
    if subset == "mnli":
        both = ("validation_matched", "validation_mismatched")
        splits = {"train": numbered, **dict.fromkeys(both, numbered), "test_matched": hidden, "test_mismatched": hidden}
    return Published(
        "nyu-mll/glue", {**columns, "idx": ID}, splits, f"{subset}/{{split}}-00000-of-00001.parquet", subset
    )


PAIR = {"sentence1": TEXT, "sentence2": TEXT}
ENTAILED = ["entailment", "not_entailment"]

DATA_SETS: dict[str, Published] = {
    "cola": glue("cola", {"sentence": TEXT, "label": ["unacceptable", "acceptable"]}, ("He runs.", 1), ("Runs he", 0)),
    "sst2": glue("sst2", {"sentence": TEXT, "label": ["negative", "positive"]}, ("a fine film ", 1), ("dull ", 0)),
    "mrpc": glue("mrpc", {**PAIR, "label": ["not_equivalent", "equivalent"]}, ("a", "a", 1), ("a", "b", 0)),
    "qqp": glue(
        "qqp",
        {"question1": TEXT, "question2": TEXT, "label": ["not_duplicate", "duplicate"]},
        *(("who ?", "who ?", 1), ("who ?", "where ?", 0)),
    ),
    "stsb": glue("stsb", {**PAIR, "label": "float32"}, ("a", "a", 5.0), ("a", "b", 1.25), nothing=-1.0),
    "mnli": glue(
        "mnli",
        {"premise": TEXT, "hypothesis": TEXT, "label": ["entailment", "neutral", "contradiction"]},
        *(("a", "a", 0), ("a", "b", 1), ("a", "not a", 2)),
    ),
    "qnli": glue("qnli", {"question": TEXT, "sentence": TEXT, "label": ENTAILED}, ("who", "he", 0), ("who", "x", 1)),
    "rte": glue("rte", {**PAIR, "label": ENTAILED}, ("a", "a", 0), ("a", "b", 1)),
    "wnli": glue("wnli", {**PAIR, "label": ["not_entailment", "entailment"]}, ("a", "a", 1), ("a", "b", 0)),
    "imdb": Published(
        "stanfordnlp/imdb",
        {"text": TEXT, "label": ["neg", "pos"]},
        {"train": [("bad", 0), ("good", 1)], "test": [("worse", 0)], "unsupervised": [("so so", -1)]},
        "plain_text/{split}-00000-of-00001.parquet",
        "plain_text",
    ),
    "ag_news": Published(
        "fancyzhx/ag_news",
        {"text": TEXT, "label": ["World", "Sports", "Business", "Sci/Tech"]},
        {"train": [("war", 0), ("match", 1), ("shares", 2), ("chip", 3)], "test": [("goal", 1)]},
    ),
    "trec": Published(
        "CogComp/trec",
        {"text": TEXT, "coarse_label": ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"], "fine_label": ["abb", "exp"]},
        {"train": [("What is it ?", 2, 0), ("Who ?", 3, 1)], "test": [("Where ?", 4, 0)]},
        "default/{split}/0000.parquet",
        revision=CONVERTED,
    ),
    "sarcasm": Published(
        "raquiba/Sarcasm_News_Headline",
        {"article_link": TEXT, "headline": TEXT, "is_sarcastic": "int64"},
        {
            "train": [("https://b", "version 2", 1)],
            "test": [("https://a", "area man", 1), ("https://c", "news", 0)],
        },
        "{split}.json",
    ),
    "chnsenticorp": Published(
        "lansinuote/ChnSentiCorp",
        {"text": TEXT, "label": "int64"},
        {"train": [("很好", 1), ("不好", 0)], "validation": [("还好", 1)], "test": [("不错", 1)]},
        "data/{split}-00000-of-00001-02f200ca5f2a7868.parquet",
    ),
    "banking77": Published(
        "legacy-datasets/banking77",
        {"text": TEXT, "label": ["activate_my_card", "age_limit"]},
        {"train": [("card ?", 0), ("how old ?", 1)], "test": [("too young ?", 1)]},
    ),
    "clinc150": Published(
        "clinc/clinc_oos",
        {"text": TEXT, "intent": ["restaurant_reviews", "oos"]},
        {"train": [("any good ?", 0), ("what ?", 1)], "validation": [("tasty ?", 0)], "test": [("who ?", 1)]},
        "plus/{split}-00000-of-00001.parquet",
        "plus",
    ),
    "boolq": Published(
        "google/boolq",
        {"question": TEXT, "answer": "bool", "passage": TEXT},
        {"train": [("is it", True, "it is"), ("was it", False, "no")], "validation": [("is he", True, "he is")]},
    ),
    "conll2003": Published(
        "eriktks/conll2003",
        {
            "id": TEXT,
            "tokens": [TEXT],
            "pos_tags": [["NN", "VB"]],
            "chunk_tags": [["O", "B-NP"]],
            "ner_tags": [[*NER, "B-MISC", "I-MISC"]],
        },
        dict.fromkeys(
            ("train", "validation", "test"),
            (
                ("0", ["EU", "rejects", "German"], [0, 1, 0], [1, 0, 1], [3, 0, 7]),
                ("1", ["John", "Smith"], [0, 0], [1, 0], [1, 2]),
            ),
        ),
        "conll2003/{split}/0000.parquet",
        revision=CONVERTED,
    ),
    "wnut17": Published(
        "leondz/wnut_17",
        {"id": TEXT, "tokens": [TEXT], "ner_tags": [["O", *(f"{b}-{kind}" for kind in WNUT for b in "BI")]]},
        dict.fromkeys(("train", "validation", "test"), (("0", ["Empire", "State", "now"], [7, 8, 0]),)),
        "wnut_17/{split}/0000.parquet",
        revision=CONVERTED,
    ),
    "msra-ner": Published(
        "levow/msra_ner",
        {"id": TEXT, "tokens": [TEXT], "ner_tags": [NER]},
        dict.fromkeys(("train", "test"), (("0", ["中", "共", "在"], [3, 4, 0]),)),
        "msra_ner/{split}/0000.parquet",
        revision=CONVERTED,
    ),
}


def add_data_sets(hub: Hub, folder: Path, *tasks: str) -> None:
    """Serve the data sets of named tasks (default: of all), written below `folder`."""
    repositories: dict[str, list[Published]] = {}
    for task in tasks or DATA_SETS:
        repositories.setdefault(DATA_SETS[task].repository, []).append(DATA_SETS[task])
    for name, subsets in repositories.items():
        below = folder / name
        for published in subsets:
            for split, rows in published.rows.items():
                _write(published, rows, below / published.files.format(split=split))
        if subsets[0].revision == "main" and subsets[0].files.endswith(".parquet"):
            (below / "README.md").write_text(f"---\nconfigs:\n{''.join(map(_config, subsets))}---\n", encoding="utf-8")
        hub.add("datasets", name, below, subsets[0].revision)


def add_roberta(hub: Hub, folder: Path) -> None:
    """Serve a tiny RoBERTa of random weights as roberta-base, with that repository's files."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["a fine film and a dull one", "the music was not very good"], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.model.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=514, type_vocab_size=1, **sizes
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    for name in ("FacebookAI/roberta-base", "roberta-base"):
        hub.add("models", name, folder)


def _write(published: Published, rows: Sequence[tuple[Any, ...]], path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    def feature(column: Any) -> Any:
        if isinstance(column, str):
            return Value(column)
        if len(column) == 1 and (column[0] == TEXT or isinstance(column[0], list)):
            return List(feature(column[0]))
        return ClassLabel(names=column)

    path.parent.mkdir(parents=True, exist_ok=True)
    named = [dict(zip(published.columns, row, strict=True)) for row in rows]
    if path.suffix == ".json":
        path.write_text("".join(json.dumps(row) + "\n" for row in named), encoding="utf-8")
    else:
        features = Features({name: feature(column) for name, column in published.columns.items()})
        Dataset.from_list(named, features=features).to_parquet(path)


def _config(published: Published) -> str:
    """The part of a card's front matter that tells the client a configuration's files."""
    paths = [(split, published.files.format(split=split).split("-00000")[0]) for split in published.rows]
    files = "".join(f"  - split: {split}\n    path: {path}-*\n" for split, path in paths)
    return f"- config_name: {published.subset or 'default'}\n  data_files:\n{files}"
