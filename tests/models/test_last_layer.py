"""The last layer for the first token or masked ones alone: the same logits and gradients, or nothing is changed."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import SIZES
from torch import Tensor, nn
from transformers_small import MASKS, TAGS, TEXTS, TWO, built, config_folder

from registry.heads import Head
from registry.models.adapters import adapted
from registry.models.last_layer import spare_last_layer, spared_parameters
from registry.models.layers import find_backbone, layer_stacks
from registry.models.packing import allow_packing, pack_inputs
from registry.models.transformer import Transformer
from registry.options import Adapters
from registry.training.kernels import checkpoint_activations, suit_processor

SMALL = Transformer(vocabulary_size=400, dropout=0.0)
LIKE_BERT = ("bert", "roberta", "xlm-roberta", "electra", "ernie", "distilbert")


def module_and_inputs(
    folder: Path, architecture: str, head: Head = TWO, **options: Any
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A tiny model of random weights, and padded texts."""
    tokenizer, module = built(dataclasses.replace(SMALL, **options), config_folder(folder, architecture), head)
    for parameter in module.parameters():  # biases and norms as training leaves them
        parameter.data += 0.05 * torch.randn_like(parameter)
    return module, dict(tokenizer(TEXTS, return_tensors="pt", padding=True))


def logits_and_gradients(module: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    module.zero_grad()
    logits = module.train()(**inputs)["logits"]
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_the_same(module: nn.Module, other: nn.Module, inputs: dict[str, Tensor]) -> None:
    (logits, gradients), (found, others) = (logits_and_gradients(m, inputs) for m in (module, other))
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
    assert others.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("architecture", LIKE_BERT)
def test_masked_positions_alone_give_the_logits_and_gradients_of_all(architecture: str, tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path, architecture, MASKS)
    spared = copy.deepcopy(module)
    assert spare_last_layer(spared)
    assert_the_same(module, spared, inputs)  # all positions are wanted
    positions = inputs["attention_mask"].flatten().nonzero().squeeze(1)[::3]
    assert_the_same(module, spared, {**inputs, "scored_positions": positions})
    assert_the_same(module, copy.deepcopy(spared), {**inputs, "scored_positions": positions})
    none = spared(**inputs, scored_positions=positions[:0])["logits"]
    assert none.shape == (0, module.config.vocab_size)
    none.sum().backward()


@pytest.mark.parametrize("options", [{}, {"pooling": "cls"}, {"pooling": "cls", "head_hidden": 8}])
@pytest.mark.parametrize("architecture", LIKE_BERT)
def test_logits_and_gradients_are_those_of_the_whole_layer(
    architecture: str, options: dict[str, Any], tmp_path: Path
) -> None:
    module, inputs = module_and_inputs(tmp_path, architecture, **options)
    spared = copy.deepcopy(module)
    modes = [part.training for part in spared.modules()]
    names, random = list(spared.state_dict()), torch.get_rng_state()
    assert spare_last_layer(spared)
    assert [part.training for part in spared.modules()] == modes
    assert list(spared.state_dict()) == names
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in spared.parameters())
    assert_the_same(module, spared, inputs)
    assert_the_same(module, copy.deepcopy(spared), inputs)
    full = {name: values[:, :4] for name, values in inputs.items()}  # a batch without padding
    assert_the_same(module, spared, {**full, "attention_mask": torch.ones_like(full["input_ids"])})


@pytest.mark.parametrize("dropout", [0.0, 1e-9])
@pytest.mark.parametrize("head", [TWO, MASKS], ids=lambda head: head.kind)
@pytest.mark.parametrize("architecture", LIKE_BERT)
def test_packed_texts_are_spared_as_padded_ones(architecture: str, head: Head, dropout: float, tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path, architecture, head, dropout=dropout)
    spared = copy.deepcopy(module)
    allow_packing(spared)
    assert spare_last_layer(spared)
    if head is MASKS:
        inputs["scored_positions"] = inputs["attention_mask"].flatten().nonzero().squeeze(1)[::3]
    states: list[Tensor] = []
    _, layer = list(layer_stacks(find_backbone(spared)[1]).values())[-1]
    layer.register_forward_hook(lambda part, args, output: states.append(output))
    assert_the_same(module, spared, inputs)
    found, gradients = logits_and_gradients(spared, pack_inputs(inputs))
    expected, others = logits_and_gradients(module, inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients, others, atol=1e-5, rtol=1e-4)
    of_packed = states[-1]
    assert of_packed.shape[:2] == (1, int(inputs["attention_mask"].sum()))
    read = len(inputs["input_ids"]) if head is TWO else len(inputs["scored_positions"])
    assert int(of_packed.abs().sum(-1).count_nonzero()) == read  # of the others nothing was computed


def test_whoever_calls_the_backbone_alone_gets_the_states_of_all_tokens(tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path, "bert")
    _, backbone = find_backbone(module.eval())
    expected, logits = backbone(**inputs).last_hidden_state, module(**inputs)["logits"]
    assert spare_last_layer(module)
    torch.testing.assert_close(backbone(**inputs).last_hidden_state, expected)
    torch.testing.assert_close(module(**inputs)["logits"], logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(IndexError):  # a forward pass that fails
        module(**{**inputs, "input_ids": inputs["input_ids"] + 10_000})
    torch.testing.assert_close(backbone(**inputs).last_hidden_state, expected)


def test_it_is_compiled_once_for_all_lengths(tmp_path: Path) -> None:
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    module, inputs = module_and_inputs(tmp_path, "bert")
    spared, counter = copy.deepcopy(module.eval()), CompileCounter()
    assert spare_last_layer(spared)
    spared.compile(dynamic=True, backend=counter)
    for length in (8, 7, 5, 10):
        batch = {name: values[:, :length] for name, values in inputs.items()}
        torch.testing.assert_close(spared(**batch)["logits"], module(**batch)["logits"], atol=1e-5, rtol=1e-4)
    assert counter.frame_count <= 2


def test_it_goes_with_the_cheap_dropout_of_cpus_and_with_checkpointed_activations(tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path, "bert")
    spared = copy.deepcopy(module)
    suit_processor(spared, compiled=False)
    checkpoint_activations(spared)
    assert spare_last_layer(spared)
    assert_the_same(module, spared, inputs)
    noisy, inputs = module_and_inputs(tmp_path / "noisy", "bert", dropout=0.5)
    suit_processor(noisy, compiled=False)
    assert spare_last_layer(noisy)
    assert not torch.equal(*(logits_and_gradients(noisy, inputs)[0] for _ in range(2)))


def test_an_adapted_model_is_spared_like_its_base(tmp_path: Path) -> None:
    source = config_folder(tmp_path, "bert")
    tokenizer, _ = built(SMALL, source)
    spec = adapted(SMALL, source, Adapters(lora_rank=2, lora_dropout=0.0))
    module = spec.build(TWO, tokenizer, source)
    spared = copy.deepcopy(module)
    assert spec.spare_last_layer(spared)
    assert_the_same(module, spared, dict(tokenizer(TEXTS, return_tensors="pt", padding=True)))


@pytest.mark.parametrize(
    ("architecture", "head", "options"),
    [
        ("bert", TAGS, {}),
        ("bert", TWO, {"pooling": "mean"}),
        ("bert", TWO, {"pooling": "max"}),
        ("bert", TWO, {"pooling": "last"}),
        ("bert", TWO, {"attention": "eager"}),
        *((name, TWO, {}) for name in SIZES if name not in LIKE_BERT),
    ],
)
def test_what_reads_more_or_is_built_otherwise_is_left_as_it_was(
    architecture: str, head: Head, options: dict[str, Any], tmp_path: Path
) -> None:
    module, _ = module_and_inputs(tmp_path, architecture, head, **options)
    assert not spare_last_layer(module)
    assert not any({"forward", "asked", "spared"} & set(vars(part)) for part in module.modules())
    assert not any(part._forward_hooks for _, part in layer_stacks(find_backbone(module)[1]).values())


def test_a_head_that_reads_nothing_yet_is_left(tmp_path: Path) -> None:
    module, _ = module_and_inputs(tmp_path, "bert")
    nn.init.zeros_(module.classifier.weight)
    assert not spare_last_layer(module)


def test_weights_that_are_needed_once_a_text(tmp_path: Path) -> None:
    module, _ = module_and_inputs(tmp_path, "bert")
    names = spared_parameters(module)
    assert "bert.encoder.layer.1.attention.self.query.weight" in names
    assert "bert.encoder.layer.1.output.dense.weight" in names
    assert not any("key" in name or "value" in name or "layer.0" in name for name in names)
