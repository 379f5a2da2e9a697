"""The tasks of GLUE, from the Hub or in the layout of its own download script (tab-separated, unquoted)."""

from __future__ import annotations

from registry.data.source import FileFormat, LocalFile
from registry.tasks.classification import Classification

HUB = "nyu-mll/glue"
ENTAILMENT = ("entailment", "not_entailment")


def tsv(path: str, *columns: str) -> LocalFile:
    """A file in which quotation marks are text; `columns` where its first line is a row."""
    return LocalFile(path, FileFormat("tsv", quoting=False, columns=columns))


FILES = {"train": tsv("train.tsv"), "validation": tsv("dev.tsv"), "test": tsv("test.tsv")}
COLA = ("source", "label", "star", "sentence")

cola = Classification(
    description="Is the sentence acceptable English? (CoLA)",
    hub=HUB,
    subset="cola",
    text="sentence",
    labels=("unacceptable", "acceptable"),
    local={**FILES, "train": tsv("train.tsv", *COLA), "validation": tsv("dev.tsv", *COLA)},
    primary_metric="matthews",
)
sst2 = Classification(
    description="Sentiment of film-review sentences (SST-2)",
    hub=HUB,
    subset="sst2",
    text="sentence",
    labels=("negative", "positive"),
    local=FILES,
)
mrpc = Classification(
    description="Do two sentences say the same? (MRPC)",
    hub=HUB,
    subset="mrpc",
    text=("sentence1", "#1 String"),
    text_pair=("sentence2", "#2 String"),
    label=("label", "Quality"),
    labels=("not_equivalent", "equivalent"),
    local=FILES,
    primary_metric="f1",
)
qqp = Classification(
    description="Do two questions ask the same? (QQP)",
    hub=HUB,
    subset="qqp",
    text="question1",
    text_pair="question2",
    label=("label", "is_duplicate"),
    labels=("not_duplicate", "duplicate"),
    local=FILES,
    primary_metric="f1",
)
stsb = Classification(
    description="How similar are two sentences, from 0 to 5? (STS-B)",
    hub=HUB,
    subset="stsb",
    text="sentence1",
    text_pair="sentence2",
    label=("label", "score"),
    problem="regression",
    unlabelled=("-1", "-1.0"),
    local=FILES,
    primary_metric="pearson",
)
mnli = Classification(
    description="Does a sentence follow from another, contradict it, or neither? (MNLI)",
    hub=HUB,
    subset="mnli",
    hub_splits={
        "train": "train",
        "validation": "validation_matched",
        "validation_mismatched": "validation_mismatched",
        "test": "test_matched",
        "test_mismatched": "test_mismatched",
    },
    text=("premise", "sentence1"),
    text_pair=("hypothesis", "sentence2"),
    label=("label", "gold_label"),
    labels=("entailment", "neutral", "contradiction"),
    local={
        "train": tsv("train.tsv"),
        "validation": tsv("dev_matched.tsv"),
        "validation_mismatched": tsv("dev_mismatched.tsv"),
        "test": tsv("test_matched.tsv"),
        "test_mismatched": tsv("test_mismatched.tsv"),
    },
)
qnli = Classification(
    description="Does the sentence answer the question? (QNLI)",
    hub=HUB,
    subset="qnli",
    text="question",
    text_pair="sentence",
    labels=ENTAILMENT,
    local=FILES,
)
rte = Classification(
    description="Does a sentence follow from another? (RTE)",
    hub=HUB,
    subset="rte",
    text="sentence1",
    text_pair="sentence2",
    labels=ENTAILMENT,
    local=FILES,
)
wnli = Classification(
    description="Is the pronoun replaced rightly? (WNLI)",
    hub=HUB,
    subset="wnli",
    text="sentence1",
    text_pair="sentence2",
    labels=("not_entailment", "entailment"),
    local=FILES,
)
