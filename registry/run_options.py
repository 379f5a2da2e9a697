"""What the programs that use a run ask alike: which run, on which device, in which arithmetic, which columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from registry.cli import some_options, typed_values

if TYPE_CHECKING:
    from registry.data.source import Source
    from registry.options import Options
    from registry.runs import Run

file_options = some_options(
    "text_column", "text_pair_column", "label_column", "tokens_column", "tags_column", "sentence_column",
    "file_format", "separator", "encoding",
)  # fmt: skip
"""Decorator: how a person's file is written, where it differs from the file of the training."""


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: how a run is loaded; `open_run` reads these."""
    choices = {
        "engine": click.Choice(["torch", "onnx"]),
        "precision": click.Choice(["fp32", "bf16", "fp16"]),
        "device": str,
        "batch_tokens": click.IntRange(min=1),
        "plugin_file": click.Path(dir_okay=False),
    }
    helps = {
        "engine": "What runs the model; onnx: what scripts/export.py made of the run.",
        "precision": "Arithmetic of the forward pass.",
        "device": "cpu, cuda, cuda:1, …; default: a GPU where there is one.",
        "batch_tokens": "Most padded tokens of one forward pass.",
        "plugin_file": "File that registers the run's own task or model.",
    }
    defaults: dict[str, Any] = {"engine": "torch", "precision": "fp32"}
    for name in reversed(list(choices)):
        flag, default = f"--{name.replace('_', '-')}", defaults.get(name)
        function = click.option(
            flag, type=choices[name], default=default, show_default=default is not None, help=helps[name]
        )(function)
    return function


def open_run(path: str, options: Mapping[str, Any]) -> Run:
    """The run at `path`, loaded as the command's `run_options` say."""
    from registry.runs import load_run

    names = ("engine", "precision", "device", "batch_tokens", "plugin_file")
    return load_run(path, **{name: options[name] for name in names if options[name] is not None})


def options_for(run: Run, typed: Mapping[str, Any]) -> Options:
    """The options of the run's training, with those that the command's line gives in their place."""
    from registry.resolving import resolve

    return resolve({**run.record.options, **typed_values(typed)}, {}, {}).options


def file_source(run: Run, typed: Mapping[str, Any]) -> Source:
    """Columns and format of a person's file: those that were typed, else those of the training."""
    from dataclasses import replace

    from registry.data.source import source_of

    data = options_for(run, typed).data
    return source_of(replace(data, train_file=None, validation_file=None, test_file=None))
