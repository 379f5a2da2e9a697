"""Click options made from the dataclasses of `registry.options`, and errors as people want them.

This module imports neither torch nor transformers, so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from registry.allocator import is_out_of_memory
from registry.options import fields, groups
from registry.resolving import field_type

USAGE_ERROR = 2


class KeyValue(click.ParamType):
    """KEY=VALUE; repeated ones become a dictionary."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split at the first '='; a missing key or '=' is a usage error."""
        key, equals, rest = str(value).partition("=")
        if not equals or not key.strip():
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key.strip(), rest


class GroupedCommand(click.Command):
    """A command whose --help lists the options under the titles of their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one definition list a group; options without a group come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(parameter, "group", "This program"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class GroupedOption(click.Option):
    """An option that knows the title it is listed under."""

    def __init__(self, *args: Any, group: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.group = group


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add every option of `registry.options` to a click command."""
    return some_options(*(name for _, name, _ in fields()))(function)


def some_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the named options of `registry.options` to a click command.

    All defaults are None, so that the command sees what was typed and nothing else; the help line
    shows the default that holds where nobody says otherwise.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        titles = groups()
        for group, name, item in reversed(list(fields())):
            if name in names:
                function = _decorate(function, str(titles[group].__doc__), name, item)
        return function

    return add


def typed_values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed, by name; KEY=VALUE pairs as dictionaries."""
    known = {name: item for _, name, item in fields()}
    typed = {}
    for name, value in arguments.items():
        if name in known and value not in (None, ()):
            kind = field_type(known[name])
            typed[name] = dict(value) if kind is dict else list(value) if kind is list else value
    return typed


def friendly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn ValueError, a file's OSError and memory that ran out into one line and exit code 2, said by one process.

    Where nobody looks at a terminal, `datasets` draws no progress bars.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not sys.stderr.isatty():  # a progress bar in a log is a line for every thousand rows
            os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            if os.environ.get("REGISTRY_TRACEBACK"):
                raise
            fail(str(error))
        except (RuntimeError, MemoryError) as error:
            if os.environ.get("REGISTRY_TRACEBACK") or not is_out_of_memory(error):
                raise
            advice = "; give a smaller --batch-tokens, or --device cpu" if "batch_tokens" in kwargs else ""
            fail(f"memory ran out{advice}")
        except OSError as error:
            if os.environ.get("REGISTRY_TRACEBACK") or error.filename is None:
                raise
            fail(f"{error.filename}: {error.strerror}")

    return run


def fail(message: str) -> None:
    """Print "error: …" as one line (on the first process) and leave with exit code 2."""
    if int(os.environ.get("RANK", "0")) == 0:
        click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        os._exit(USAGE_ERROR)  # gloo's threads may abort an interpreter that ends while its partners do
    sys.exit(USAGE_ERROR)


def _decorate(function: Callable[..., Any], group: str, name: str, item: dataclasses.Field[Any]) -> Callable[..., Any]:
    kind = field_type(item)
    flag = f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {"default": None, "group": group, "cls": GroupedOption, "help": _help(item)}
    if kind is bool:
        flag = f"{flag}/--no-{name.replace('_', '-')}"
    elif kind is dict:
        settings |= {"type": KeyValue(), "multiple": True}
    elif kind is list:
        settings |= {"multiple": True}
    elif item.metadata["choices"]:
        settings |= {"type": click.Choice(item.metadata["choices"])}
    else:
        settings |= {"metavar": {int: "N", float: "X"}.get(kind, "TEXT")}
    return click.option(flag, name, **settings)(function)


def _help(item: dataclasses.Field[Any]) -> str:
    default = item.default
    if default in (None, dataclasses.MISSING) or default is False:
        return str(item.metadata["help"])
    shown = "on" if default is True else f"{default:g}" if isinstance(default, float) else default
    return f"{item.metadata['help']}  [default: {shown}]"
