"""A run as ONNX: exported, compared with PyTorch on real rows, and, as int8, measured before it is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from registry.inference import EncodedExamples
from registry.models.adapters import merged
from registry.onnx_model import DESCRIPTION_FILE, MODEL_FILE, OnnxModel
from registry.run_directory import RunDirectory, write_json
from registry.runs import Run
from registry.scoring import score
from registry.tasks.base import Batch

TOLERANCE = 1e-4
"""Largest difference of a logit from PyTorch's, relative to the largest logit where that is over 1."""

CHECKED_ROWS = 64
EXPORTERS = ("torchscript", "dynamo")
"""Tried in this order: tracing takes a tenth of the time, and what it gets wrong the comparison finds."""


@dataclass(frozen=True)
class Exported:
    """What came of an export: `export.json`, and the table that a person sees.

    Args:
        difference: largest difference of a logit from PyTorch's on the checked rows, before quantisation.
        metric: what `torch` and `onnx` are values of.
    """

    precision: str
    exporter: str
    inputs: list[str]
    outputs: list[str]
    checked_rows: int
    difference: float
    metric: str
    torch: float
    onnx: float
    megabytes: float
    onnxruntime: str


def export_run(run: Run, encoded: EncodedExamples, output: Path, *, int8: bool = False, max_loss: float) -> Exported:
    """Write `output`: model.onnx, the tokenizer and the run's record, whole or not at all.

    Args:
        encoded: labelled rows that the export is compared and measured on.
        int8: weights and activations of matrix products as 8-bit integers.
        max_loss: how much worse the task's primary metric may be.

    Raises:
        ValueError: ONNX cannot carry the model, the answers differ, or the metric is too much worse.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        path = part / MODEL_FILE
        plain = merged(run.spec, run.directory.model, run.record.head).eval()
        exporter, inputs, outputs, difference = _export(dataclasses.replace(run, model=plain), encoded, path)
        if int8:
            _quantise(path)
        model = OnnxModel(path, outputs)
        metric, before, after = _measure(run, model, encoded, max_loss)
        exported = Exported(
            precision="int8" if int8 else "fp32",
            exporter=exporter,
            inputs=inputs,
            outputs=outputs,
            checked_rows=min(CHECKED_ROWS, len(encoded)),
            difference=difference,
            metric=metric,
            torch=before,
            onnx=after,
            megabytes=path.stat().st_size / 2**20,
            onnxruntime=importlib.metadata.version("onnxruntime"),
        )
        # The tokenizer and the configurations that say how to load it; the weights are in the graph.
        shutil.copytree(
            run.directory.model,
            RunDirectory(part).model,
            ignore=shutil.ignore_patterns("*.safetensors", "adapter_config.json"),
        )
        write_json(RunDirectory(part).run_json, run.record.to_json())
        shutil.copy2(run.directory.splits, RunDirectory(part).splits)  # evaluate.py takes the export alone, too
        write_json(part / DESCRIPTION_FILE, dataclasses.asdict(exported))
        part.chmod(0o755)
        _replace(output, part)
        return exported
    finally:
        shutil.rmtree(part, ignore_errors=True)


class _Positional(nn.Module):
    """A module as exporters want it: tensors in a fixed order in and out."""

    def __init__(self, model: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, list(inputs), list(outputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(found[name] for name in self.outputs)


def _export(run: Run, encoded: EncodedExamples, path: Path) -> tuple[str, list[str], list[str], float]:
    """(exporter, inputs, outputs, largest difference) of the first exporter whose graph answers as PyTorch does."""
    batches = list(_check_batches(run, encoded))
    reference = [_forward(run, batch) for batch in batches]
    inputs = list(batches[0]["inputs"])
    outputs: list[str] = [name for name in ("logits", "predictions") if name in reference[0]]
    problems = []
    for exporter in EXPORTERS:
        try:
            with _quiet():
                _write(run.model, batches[0], inputs, outputs, path, dynamo=exporter == "dynamo")
            model = OnnxModel(path, outputs)
            answers = zip(batches, reference, strict=True)
            differences = [_difference(model(**batch["inputs"]), expected) for batch, expected in answers]
            difference = float(np.max(differences))  # a NaN stays one
        except Exception as error:  # the exporters and the runtime share no base class
            problems.append(f"{exporter}: {_reason(error)}")
            continue
        if difference <= TOLERANCE:
            return exporter, [name for name in inputs if name in model.names], outputs, difference
        problems.append(f"{exporter}: logits differ by {difference:.2g}")
    raise ValueError(f"{run.directory.path}: ONNX cannot carry this model ({'; '.join(problems)})")


def _check_batches(run: Run, encoded: EncodedExamples) -> Iterator[Batch]:
    """Real rows of all lengths, several together, in pairs and alone."""
    by_length = np.argsort(encoded.lengths, kind="stable")
    chosen = by_length[np.linspace(0, len(by_length) - 1, min(CHECKED_ROWS, len(by_length))).astype(int)]
    middle = chosen[len(chosen) // 2 :][:5]
    groups = [middle, *([i] for i in chosen[:: max(len(chosen) // 6, 1)]), chosen[-2:]]
    if not run.equal_lengths:
        groups.append(chosen)
    for group in groups:
        alike = [i for i in group if encoded.lengths[i] == encoded.lengths[group[0]]] if run.equal_lengths else group
        yield run.task.collate(encoded.rows(alike), run.tokenizer, (run.record.seed, -1))


def _forward(run: Run, batch: Batch) -> dict[str, Tensor]:
    labels = {"labels": batch["labels"]} if run.spec.wants_labels else {}
    with torch.no_grad():
        return dict(run.model(**batch["inputs"], **labels))


def _difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    if "predictions" in found and not torch.equal(found["predictions"], expected["predictions"]):
        return float("inf")
    scale = max(1.0, float(expected["logits"].abs().max()))
    return float((found["logits"] - expected["logits"]).abs().max()) / scale


def _write(model: nn.Module, batch: Batch, inputs: list[str], outputs: list[str], path: Path, *, dynamo: bool) -> None:
    tensors = tuple(batch["inputs"].values())
    axes = {1: ("scored",), 2: ("batch", "length")}
    settings: dict[str, Any]
    if dynamo:
        free = torch.export.Dim.DYNAMIC
        shapes = tuple(dict.fromkeys(range(tensor.ndim), free) for tensor in tensors)
        settings = {"dynamic_shapes": (shapes,), "external_data": False, "verbose": False}
    else:
        named = {n: dict(enumerate(axes[t.ndim])) for n, t in zip(inputs, tensors, strict=True)}
        settings = {"dynamic_axes": {**named, **{n: {0: "rows"} for n in outputs}}, "opset_version": 17}
    wrapped = _Positional(model, inputs, outputs).eval()
    torch.onnx.export(wrapped, tensors, path, input_names=inputs, output_names=outputs, dynamo=dynamo, **settings)


def _quantise(path: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(path))
    # The exporter's notes on intermediate shapes contradict what the quantiser infers for transposed weights.
    del graph.graph.value_info[:]
    whole = path.with_suffix(".fp32")
    onnx.save(graph, str(whole))
    with _quiet():
        quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True)
    whole.unlink()


def _measure(run: Run, model: OnnxModel, encoded: EncodedExamples, max_loss: float) -> tuple[str, float, float]:
    """(metric, PyTorch's value, ONNX's value) on the labelled rows."""
    name, minimize = run.task.selecting(run.record.head)
    exported = dataclasses.replace(run, model=model, device="cpu")
    before, after = (score(side, encoded).get(name) for side in (run, exported))
    if before is None or after is None:
        empty = "PyTorch" if before is None else "ONNX"
        rows = f"what {empty} answers on the checked rows (too few, or all alike)"
        raise ValueError(f"refused: {name} has no value for {rows}; give others with --split or --file")
    worse = after - before if minimize else before - after
    if not worse <= max_loss:
        raise ValueError(
            f"refused: {name} is {after:.4f} where PyTorch's is {before:.4f}; --max-loss allows {max_loss:g}"
        )
    return name, before, after


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own progress and advice, some of it in C++; what matters is checked and said by us."""
    level, screen = logging.root.manager.disable, os.dup(1)
    logging.disable(logging.ERROR)
    sys.stdout.flush()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        open(os.devnull, "wb") as nowhere,
    ):
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(screen, 1)
            os.close(screen)
            logging.disable(level)


def _reason(error: Exception) -> str:
    """The innermost cause in one line: the exporters wrap it in pages of advice."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:160]}"


def _replace(old: Path, new: Path) -> None:
    """Put a finished directory in place of the one before it."""
    aside = old.with_name(f".{old.name}-old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)
