"""The tasks of GLUE, from the Hub or in the layout of its own download script (tab-separated, unquoted)."""

from __future__ import annotations

from registry.tasks.classification import Classification

HUB = "nyu-mll/glue"

sst2 = Classification(
    description="Sentiment of film-review sentences (SST-2)",
    hub=HUB,
    subset="sst2",
    text="sentence",
    labels=("negative", "positive"),
    local={"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"},
)
