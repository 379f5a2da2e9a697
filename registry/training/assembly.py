"""From options to a job: task, rows, head, tokenizer and encoded examples, each decided once.

The process that prepares data is the first one; the others wait for it and read its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from registry import tasks
from registry.data import checks
from registry.data.augmentation import Augmenter
from registry.data.cache import code_digest, default_cache_dir
from registry.data.encoded import Encoded, encode_split
from registry.data.prepare import Prepared, prepare
from registry.data.source import source_of
from registry.entry_points import switch_off
from registry.heads import Head
from registry.models.adapters import adapted
from registry.models.base import ModelSource, ModelSpec
from registry.models.resolution import registered_name, resolve_model
from registry.options import Options, Text
from registry.plugins import load_plugin_file, with_options
from registry.resolving import Resolved, resolve
from registry.tasks.base import Limits, Task
from registry.trackers import check_trackers

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Choice:
    """Task, model and options as asked for, every name resolved; nothing has been read yet.

    `model_name` is the registered name of the spec, where `--model` was a path or a Hub id; `plugin` is the
    source of the --plugin-file.
    """

    resolved: Resolved
    task: Task
    spec: ModelSpec
    source: ModelSource
    model_name: str
    plugin: bytes = b""

    @property
    def options(self) -> Options:
        """The options as resolved."""
        return self.resolved.options


@dataclass(frozen=True)
class Job:
    """What is learned and from which rows."""

    choice: Choice
    prepared: Prepared
    head: Head
    tokenizer: PreTrainedTokenizerBase
    limits: Limits
    encoded: Mapping[str, Encoded]
    encode: Encoding

    @property
    def options(self) -> Options:
        """The options as resolved."""
        return self.choice.options

    @property
    def task(self) -> Task:
        """The task with its options set."""
        return self.choice.task

    @property
    def spec(self) -> ModelSpec:
        """The model's spec with its options set."""
        return self.choice.spec

    def splits(self, kind: str) -> list[str]:
        """Splits named "validation" or "test", and those that begin so ("validation_mismatched")."""
        return [name for name in self.encoded if name == kind or name.startswith(f"{kind}_")]


def choose(typed: Mapping[str, Any], config: Mapping[str, Any]) -> Choice:
    """Resolve names and options; the task's and the model's recommendations stand below both sources.

    Raises:
        ValueError: an unknown task, model or option, or a value out of range, in one line.
    """
    named = resolve(typed, config, {}).options.run
    if not named.plugins:
        switch_off()
    plugin = load_plugin_file(named.plugin_file).source if named.plugin_file else b""
    task = with_options(tasks.get(named.task), named.task_option, "--task-option")
    spec, source = resolve_model(
        named.model,
        revision=named.revision,
        from_scratch=named.from_scratch,
        trust_remote_code=named.trust_remote_code,
    )
    spec = with_options(spec, named.model_option, "--model-option")
    suits_task = {"max_length": task.max_length, "group_by_length": task.group_by_length}
    resolved = resolve(typed, config, {"model": spec.defaults, "task": suits_task})
    task = task.for_columns(source_of(resolved.options.data).columns)
    check_trackers(resolved.options.logging.tracker)
    if task.packs and Augmenter(resolved.options.augmentation, named.seed):
        raise ValueError(
            f"task {named.task!r} packs texts into blocks, which noise would move: leave --augment-delete, "
            "--augment-swap and --augment-spelling out"
        )
    refuse_truncation(task, resolved)
    if resolved.options.kernels.attention != "auto":
        spec = with_options(spec, {"attention": resolved.options.kernels.attention}, "--attention")
    spec = adapted(spec, source, resolved.options.adapters)
    return Choice(resolved, task, spec, source, registered_name(named.model), plugin)


def assemble(choice: Choice, say: Callable[[str], None]) -> Job:
    """Read, check and encode the rows, and build what depends on them.

    Raises:
        ValueError: whatever is wrong with the data, naming file, row and column.
    """
    options, task = choice.options, choice.task
    prepared = prepare(
        task.load(source_of(options.data, options.splits.drop_invalid)), options.splits, options.cleaning
    )
    for message in checks.messages(prepared.checks):
        say(message)
    check_selection(options, prepared)
    head = task.head(prepared.uncut)
    if head.kind not in choice.spec.heads:
        able = ", ".join(choice.spec.heads)
        raise ValueError(
            f"model {options.run.model!r} cannot do {head.kind} (task {options.run.task!r}): it has no such head, "
            f"it was made for {able}"
        )
    refuse_unused(options.run.task_option, "--task-option", task.unused(head))
    refuse_unused(options.run.model_option, "--model-option", choice.spec.unused(head, choice.source))
    reason = choice.spec.redrawn_head(head, choice.source)
    if reason:
        say(f"{options.run.model}: the head is drawn anew, for {reason}")
    tokenizer = choice.spec.tokenizer(choice.source, prepared.texts)
    limits = Limits(min(options.text.max_length, tokenizer.model_max_length), options.text.truncation)
    encode = Encoding(task, head, tokenizer, limits, options.data.num_workers)
    encoded = {name: encode(rows) for name, rows in prepared.splits.items()}
    prepared.checks["truncated"] = {name: examples.truncated_share for name, examples in encoded.items()}
    if prepared.checks["truncated"]["train"]:
        share = prepared.checks["truncated"]["train"]
        say(f"train: {share:.1%} of the texts are longer than --max-length {limits.max_length} and cut")
    return Job(choice, prepared, head, tokenizer, limits, encoded, encode)


def check_selection(options: Options, prepared: Prepared) -> None:
    """Whether validation can select the best weights.

    Raises:
        ValueError: it has no labels; or there is none, and an option asks for it.
    """
    if "validation" in prepared.splits:
        if prepared.checks["unlabelled"]["validation"] == len(prepared.splits["validation"]):
            raise ValueError(
                "validation: no row has a label, so that nothing says which weights are the best; give labelled rows, "
                "or none, and a part of train is taken (--split-ratio)"
            )
        return
    for name in ("patience", "best_metric"):
        value = getattr(options.evaluation, name)
        if value is not None:
            flag = f"--{name.replace('_', '-')} {value}"
            raise ValueError(f"{flag}: there is no validation split to ask; --split-ratio 0.9/0.1 takes one from train")


def refuse_truncation(task: Task, resolved: Resolved) -> None:
    """ValueError where a person says what a task that cuts no texts should keep of them; the default says nothing."""
    kept, name = resolved.options.text.truncation, resolved.options.run.task
    if not task.cuts and resolved.origins["truncation"] in ("option", "config") and kept != Text().truncation:
        raise ValueError(
            f"--truncation {kept}: task {name!r} cuts no texts, it reads all of a long one in parts; leave it out"
        )


def refuse_unused(typed: Mapping[str, Any], flag: str, unused: Mapping[str, str]) -> None:
    """ValueError where a person set what has no use here; what a task or model was registered with may stay."""
    for name, value in typed.items():
        reason = unused.get(name.replace("-", "_"))
        if reason:
            raise ValueError(f"{flag} {name}={value}: {reason}")


@dataclass(frozen=True)
class Encoding:
    """Encodes rows, or finds them in the token cache."""

    task: Task
    head: Head
    tokenizer: PreTrainedTokenizerBase
    limits: Limits
    num_workers: int

    def __call__(self, rows: Dataset, cache_dir: Path | None = None) -> Encoded:
        """The encoded examples of the rows."""
        return encode_split(
            lambda examples: self.task.encode(examples, self.tokenizer, self.head, self.limits),
            rows,
            fingerprint=self._fingerprint,
            cache_dir=cache_dir or default_cache_dir(),
            num_workers=self.num_workers,
        )

    def once(self, rows: Dataset) -> Encoded:
        """The same for rows that nobody will ask for again: their files go when the examples do."""
        beside = default_cache_dir() / "encoded"
        beside.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(suffix=".part", dir=beside, ignore_cleanup_errors=True) as folder:
            return self(rows, Path(folder))  # what is mapped stays readable

    @cached_property
    def _fingerprint(self) -> str:
        code, tokenizer = code_digest(type(self.task)), tokenizer_fingerprint(self.tokenizer)
        return f"{self.task!r} {self.head!r} {self.limits!r} {code} {tokenizer}"


class TrainingExamples:
    """The encoded training rows of an epoch: the same in every epoch, unless augmentation changes them.

    The update plan is made once, so every row gives as many examples as without noise.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._augmenter = Augmenter(job.options.augmentation, job.options.run.seed)
        self._latest: tuple[int, Encoded] | None = None

    def __call__(self, epoch: int) -> Encoded:
        """The epoch's examples."""
        if not self._augmenter:
            return self._job.encoded["train"]
        latest = self._latest  # the loop and the thread that collates ahead may ask for two epochs at once
        if latest is None or latest[0] != epoch:
            self._latest = latest = epoch, self._with_noise(epoch)
        return latest[1]

    def _with_noise(self, epoch: int) -> Encoded:
        """The noisy examples; rows that noise would cut into more or fewer windows stay as they are."""
        job, train = self._job, self._job.prepared.splits["train"]
        encoded = self._encoded(self._augmenter.rows(train, epoch))
        size = max(train["row"][:]) + 1
        before, after = (np.bincount(e.column("row"), minlength=size) for e in (job.encoded["train"], encoded))
        if (before == after).all():
            return encoded
        encoded = self._encoded(self._augmenter.rows(train, epoch, np.flatnonzero(before != after).tolist()))
        if len(encoded) != len(job.encoded["train"]):
            raise ValueError(
                f"task {job.options.run.task!r} packs rows, which noise moves, and does not say so (`packs = True`)"
            )
        return encoded

    def _encoded(self, noisy: Dataset) -> Encoded:
        """The examples of rows, which `datasets` may have written to a file of theirs: it goes."""
        encoded = self._job.encode.once(noisy)
        kept = {file["filename"] for file in self._job.prepared.splits["train"].cache_files}
        for file in noisy.cache_files:
            if file["filename"] not in kept:
                Path(file["filename"]).unlink(missing_ok=True)
        return encoded


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A digest of everything that decides what the tokenizer gives for a text."""
    import hashlib

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # how the last call cut and padded is written there, too, and of no use for the next
        backend.no_truncation()
        backend.no_padding()
        content = backend.to_str()
    else:  # one written in Python: whatever it saves
        with TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            content = repr([(file.name, file.read_bytes()) for file in sorted(Path(folder).iterdir())])
    # The two that are in no file of the backend: which tokens stand for what, and whether a text may name one.
    aside = f"{sorted(tokenizer.special_tokens_map.items())} {getattr(tokenizer, 'split_special_tokens', False)}"
    known = f"{type(tokenizer).__name__} {tokenizer.model_input_names} {aside} {content}"
    return hashlib.sha256(known.encode()).hexdigest()
