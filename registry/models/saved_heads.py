"""What becomes of the head that a checkpoint comes with: taken over label by label, or drawn anew.

Weights are loaded by name and shape, which says nothing of what each output stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.configs import PROBLEMS
from registry.models.layers import layer_map

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

KINDS = {
    "ForSequenceClassification": SEQUENCE_CLASSIFICATION,
    "ForTokenClassification": TOKEN_CLASSIFICATION,
    "ForMaskedLM": MASKED_LM,
}
"""Ends of the names of transformers' classes -> kind of the head."""

SHOWN = 5
"""Labels that a message names."""


def saved_head(config: PreTrainedConfig) -> Head:
    """The head that a checkpoint's configuration tells of; kind and problem are empty where it does not say."""
    architecture = next(iter(config.architectures or ()), "")
    names: Any = config.id2label or {}
    problems = {theirs: ours for ours, theirs in PROBLEMS.items()}
    return Head(
        kind=next((kind for end, kind in KINDS.items() if architecture.endswith(end)), ""),
        labels=tuple(str(names[index]) for index in sorted(names)),
        problem=problems.get(config.problem_type, ""),
    )


def clash(saved: Head, head: Head) -> str:
    """Why `head` cannot take over a saved one of as many outputs; empty where it can."""
    if not _alike(saved, head):
        return ""
    if saved.kind and saved.kind != head.kind:
        return f"the checkpoint's is for {saved.kind}"
    if "regression" in (saved.problem, head.problem):
        return "" if saved.problem in ("", head.problem) else f"the checkpoint's is for {saved.problem}"
    if row_order(saved, head) is not None:
        return ""
    return f"the checkpoint's is for the labels {_shown(saved.labels)}"


def row_order(saved: Head, head: Head) -> list[int] | None:
    """For each output of `head` the saved row of its label, by name, if need be without regard to case.

    Labels without names of their own (LABEL_0) are taken as they stand; None where the names are others.
    """
    spelled: tuple[Callable[[str], str], ...] = (str, str.casefold)
    for spelling in spelled:
        rows = {spelling(label): row for row, label in enumerate(saved.labels)}
        wanted = [spelling(label) for label in head.labels]
        if len(rows) == len(saved.labels) and set(rows) == set(wanted) and len(wanted) == len(rows):
            return [rows[label] for label in wanted]
    unnamed = head.problem == "regression" or any(map(_generic, (saved.labels, head.labels)))
    return list(range(head.outputs)) if unnamed else None


def label_rows(module: nn.Module, head: Head) -> list[str]:
    """Names of the parameters that have a row for each label: weight and bias of the head's last map."""
    depths = layer_map(module)
    top = max(depths.values())
    shapes = {name: p.shape for name, p in module.named_parameters() if depths[name] == top}
    rows = [name for name, shape in shapes.items() if shape[:1] == (head.outputs,)]
    return [name for name in rows if _owner(name) == _owner(rows[-1])]


def adopt(model: PreTrainedModel, saved: Head, head: Head) -> None:
    """Put the loaded rows of the labels in the order of `head`, or draw them anew, in place."""
    if not _alike(saved, head):
        return
    names, order = label_rows(model, head), row_order(saved, head)
    if clash(saved, head):
        _draw(model, names)
        return
    for name in names:
        parameter = model.get_parameter(name)
        parameter.data = parameter.data[order]


def _draw(model: PreTrainedModel, names: list[str]) -> None:
    """New random weights for these parameters of one part, as the architecture draws them."""
    for name, parameter in model.named_parameters():
        parameter._is_hf_initialized = name not in names  # type: ignore[attr-defined]
    paths = {_owner(name) for name in names}
    parts = [part for path, part in model.named_modules() if any(f"{owner}.".startswith(f"{path}.") for owner in paths)]
    with torch.no_grad():
        for part in [*reversed(parts), model]:  # parts before wholes: these have the last word
            model._init_weights(part)  # type: ignore[operator]


def _alike(saved: Head, head: Head) -> bool:
    """Whether both have outputs that stand for labels, and as many."""
    return MASKED_LM not in (saved.kind, head.kind) and len(saved.labels) == head.outputs


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _generic(labels: tuple[str, ...]) -> bool:
    return all(re.fullmatch(r"LABEL_\d+", label) for label in labels)


def _shown(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")
