"""A trained run, loaded to be used: `load_run("runs/sst2-tiny-1").predict(["a moving film"])`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from registry import models, tasks
from registry.data.cleaning import Cleaner
from registry.data.source import source_of
from registry.inference import EncodedColumns, EncodedExamples, Reduced, batch_indices, infer, is_finite
from registry.models.adapters import adapted
from registry.options import Options
from registry.plugins import load_plugin_file, with_options
from registry.resolving import resolve
from registry.run_directory import (
    FINISHED,
    Record,
    RunDirectory,
    read_json,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from registry.models.base import ModelSpec
    from registry.tasks.base import Examples, Task

T = TypeVar("T")

BATCH_TOKENS = 4096


class NotFinite(ValueError):
    """A model's outputs hold NaN or infinity, of which no answer can be made."""


@dataclass
class Run:
    """A run directory with its task, model and tokenizer, ready to predict.

    Args:
        directory: of the run, also where `engine` reads what was exported there.
        device: where `model` is.
        engine: "torch", or "onnx" for what scripts/export.py made.
        precision: "fp32", or "bf16" or "fp16" for the forward pass alone.
        batch_tokens: most padded tokens of one forward pass.
    """

    directory: RunDirectory
    record: Record
    task: Task
    spec: ModelSpec
    tokenizer: PreTrainedTokenizerBase
    model: nn.Module
    device: str
    engine: str = "torch"
    precision: str = "fp32"
    batch_tokens: int = BATCH_TOKENS

    @cached_property
    def options(self) -> Options:
        """The options of the training."""
        return resolve(self.record.options, {}, {}).options

    @cached_property
    def cleaner(self) -> Cleaner:
        """What is done to every text before it is tokenised."""
        return Cleaner(self.options.cleaning)

    @property
    def equal_lengths(self) -> bool:
        """Whether lengths may not be mixed in a batch, because padding would change the answers."""
        return not self.spec.ignores_padding(self.tokenizer)

    def predict(self, items: Sequence[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What the task decodes for texts, or for dictionaries of its columns; in the order of `items`.

        Raises:
            ValueError: an item is not what the task needs; names the item.
        """
        if isinstance(items, (str, Mapping)):
            raise ValueError("predict takes a list of texts or dictionaries; put the one into a list")
        if not len(items):
            return []
        examples = self.task.from_inputs(items)
        return self.decode(examples, self.reduce(self.encode(examples)))

    def encode(self, examples: Examples) -> EncodedColumns:
        """Clean and tokenise rows as the run's training did."""
        cleaned = self.cleaner.columns(examples)
        return EncodedColumns(self.task.encode(cleaned, self.tokenizer, self.record.head, self.record.limits))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The arithmetic of a forward pass."""
        import torch

        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]
        return torch.autocast(torch.device(self.device).type, dtype)

    def decode(self, examples: Examples, reduced: Sequence[Reduced]) -> list[dict[str, Any]]:
        """What a person reads of the model's outputs, one dictionary a row of `examples`."""
        return self.task.decode(self.join(reduced), examples, self.record.head, self.tokenizer)

    def join(self, reduced: Sequence[Reduced]) -> dict[str, Any]:
        """The model's outputs by row, as the task joins them.

        Raises:
            NotFinite: some are no numbers. Labels may be: NaN marks rows without one.
        """
        joined = self.task.join(reduced)
        if all(is_finite(values) for name, values in joined.items() if name != "labels"):
            return joined
        if self.precision == "fp16":
            raise NotFinite("--precision fp16: the model's outputs go beyond its largest number; take bf16 or fp32")
        raise NotFinite("the model's outputs are not finite (NaN or infinity): did its training diverge?")

    def reduce(
        self,
        encoded: EncodedExamples,
        batches: Sequence[np.ndarray] | None = None,
        on_batch: Callable[[int], None] = lambda examples: None,
    ) -> list[Reduced]:
        """Run the model over encoded examples, in `batches` of indices; by length where none are given."""
        if batches is None:
            batches = batch_indices(encoded.lengths, self.batch_tokens, equal_lengths=self.equal_lengths)
        return infer(
            self.model,
            self.task,
            self.record.head,
            self.tokenizer,
            encoded,
            device=self.device,
            autocast=self.autocast,
            batches=batches,
            key=(self.record.seed, -1),
            wants_labels=self.spec.wants_labels,
            on_batch=on_batch,
        )


def load_run(
    path: str | Path,
    plugin_file: str | Path | None = None,
    *,
    device: str | None = None,
    engine: str = "torch",
    precision: str = "fp32",
    batch_tokens: int = BATCH_TOKENS,
) -> Run:
    """The run that training left in `path`, with nothing but what lies there.

    Args:
        plugin_file: the file that registered the run's task or model; a run never executes one by itself.
        device: "cpu", "cuda", …; a GPU by default where there is one.
        engine, precision, batch_tokens: see `Run`.

    Raises:
        ValueError: in one line, when there is no run, or it is unfinished, broken, or of a task or
            model that is not registered here.
    """
    from registry.onnx_model import DESCRIPTION_FILE

    directory = files = RunDirectory(Path(path))
    if engine == "onnx":
        _check_onnx(device, precision)
        if directory.onnx.is_dir():
            files = RunDirectory(directory.onnx)
    record = read_record(files)
    if engine == "torch" and (files.path / DESCRIPTION_FILE).is_file():
        raise ValueError(f"{path}: this is an export, which --engine onnx runs")
    if record.status != FINISHED:
        raise ValueError(f"{path}: this run is unfinished (status {record.status!r}); give its command again first")
    if plugin_file is not None:
        load_plugin_file(plugin_file)
    task, spec = registered(record)
    tokenizer = load_tokenizer(files, spec)
    model: nn.Module
    if engine == "onnx":
        from registry.onnx_model import load_onnx

        device, model = "cpu", load_onnx(files.path)
    else:
        device = checked_device(device)
        model = load_model(files, record, spec).to(device).eval()
    run = Run(directory, record, task, spec, tokenizer, model, device, engine, precision, batch_tokens)
    if engine == "torch" and not run.options.kernels.whole_last_layer:
        spec.spare_last_layer(model)
    return run


def read_record(directory: RunDirectory) -> Record:
    """The run's record; ValueError in one line where there is no run or `run.json` is broken."""
    if not directory.path.is_dir():
        raise ValueError(f"{directory.path}: no such run directory")
    if not directory.run_json.is_file():
        raise ValueError(f"{directory.path}: not a run directory (it holds no run.json)")
    values = read_json(directory.run_json)
    try:
        return Record.from_json(values)
    except ValueError as error:
        raise ValueError(f"{directory.run_json}: {error}") from None


def registered(record: Record) -> tuple[Task, ModelSpec]:
    """The registered task and model that a record names, with its options set on them."""
    task = tasks.REGISTRY.get_recorded(record.task.name, record.task.origin)
    spec = models.REGISTRY.get_recorded(record.model.name, record.model.origin)
    options = resolve(record.options, {}, {}).options
    # Whether a base may bring code is for the person who loads the run to say, not for the run.
    source = dataclasses.replace(record.source, trust_remote_code=False)
    spec = adapted(with_options(spec, record.model.options).for_inference(), source, options.adapters)
    return with_options(task, record.task.options).for_columns(source_of(options.data).columns), spec


def load_tokenizer(directory: RunDirectory, spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The tokenizer of `model/`, from its files alone."""
    if not directory.model.is_dir():
        raise ValueError(f"{directory.path}: broken run (it holds no model/)")
    return _loaded(directory.model, lambda: spec.load_tokenizer(directory.model))


def load_model(directory: RunDirectory, record: Record, spec: ModelSpec) -> nn.Module:
    """The module of `model/`, from its files alone."""
    return _loaded(directory.model, lambda: spec.load(directory.model, record.head))


def checked_device(name: str | None) -> str:
    """The device of that name, by default a GPU where there is one; ValueError where it is not there."""
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return name


def _check_onnx(device: str | None, precision: str) -> None:
    if precision != "fp32" or device not in (None, "cpu"):
        wrong = f"--device {device}" if precision == "fp32" else f"--precision {precision}"
        raise ValueError(f"{wrong}: --engine onnx computes on the CPU, in the arithmetic of the export; leave it out")


def _loaded(directory: Path, load: Callable[[], T]) -> T:
    try:
        return load()
    except Exception as error:  # whatever a damaged file makes the loaders raise, the person needs one line
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{directory}: cannot be loaded ({reason[:300]})") from error
