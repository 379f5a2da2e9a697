from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models import resolve_model
from registry.models.adapters import adapted, is_published, merged, unadapted
from registry.models.base import ModelSource, ModelSpec
from registry.options import Adapters
from registry.training.engines import numbers

TEXTS = ["the film was good", "bad food here", "some other words"]
LABELS = ("a", "b")


def build(kind: str, options: Adapters) -> tuple[ModelSpec, PreTrainedTokenizerBase, Head, torch.nn.Module]:
    """A tiny adapted model whose trained parameters are not what they start as."""
    spec, source = resolve_model("tiny")
    spec = adapted(spec, source, options)
    head = Head(kind, () if kind == MASKED_LM else LABELS)
    tokenizer = spec.tokenizer(source, lambda: TEXTS * 10)
    torch.manual_seed(0)
    module = spec.build(head, tokenizer, source)
    for parameter in module.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    return spec, tokenizer, head, module.eval()


def logits(module: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    encoded = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        return module(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])["logits"]


@pytest.mark.parametrize("kind", [SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, MASKED_LM])
@pytest.mark.parametrize(
    "options",
    [
        Adapters(lora_rank=4),
        Adapters(lora_rank=4, dora=True, lora_targets="all-linear"),
        Adapters(lora_rank=4, rslora=True, quantize="int8"),
        Adapters(lora_rank=4, lora_targets="query,value", quantize="nf4"),
    ],
    ids=["lora", "dora", "int8", "nf4"],
)
def test_saved_loaded_and_merged_it_predicts_the_same(kind: str, options: Adapters, tmp_path: Path) -> None:
    spec, tokenizer, head, module = build(kind, options)
    spec.save(module, module.state_dict(), tmp_path)
    tokenizer.save_pretrained(tmp_path)
    before = logits(module, tokenizer)
    torch.testing.assert_close(logits(spec.load(tmp_path, head).eval(), tokenizer), before, rtol=0, atol=0)
    plain = merged(spec, tmp_path, head).eval()
    assert not [name for name, _ in plain.named_parameters() if "lora" in name or "base_layer" in name]
    # LLM.int8 rounds its inputs too, which a plain model does not.
    torch.testing.assert_close(
        logits(plain, tokenizer), before, rtol=0, atol=5e-3 if options.quantize == "int8" else 1e-5
    )


def test_peft_reads_what_is_saved(tmp_path: Path) -> None:
    from peft import PeftModel

    spec, tokenizer, head, module = build(SEQUENCE_CLASSIFICATION, Adapters(lora_rank=4))
    spec.save(module, module.state_dict(), tmp_path)
    base = unadapted(spec).load(tmp_path / "base", head)
    loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    torch.testing.assert_close(logits(loaded, tokenizer), logits(module, tokenizer))


def test_only_adapters_and_the_head_are_trained() -> None:
    spec, _, _, module = build(SEQUENCE_CLASSIFICATION, Adapters(lora_rank=4, lora_targets="query"))
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained if ".lora_" not in name} == {"classifier", "bert"}
    assert {name for name in trained if ".lora_" not in name and name.startswith("bert")} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
    assert sum(".lora_" in name for name in trained) == 2 * 2
    depths = spec.layer_map(module)
    assert {depths[name] for name in trained if "layer.1." in name} == {2}
    assert depths["classifier.weight"] == 3


def test_eight_and_four_bits_leave_embeddings_and_head_alone() -> None:
    _, _, _, whole = build(SEQUENCE_CLASSIFICATION, Adapters(lora_rank=4))
    for kind, kept in (("int8", torch.int8), ("nf4", torch.uint8)):
        _, _, _, module = build(SEQUENCE_CLASSIFICATION, Adapters(lora_rank=4, quantize=kind))
        assert module.bert.encoder.layer[0].attention.self.query.base_layer.weight.dtype == kept
        assert module.classifier.weight.dtype == module.bert.embeddings.word_embeddings.weight.dtype == torch.float32
        assert sum(map(numbers, module.parameters())) == sum(map(numbers, whole.parameters())), "as they are counted"


def test_scales_and_weights_in_eight_bits_move_with_the_model() -> None:
    from registry.models.quantized import _quantized

    torch.manual_seed(0)
    made = _quantized(torch.nn.Linear(8, 4), "int8")
    model, inputs = torch.nn.Sequential(made), torch.randn(3, 8)
    for computed in (False, True):  # before the first forward pass and after it
        if computed:
            before = model(inputs)
        scales, moved = made.state.SCB, []
        made.state.SCB = SimpleNamespace(to=lambda device, scales=scales, moved=moved: moved.append(device) or scales)
        model._apply(torch.clone)  # what a model's `to` does with the parameters of its parts
        assert moved == [made.weight.device]
        assert made.state.SCB is scales
        assert made.state.CB.data_ptr() == made.weight.data_ptr()
        assert made.weight.CB is made.weight.SCB is None  # else the next forward pass would take these
    assert torch.equal(model(inputs), before)


def test_nf4_of_what_was_nf4_is_the_same() -> None:
    from registry.models.quantized import _quantized, dequantized_weights

    torch.manual_seed(0)
    once = dequantized_weights(torch.nn.Sequential(_quantized(torch.nn.Linear(128, 128), "nf4")))["0"]
    again = torch.nn.Linear(128, 128)
    again.weight.data = once.clone()
    assert torch.equal(dequantized_weights(torch.nn.Sequential(_quantized(again, "nf4")))["0"], once)


def test_targets_that_match_nothing_are_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="--lora-targets 'q_proj' matches no linear map; there are dense, key, query"):
        build(SEQUENCE_CLASSIFICATION, Adapters(lora_rank=4, lora_targets="query,q_proj"))
    with pytest.raises(ValueError, match="--lora-targets ',' matches no linear map"):
        build(SEQUENCE_CLASSIFICATION, Adapters(lora_rank=4, lora_targets=","))


def test_a_model_without_linear_layers_has_no_place_for_adapters() -> None:
    spec, source = resolve_model("lstm")
    spec = adapted(spec, source, Adapters(lora_rank=4))
    tokenizer = spec.tokenizer(source, lambda: TEXTS * 10)
    with pytest.raises(ValueError, match="no linear maps in its layers"):
        spec.build(Head(SEQUENCE_CLASSIFICATION, LABELS), tokenizer, source)


def test_layers_that_nothing_would_train_are_refused() -> None:
    spec, source = resolve_model("tiny")
    with pytest.raises(ValueError, match="would stay so"):
        adapted(dataclasses.replace(spec, reinit_layers=1), source, Adapters(lora_rank=4))


def test_options_that_need_adapters_say_so() -> None:
    spec, source = resolve_model("tiny")
    assert adapted(spec, source, Adapters()) is spec
    given = [Adapters(quantize="nf4"), Adapters(merge_adapter=True), Adapters(dora=True), Adapters(lora_alpha=32)]
    for options in given:
        with pytest.raises(ValueError, match="needs --lora-rank"):
            adapted(spec, source, options)


@pytest.mark.parametrize(
    ("package", "flag"), [("peft", "--lora-rank"), ("bitsandbytes", "--quantize nf4")], ids=["peft", "bitsandbytes"]
)
def test_a_missing_package_is_one_line(package: str, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, source = resolve_model("tiny")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(ValueError, match=f"{flag} needs {package}: pip install {package}"):
        adapted(spec, source, Adapters(lora_rank=4, quantize="nf4"))


def test_a_published_base_is_named_and_not_copied(tmp_path: Path) -> None:
    spec, _, _, module = build(SEQUENCE_CLASSIFICATION, Adapters(lora_rank=4))
    published = ModelSource(path="somebody/bert", revision="abc")
    assert is_published(published)
    assert not is_published(ModelSource(path=str(tmp_path)))
    adapted(unadapted(spec), published, Adapters(lora_rank=4)).save(module, module.state_dict(), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("somebody/bert", "abc")
    assert not (tmp_path / "base").exists()
