"""Named classification and masked-lm tasks beside GLUE, and the generic ones for a person's own files."""

from __future__ import annotations

from registry.data.source import FileFormat, LocalFile
from registry.tasks.classification import Classification
from registry.tasks.mlm import MaskedLM

TEXT = ("text", "sentence", "review", "content", "document", "comment", "tweet", "headline", "title", "question")
LABEL = ("label", "labels", "class", "category", "target", "sentiment", "intent", "score", "rating")

classification = Classification(
    description="Your own texts, or pairs of them, and labels", text=TEXT, text_pair=(), label=LABEL
)
mlm = MaskedLM(description="Masked language modelling on your own texts", text=TEXT)

imdb = Classification(
    description="Sentiment of film reviews (IMDB)",
    hub="stanfordnlp/imdb",
    hub_splits={"train": "train", "test": "test"},
    labels=("negative", "positive"),
    renamed={"neg": "negative", "pos": "positive"},
    # The archive's folder aclImdb: train/neg and train/pos, but not train/unsup, which has no labels.
    local={split: LocalFile(f"{split}/[np][eo][gs]", FileFormat("folder")) for split in ("train", "test")},
    max_length=256,
)
imdb_mlm = MaskedLM(
    description="Masked language modelling on the unlabelled reviews of IMDB",
    hub="stanfordnlp/imdb",
    hub_splits={"train": "unsupervised"},
    local={"train": LocalFile("train/unsup", FileFormat("folder"))},
)
NEWS = ("World", "Sports", "Business", "Sci/Tech")
ag_news = Classification(
    description="Topic of news in four classes (AG News)",
    hub="fancyzhx/ag_news",
    text=("text", "title,description"),
    labels=NEWS,
    local={
        split: LocalFile(
            f"{split}.csv",
            FileFormat("csv", separator=",", columns=("label", "title", "description")),
            # The publisher counts from 1, the Hub's copy from 0.
            cells={"label": {str(number): name for number, name in enumerate(NEWS, 1)}},
        )
        for split in ("train", "test")
    },
)
trec = Classification(
    description="What a question asks for, in six classes (TREC)",
    hub="CogComp/trec",
    revision="refs/convert/parquet",
    text="text",
    label=("coarse_label", "label"),
    label_pattern=r"[A-Z]+",
    labels=("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"),
    local={
        split: LocalFile(name, FileFormat("first-blank", columns=("label", "text"), encoding="latin-1"))
        for split, name in (("train", "train_5500.label"), ("test", "TREC_10.label"))
    },
)
sarcasm = Classification(
    description="Is the news headline sarcastic? (never reads article_link, which gives it away)",
    hub="raquiba/Sarcasm_News_Headline",
    # The repository's test.json is the data set's first version whole, its train.json the second one.
    hub_splits={"train": "test"},
    text="headline",
    label="is_sarcastic",
    labels=("not_sarcastic", "sarcastic"),
    local={"train": LocalFile("Sarcasm_Headlines_Dataset.json", FileFormat("jsonl"))},
)
chnsenticorp = Classification(
    description="Sentiment of Chinese reviews (ChnSentiCorp)",
    hub="lansinuote/ChnSentiCorp",
    text=("text", "text_a"),
    labels=("negative", "positive"),
    local={
        split: LocalFile(name, FileFormat("tsv", quoting=False))
        for split, name in (("train", "train.tsv"), ("validation", "dev.tsv"), ("test", "test.tsv"))
    },
    max_length=256,
)
banking77 = Classification(
    description="Intent of a bank's customer, in 77 classes (Banking77)",
    hub="legacy-datasets/banking77",
    label=("label", "category"),
    local={"train": "train.csv", "test": "test.csv"},
    max_length=96,
)
clinc150 = Classification(
    description="Intent in 150 classes, or none of them (CLINC150)",
    hub="clinc/clinc_oos",
    subset="plus",
    label="intent",
    local={
        split: LocalFile("data_full.json", FileFormat("json", columns=("text", "intent"), keys=(key, f"oos_{key}")))
        for split, key in (("train", "train"), ("validation", "val"), ("test", "test"))
    },
    max_length=48,
)
