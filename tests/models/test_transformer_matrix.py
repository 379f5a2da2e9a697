"""Every architecture, from a tiny random configuration with a tokenizer of its kind, on every head it has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from architectures import SIZES
from peft import LoraConfig, get_peft_model
from transformers_small import TEXTS, TWO, built, checkpoint, logits_of

from registry.heads import HEAD_KINDS, MASKED_LM, SEQUENCE_CLASSIFICATION, Head
from registry.models import get
from registry.models.adapters import find_targets
from registry.models.base import ModelSource
from registry.models.families import FINE_TUNING, WITHOUT_MASKED_LM
from registry.models.layers import find_backbone, layer_stacks, lora_targets
from registry.models.transformer import Transformer
from registry.plugins import resolve
from registry.testing.bench import Bench
from registry.testing.model_checks import CHECKS, SAMPLES
from registry.testing.results import Skipped

EQUAL_LENGTHS = ("convbert", "mobilebert", "fnet")
POSSIBLE = [
    (architecture, kind)
    for architecture in SIZES
    for kind in HEAD_KINDS
    if kind != MASKED_LM or architecture not in WITHOUT_MASKED_LM
]


def bench_of(architecture: str, kind: str, folder: Path) -> Bench:
    """The architecture in its tiny size, from random weights, with the sample of the task that has this head."""
    (folder / "config.json").write_text(json.dumps({"model_type": architecture, **SIZES[architecture]}))
    spec = Transformer(description="tiny", vocabulary_size=400)
    return Bench(resolve(SAMPLES[kind])(), spec, ModelSource(path=str(folder), from_scratch=True))


@pytest.mark.parametrize(("architecture", "kind"), POSSIBLE)
def test_keeps_the_contract(architecture, kind, tmp_path):
    """Logits, padding, saving, layer depths, gradients and learning, as the conformance kit checks them."""
    bench = bench_of(architecture, kind, tmp_path)
    skipped = set()
    for check in CHECKS:
        try:
            check(bench)
        except Skipped:
            skipped.add(check.__name__)
    assert skipped <= ({"ignores_padding", "accumulates"} if architecture in EQUAL_LENGTHS else set())


@pytest.mark.parametrize("architecture", [name for name in SIZES if name in WITHOUT_MASKED_LM])
def test_says_what_cannot_be(architecture, tmp_path):
    with pytest.raises(ValueError, match=f"^{architecture} has no masked-lm head: ") as error:
        bench_of(architecture, MASKED_LM, tmp_path).build()
    assert "\n" not in str(error.value)


def test_xlnet_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "xlnet"}')
    with pytest.raises(ValueError, match="xlnet cannot be trained here: a single text leaves its segment weights"):
        Transformer().build(Head(SEQUENCE_CLASSIFICATION, ("a", "b")), None, ModelSource(path=str(tmp_path)))


def test_families_without_masked_lm_are_those_of_transformers():
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    assert {family for family in FINE_TUNING if family not in MODEL_FOR_MASKED_LM_MAPPING_NAMES} == {*WITHOUT_MASKED_LM}
    assert MASKED_LM not in get("gpt2").heads
    assert MASKED_LM in get("bart-base").heads


@pytest.mark.parametrize("architecture", SIZES)
def test_default_adapters_reach_every_layer_and_nothing_else(architecture, tmp_path):
    bench = bench_of(architecture, SEQUENCE_CLASSIFICATION, tmp_path)
    module = bench.build()
    prefix, backbone = find_backbone(module)
    layers = [f"{prefix}{path}." for path in layer_stacks(backbone)]
    adapted = get_peft_model(module, LoraConfig(r=2, target_modules=list(lora_targets(module))))
    targets = adapted.base_model.targeted_module_names
    assert all(any(name.startswith(layer) for layer in layers) for name in targets)
    assert all(any(name.startswith(layer) for name in targets) for layer in layers)

    bench.loss(adapted, bench.batch(bench.comparable())).backward()
    assert all(p.grad is not None for p in adapted.parameters() if p.requires_grad)


def test_all_linear_maps_of_squeezebert_are_convolutions_of_width_one(tmp_path):
    module = bench_of("squeezebert", SEQUENCE_CLASSIFICATION, tmp_path).build()
    found = find_targets(module, ["classifier"], "all-linear", ())
    assert all(any(name.endswith(f".{target}") for name in found) for target in lora_targets(module))
    get_peft_model(module, LoraConfig(r=2, target_modules=found))


@pytest.mark.parametrize("architecture", SIZES)
def test_tokens_that_were_added_are_saved_under_a_head_of_our_own(architecture, tmp_path):
    source = checkpoint(tmp_path, architecture)
    tokenizer = Transformer().tokenizer(source, lambda: ())
    tokenizer.add_tokens([f"<{i}>" for i in range(len(tokenizer), 402)])
    tokenizer.save_pretrained(source.path)
    spec = Transformer(head_hidden=8)
    tokenizer, module = built(spec, source)
    assert find_backbone(module)[1].get_input_embeddings().num_embeddings == len(tokenizer) == 402
    spec.save(module, module.state_dict(), tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    texts = [f"{text} <401>" for text in TEXTS]
    loaded = spec.load(tmp_path / "saved", TWO).eval()
    assert torch.equal(logits_of(loaded, tokenizer, texts), logits_of(module, tokenizer, texts))


@pytest.mark.parametrize("architecture", [name for name in SIZES if name not in WITHOUT_MASKED_LM])
def test_scored_positions_give_the_logits_of_the_whole_text(architecture, tmp_path):
    bench = bench_of(architecture, MASKED_LM, tmp_path)
    module = bench.build()
    batch = bench.batch(bench.comparable())
    inputs = dict(batch["inputs"])
    positions = inputs.pop("scored_positions")
    with torch.no_grad():
        scored = module(**inputs, scored_positions=positions)["logits"]
        whole = module(**inputs)["logits"]
    assert whole.shape[:2] == inputs["input_ids"].shape
    torch.testing.assert_close(scored, whole.flatten(0, 1)[positions], atol=1e-6, rtol=1e-5)
