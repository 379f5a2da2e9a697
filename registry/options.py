"""Every option of a training run, as frozen dataclasses: the one source of flags, config keys and run.json.

Each field carries its help line and its bounds in `metadata`; `registry.cli` turns them into click options,
`registry.resolving` finds and checks their values, and `run.json` stores them. This module imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "text", "first-blank", "conll", "conllu", "folder")
OPTIMIZERS = ("adamw", "adamw8bit", "paged_adamw8bit", "lion8bit", "adafactor", "sgd", "lamb")
SCHEDULES = ("linear", "cosine", "constant", "polynomial", "one-cycle", "wsd", "inverse-sqrt")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
ATTENTION = ("auto", "eager", "sdpa", "flash_attention_2")


def option(
    default: Any = None,
    help: str = "",
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    words: tuple[str, ...] = (),
    affects_training: bool = True,
) -> Any:
    """A dataclass field with its help line and bounds.

    Args:
        above: the value must be greater than this (`minimum` allows equality).
        words: what a number may also be ("auto").
        affects_training: whether a continued run must keep the value.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "words": words,
        "affects_training": affects_training,
    }
    if isinstance(default, (dict, list)):
        kept = default
        return dataclasses.field(default_factory=lambda: type(kept)(kept), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Run:
    """What is trained and where it goes"""

    task: str = option("demo", "Registered task (scripts/plugins.py list shows them).")
    model: str = option("tiny", "Registered model, Hub id, local directory or run directory.")
    revision: str | None = option(None, "Commit, tag or branch of the model on the Hub.")
    from_scratch: bool = option(False, "Random weights, and a tokenizer trained on the task's texts.")
    trust_remote_code: bool = option(False, "Run code that the model's repository brings.")
    task_option: dict[str, str] = option({}, "KEY=VALUE of the task; repeatable.")
    model_option: dict[str, str] = option({}, "KEY=VALUE of the model; `dropout` sets every dropout; repeatable.")
    plugin_file: str | None = option(
        None, "Python file that registers tasks or models; the run keeps a copy.", affects_training=False
    )
    plugins: bool = option(
        True, "Tasks and models of installed packages; REGISTRY_PLUGINS=a,b allows some.", affects_training=False
    )
    output_dir: str | None = option(None, "Run directory; default runs/<task>-<model>-<n>.", affects_training=False)
    overwrite: bool = option(False, "Replace a run directory that exists, begun or finished.", affects_training=False)
    seed: int = option(42, "Seed of weights, data order, masking and dropout.", minimum=0, maximum=2**32 - 1)
    deterministic: bool = option(False, "Only deterministic kernels, slower on GPUs; an error where there is none.")


@dataclass(frozen=True)
class Data:
    """Where rows come from"""

    data_dir: str | None = option(None, "Local copy of the task's data in its publisher's layout, or a parquet folder.")
    data_revision: str | None = option(None, "Commit, tag or branch of the data set on the Hub.")
    train_file: str | None = option(
        None, "Your own rows: a file or quoted glob (CSV, TSV, JSON, parquet, text, CoNLL)."
    )
    validation_file: str | None = option(None, "Your own validation rows.")
    test_file: str | None = option(None, "Your own test rows.")
    text_column: str | None = option(None, "Column with the text (qa: the question); a,b are joined by a blank.")
    text_pair_column: str | None = option(None, "Column with the second text (qa: the context).")
    label_column: str | None = option(None, "Column with the label (qa: the answer); a,b,c are indicator columns.")
    tokens_column: str | None = option(None, "Column with the tokens; its number from 0 in a CoNLL file.")
    tags_column: str | None = option(None, "Column with the tags; -1 is the last one of a CoNLL file.")
    sentence_column: str | None = option(None, "Column that numbers sentences in a CSV file with one token a row.")
    file_format: str | None = option(
        None, "How your files are written; default: what their suffixes say.", choices=FORMATS
    )
    separator: str | None = option(None, "Between the cells of your files; default: by format and first line.")
    encoding: str = option("utf-8", "Encoding of your files.")
    num_workers: int = option(0, "Processes that tokenise.", minimum=0, affects_training=False)


@dataclass(frozen=True)
class Splits:
    """How rows are divided and checked"""

    split_ratio: str | None = option(
        None,
        "Shares of train/validation[/test] where one is missing, taken from train; 0.8/0.1/0.1 where none is said.",
    )
    resplit: bool = option(False, "Merge all labelled splits and divide them anew by --split-ratio.")
    split_seed: int = option(
        42,
        "Seed of splits and subsets, apart from --seed so that seeds can be compared.",
        minimum=0,
        maximum=2**32 - 1,
    )
    train_fraction: float = option(
        1.0, "Stratified share of the training rows; smaller ones lie within.", above=0, maximum=1
    )
    max_train_rows: int | None = option(None, "Training rows, stratified.", minimum=1)
    max_validation_rows: int | None = option(None, "Validation rows, stratified.", minimum=1)
    max_test_rows: int | None = option(None, "Test rows, stratified.", minimum=1)
    drop_invalid: bool = option(
        False, "Leave ragged rows and those without text or label out, and say how many; else they are an error."
    )
    drop_leaks: bool = option(False, "Remove rows from train whose text also stands in validation or test.")


@dataclass(frozen=True)
class Cleaning:
    """What is done to every text, at training and ever after"""

    strip_html: bool = option(False, "Remove tags and resolve entities (&amp;).")
    unicode: str = option("none", "Unicode normalisation.", choices=("none", "NFC", "NFD", "NFKC", "NFKD"))
    replace: list[str] = option([], "PATTERN=TEXT, a regular expression and what replaces it; repeatable, in order.")
    lowercase: bool = option(False, "Lower-case.")
    strip_punctuation: bool = option(False, "Remove punctuation.")
    collapse_whitespace: bool = option(False, "One blank for each run of white space, none at the ends.")


@dataclass(frozen=True)
class Augmentation:
    """Noise in training texts, drawn anew every epoch"""

    augment_delete: float = option(0.0, "Share of words that are left out.", minimum=0, maximum=0.9)
    augment_swap: float = option(0.0, "Share of words that change places with the next one.", minimum=0, maximum=1)
    augment_spelling: float = option(0.0, "Share of words with a spelling mistake.", minimum=0, maximum=1)


@dataclass(frozen=True)
class Text:
    """How texts become tokens"""

    max_length: int = option(128, "Tokens a sequence, special ones included.", minimum=4)
    truncation: str = option("head", "Part of a longer text that is kept.", choices=("head", "tail", "head-tail"))


@dataclass(frozen=True)
class Optimization:
    """How weights are updated"""

    epochs: float = option(3.0, "Passes over the training rows.", minimum=0)
    max_updates: int | None = option(None, "Stop after this many updates.", minimum=0)
    batch_size: int = option(32, "Examples in one update, over all processes.", minimum=1)
    micro_batch_size: int | str | None = option(
        None,
        "Examples that a process takes in one forward pass; auto: as many as memory holds (one process and DDP); "
        "default: its whole share of an update.",
        minimum=1,
        words=("auto",),
    )
    micro_batch_tokens: int | None = option(
        None, "Tokens in one forward pass, padding included, at most; a longer example goes alone.", minimum=1
    )
    optimizer: str = option(
        "adamw",
        "What turns gradients into steps; 8-bit ones (bitsandbytes) keep a quarter of the state. "
        "ZeRO takes neither adafactor nor lamb.",
        choices=OPTIMIZERS,
    )
    learning_rate: float = option(5e-5, "Peak learning rate.", above=0)
    head_learning_rate: float | None = option(None, "Peak learning rate of the head, where it differs.", above=0)
    layer_decay: float = option(1.0, "Factor of the rate from each layer to the one below it.", above=0, maximum=1)
    warmup: float = option(0.0, "Updates of warm-up; below 1 a share of all updates.", minimum=0)
    schedule: str = option(
        "linear", "Learning rate after warm-up; wsd: stable, then linear in the last fifth.", choices=SCHEDULES
    )
    weight_decay: float = option(
        0.01, "Decoupled decay (of sgd: part of its gradient); never on biases and norms.", minimum=0
    )
    clip_norm: float = option(1.0, "Largest gradient norm; 0 switches clipping off.", minimum=0)
    freeze: str | None = option(None, "Part that is not trained: encoder, embeddings, or a number of lowest layers.")
    group_by_length: bool = option(
        True, "Texts of similar length share an update: less padding. Tasks of words recommend random updates."
    )
    embedding_rows: str = option(
        "auto",
        "Rows of the word embeddings that are trained: those that training rows use, or all; auto: used, where exact.",
        choices=("auto", "used", "all"),
    )
    precision: str = option(
        "auto",
        "Arithmetic of forward and backward; auto: what the launch configuration names, else bf16 where the device "
        "has instructions for it, else fp32.",
        choices=("auto", *PRECISIONS),
    )


@dataclass(frozen=True)
class Recipe:
    """What is added to plain training"""

    r_drop: float = option(0.0, "Weight of the divergence of two passes under dropout (R-Drop); 0: off.", minimum=0)
    contrastive: float = option(
        0.0, "Share of a supervised contrastive loss on the pooled texts of a forward pass.", minimum=0, maximum=0.99
    )
    contrastive_temperature: float = option(0.3, "Its temperature: smaller ones look at the nearest texts.", above=0)
    ema_decay: float | None = option(None, "Use an exponential moving average of the weights.", above=0, maximum=1)
    average_last: int | None = option(None, "Use the mean of the weights at the last N evaluations.", minimum=2)


@dataclass(frozen=True)
class Adapters:
    """What is trained instead of all weights"""

    lora_rank: int | None = option(None, "Train matrices of this rank (LoRA) and the head alone.", minimum=1)
    lora_alpha: int = option(16, "Their scale, divided by the rank (or its root: --rslora).", minimum=1)
    lora_dropout: float = option(0.0, "Dropout before them.", minimum=0, maximum=0.9)
    lora_targets: str = option(
        "auto",
        "Where: auto (linear maps of the layers, or what the model recommends), all-linear, or ends of module names "
        "(query,value).",
    )
    rslora: bool = option(False, "Divide alpha by the rank's square root (higher ranks learn faster).")
    dora: bool = option(False, "Train the norms of the weights too (DoRA).")
    quantize: str | None = option(
        None, "Frozen weights in 8 or 4 bits (QLoRA, with --lora-rank).", choices=("int8", "nf4")
    )
    merge_adapter: bool = option(False, "Leave a plain model, the adapters added to its weights.")


@dataclass(frozen=True)
class Kernels:
    """How the device computes"""

    attention: str = option(
        "auto", "Attention kernels of transformers; flash_attention_2 needs flash-attn and a GPU.", choices=ATTENTION
    )
    gradient_checkpointing: bool = option(False, "Compute activations again in backward: less memory, slower.")
    compile: bool = option(
        False, "Compile forward and backward (torch.compile): a minute before the first update, no gain on most CPUs."
    )
    whole_last_layer: bool = option(
        False, "Compute the last layer for all tokens, also where the head reads the first one or masked ones alone."
    )
    packing: bool | None = option(
        None,
        "Compute no padding: the texts of a batch in one row, attention kept apart; default: on CPUs, where the model "
        "can.",
    )


@dataclass(frozen=True)
class Evaluation:
    """When validation runs and what it decides"""

    evaluate_every: int | None = option(None, "Updates between evaluations; default: every epoch.", minimum=1)
    patience: int | None = option(None, "Stop after this many evaluations without a better metric.", minimum=1)
    best_metric: str | None = option(None, "Metric of the best weights, or `loss`; default: the task's primary metric.")


@dataclass(frozen=True)
class Logging:
    """What is written while it trains"""

    log_every: int = option(10, "Updates between logged values.", minimum=1, affects_training=False)
    histograms: bool = option(
        False, "TensorBoard histograms of trainable weights at every evaluation.", affects_training=False
    )
    tracker: list[str] = option(
        [], "Send scalars to wandb, mlflow, comet_ml, … as well; repeatable.", affects_training=False
    )


@dataclass(frozen=True)
class Checkpoints:
    """What a killed run continues from"""

    checkpoint_every: str = option("10m", "Updates (500) or minutes (10m) between checkpoints.", affects_training=False)
    keep: int = option(2, "Checkpoints kept, the newest ones.", minimum=1, affects_training=False)
    resume: str = option(
        "auto", "auto continues an unfinished run; never starts anew; or a checkpoint's path.", affects_training=False
    )
    save_failure: str = option(
        "stop",
        "When a checkpoint cannot be written (a full disk).",
        choices=("stop", "continue"),
        affects_training=False,
    )


@dataclass(frozen=True)
class Options:
    """All groups together; `options.run.task`, `options.optimization.learning_rate`, …"""

    run: Run = Run()
    data: Data = Data()
    splits: Splits = Splits()
    cleaning: Cleaning = Cleaning()
    augmentation: Augmentation = Augmentation()
    text: Text = Text()
    optimization: Optimization = Optimization()
    adapters: Adapters = Adapters()
    kernels: Kernels = Kernels()
    recipe: Recipe = Recipe()
    evaluation: Evaluation = Evaluation()
    logging: Logging = Logging()
    checkpoints: Checkpoints = Checkpoints()

    def flat(self) -> dict[str, Any]:
        """One dictionary of every option by its (unique) name, as `run.json` holds it."""
        return {name: getattr(getattr(self, group), name) for group, name, _ in fields()}


def fields() -> Iterator[tuple[str, str, dataclasses.Field[Any]]]:
    """(group attribute, option name, field) of every option, in the order of `--help`."""
    for group, kind in groups().items():
        for item in dataclasses.fields(kind):
            yield group, item.name, item


def default_of(item: dataclasses.Field[Any]) -> Any:
    """An option's default."""
    made = item.default_factory
    return item.default if made is dataclasses.MISSING else made()


def groups() -> dict[str, Any]:
    """Group attribute -> its dataclass, in the order of `--help`."""
    return {group.name: type(group.default) for group in dataclasses.fields(Options)}
