"""What a model must do, one function a check, on every head kind that it claims."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from registry.heads import HEAD_KINDS, MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION
from registry.models.base import MissingCheckpoint, ModelSource, ModelSpec
from registry.plugins import options_of, with_options
from registry.plugins import resolve as imported
from registry.resolving import resolve
from registry.tasks.base import Task
from registry.testing.bench import Bench
from registry.testing.results import Skipped

SAMPLES = {
    SEQUENCE_CLASSIFICATION: "registry.tasks.classification:Classification",
    TOKEN_CLASSIFICATION: "registry.tasks.ner:Ner",
    MASKED_LM: "registry.tasks.mlm:MaskedLM",
}
"""The family whose sample a head is tried on."""

UPDATES = 40
LOW = 0.8
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def subject(spec: ModelSpec, kind: str, path: str = "") -> Bench:
    """The model from random weights with the sample of the family that asks for this head."""
    task: Task = imported(SAMPLES[kind])()
    bench = Bench(task, spec, ModelSource(path=path or spec.checkpoint, from_scratch=True))
    try:
        bench.build()
    except MissingCheckpoint as error:
        raise Skipped(str(error)) from None
    except (OSError, ValueError) as error:
        if bench.source.path and not Path(bench.source.path).exists():
            raise Skipped(str(error)) from None
        raise
    return bench


def describes_itself(spec: ModelSpec) -> None:
    """Says what it is: description, heads of known kinds."""
    assert spec.description, "description is empty"
    assert spec.heads, "heads is empty"
    unknown = set(spec.heads) - set(HEAD_KINDS)
    assert not unknown, f"{', '.join(sorted(unknown))} is not one of {', '.join(HEAD_KINDS)}"


def recommends_options(spec: ModelSpec) -> None:
    """Recommends options that exist, with values in range."""
    resolve({}, {}, {"model": spec.defaults})


def options_come_back(spec: ModelSpec) -> None:
    """Options survive being recorded."""
    assert with_options(spec, options_of(spec)) == spec, f"with_options gives another model from {options_of(spec)}"


def keeps_its_tokenizer(bench: Bench) -> None:
    """Its tokenizer pads, and comes back the same from a directory."""
    tokenizer = bench.tokenizer
    assert tokenizer.pad_token_id is not None, "it has no pad token"
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        module = bench.build()
        bench.spec.save(module, module.state_dict(), Path(folder))
        again = bench.spec.load_tokenizer(Path(folder))
    text = "The river was seen: Ébène, 7 times."
    assert again(text).input_ids == tokenizer(text).input_ids, "loaded again, it gives other ids"
    for name in ("model_input_names", "padding_side"):
        was, now = getattr(tokenizer, name), getattr(again, name)
        assert was == now, f"its {name} {was} is {now} when it is loaded again: transformers saves what it is made with"


def gives_logits(bench: Bench) -> None:
    """Gives finite float logits of the right shape."""
    batch = bench.batch(bench.comparable())
    logits = _logits(bench, bench.build(), batch)
    ids, head = batch["inputs"]["input_ids"], bench.head
    width = head.outputs or len(bench.tokenizer)
    rows = ids.shape if head.kind == TOKEN_CLASSIFICATION else ids.shape[:1]
    if head.kind == MASKED_LM:  # (scored, vocabulary) or (batch, length, vocabulary); the vocabulary may be padded
        assert logits.shape[-1] >= width, f"logits are {logits.shape[-1]} wide for {width} tokens"
    else:
        assert logits.shape == (*rows, width), f"logits have shape {tuple(logits.shape)}, not {(*rows, width)}"
    assert logits.isfinite().all(), "logits are not finite"


def ignores_padding(bench: Bench) -> None:
    """Gives the same logits with more padding."""
    if not bench.spec.ignores_padding(bench.tokenizer):
        raise Skipped("it says that it does not, and is given batches of equal length")
    module = bench.build()
    narrow, wide = (_logits(bench, module, bench.batch(pad_to=pad)) for pad in (None, 64))
    if bench.head.kind == TOKEN_CLASSIFICATION or narrow.shape != wide.shape:
        real = bench.batch()["inputs"]["attention_mask"].bool()
        narrow, wide = narrow[real], wide[:, : real.shape[1]][real]
    _same(narrow, wide, "logits")


def is_deterministic(bench: Bench) -> None:
    """Is deterministic in eval mode, and built alike from one seed."""
    batch = bench.batch(bench.comparable())
    module = bench.build()
    first = _logits(bench, module, batch)
    assert torch.equal(first, _logits(bench, module, batch)), "two forward passes differ"
    assert torch.equal(first, _logits(bench, bench.build(), batch)), "two builds from one seed differ"


def comes_back(bench: Bench) -> None:
    """Saves, without pickles, and loads to the same logits."""
    module = bench.build()
    _shake(module)
    batch = bench.batch(bench.comparable())
    expected, weights = _logits(bench, module, batch), {name: w.clone() for name, w in module.state_dict().items()}
    with torch.no_grad():
        for parameter in module.parameters():  # in training these may be pieces, or the used rows of a table
            parameter.zero_()
    with tempfile.TemporaryDirectory() as folder:
        bench.spec.save(module, weights, Path(folder))
        written = [path.name for path in Path(folder).rglob("*") if path.suffix in PICKLES]
        assert not written, f"{', '.join(written)} may run code when loaded: write safetensors"
        again = bench.spec.load(Path(folder), bench.head).eval()
    _same(expected, _logits(bench, again, batch), "logits of the weights that save() is given")


def maps_its_layers(bench: Bench) -> None:
    """Has a layer map that covers every parameter."""
    module = bench.build()
    names, depths = {name for name, _ in module.named_parameters()}, bench.spec.layer_map(module)
    assert not names - set(depths), f"no depth for {', '.join(sorted(names - set(depths))[:3])}"
    assert not set(depths) - names, f"depths of what is no parameter: {', '.join(sorted(set(depths) - names)[:3])}"
    assert all(isinstance(depth, int) and depth >= 0 for depth in depths.values()), "depths count from 0"


def uses_every_parameter(bench: Bench) -> None:
    """Gives every trainable parameter a gradient (training on several devices needs it)."""
    gradients = _gradients(bench, bench.build(), [bench.comparable()])
    unused = [name for name, gradient in gradients.items() if gradient is None]
    assert not unused, f"none for {', '.join(unused[:3])}"


def accumulates(bench: Bench) -> None:
    """Gives the same gradients in parts as in one batch."""
    indices = bench.comparable()
    if len(indices) < 2:
        raise Skipped("the sample has no two rows that may share a batch")
    half = len(indices) // 3 or 1
    whole = _gradients(bench, bench.build(), [indices])
    parts = _gradients(bench, bench.build(), [indices[:half], indices[half:]])
    for name, gradient in whole.items():
        other = parts[name]
        if gradient is not None and other is not None:
            _same(gradient, other, f"gradients of {name}")


def learns(bench: Bench) -> None:
    """Learns: the loss falls by a fifth."""
    module = bench.build()
    if not any(p.requires_grad for p in module.parameters()):
        raise Skipped("it has nothing to train")
    losses = bench.learn(module, UPDATES)
    assert losses[-1] < LOW * losses[0], f"from {losses[0]:.3g} to {losses[-1]:.3g} in {UPDATES} updates"


def in_two_processes(given: tuple[ModelSpec, str]) -> None:
    """Trains in two processes to the gradients of one."""
    from registry.testing.processes import differences

    spec, path = given
    try:
        pickled = pickle.dumps(spec)
    except Exception as error:
        raise Skipped(f"it cannot be sent to another process: {error}") from None
    problems = differences(pickled, path)
    assert not problems, "; ".join(problems)


def _logits(bench: Bench, module: nn.Module, batch: Any) -> Tensor:
    with torch.no_grad():
        outputs = bench.forward(module, batch)
    assert isinstance(outputs, Mapping), f"forward returns a {type(outputs).__name__}, not a mapping"
    assert "logits" in outputs, f"forward returns no logits; it returns {', '.join(outputs)}"
    return outputs["logits"].float()


def _gradients(bench: Bench, module: nn.Module, parts: list[list[int]]) -> dict[str, Tensor | None]:
    """Gradients of the mean loss over all parts, each part in a forward pass of its own."""
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        raise Skipped("it has nothing to train")
    batches = [bench.batch(part) for part in parts]
    count = sum(map(bench.task.count, batches))
    for batch in batches:
        (bench.loss(module, batch) / count).backward()
    return {name: parameter.grad for name, parameter in trainable.items()}


def _shake(module: nn.Module) -> None:
    """Move every weight, so that what is not saved shows."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter) * 0.01)


def _same(first: Tensor, second: Tensor, what: str) -> None:
    assert first.shape == second.shape, f"{what}: shapes {tuple(first.shape)} and {tuple(second.shape)}"
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
        raise AssertionError(f"{what} differ by {float((first - second).abs().max()):.3g}")


ALONE: tuple[Callable[[ModelSpec], None], ...] = (describes_itself, recommends_options, options_come_back)
CHECKS: tuple[Callable[[Bench], None], ...] = (
    keeps_its_tokenizer,
    gives_logits,
    ignores_padding,
    is_deterministic,
    comes_back,
    maps_its_layers,
    uses_every_parameter,
    accumulates,
    learns,
)
