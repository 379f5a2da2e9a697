"""Named tasks of named-entity recognition, and the generic one for a person's own files."""

from __future__ import annotations

from registry.data.source import FileFormat, LocalFile
from registry.tasks.ner import Ner

TOKENS = ("tokens", "words", "token", "word", "form", "0")
TAGS = ("tags", "ner_tags", "ner", "tag", "labels", "label", "-1")


def column_files(separator: str, **paths: str) -> dict[str, LocalFile]:
    """Files with a token a line and its tag in the last column."""
    return {split: LocalFile(path, FileFormat("conll", separator=separator)) for split, path in paths.items()}


ner = Ner(description="Your own sentences with a tag for each word", tokens=TOKENS, tags=TAGS)

conll2003 = Ner(
    description="Persons, organisations, places and others in English news (CoNLL-2003)",
    hub="eriktks/conll2003",
    revision="refs/convert/parquet",
    tokens=("tokens", "0"),
    tags=("ner_tags", "-1"),
    local=column_files(" ", train="eng.train", validation="eng.testa", test="eng.testb"),
)
wnut17 = Ner(
    description="Rare and emerging entities in social media (WNUT-17)",
    hub="leondz/wnut_17",
    revision="refs/convert/parquet",
    tokens=("tokens", "0"),
    tags=("ner_tags", "-1"),
    local=column_files(
        "\t", train="wnut17train.conll", validation="emerging.dev.conll", test="emerging.test.annotated"
    ),
)
msra_ner = Ner(
    description="Persons, organisations and places in Chinese news, by character (MSRA)",
    hub="levow/msra_ner",
    revision="refs/convert/parquet",
    tokens=("tokens", "0"),
    tags=("ner_tags", "-1"),
    characters=True,
    local=column_files("\t", train="msra_train_bio", test="msra_test_bio"),
)
