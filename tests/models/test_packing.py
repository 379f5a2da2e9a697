"""Packed batches give the logits and gradients of padded ones; architectures that cannot are refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import COMMON
from torch import Tensor, nn
from transformers import EsmConfig, EsmForSequenceClassification
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers_small import MASKS, TAGS, TEXTS, TWO, built, config_folder

from registry.heads import Head
from registry.models import packed_attention, packing
from registry.models.packed_attention import PACKED_SDPA
from registry.models.packing import allow_packing, is_exact, pack_inputs
from registry.models.transformer import Transformer
from registry.training.kernels import checkpoint_activations

SMALL = Transformer(vocabulary_size=400, dropout=0.0)
DROPPING = Transformer(vocabulary_size=400, dropout=1e-9)
"""Takes the kernels of dropout."""


def module_and_inputs(
    folder: Path, architecture: str, head: Head = TWO, spec: Transformer = SMALL, **changes: Any
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A tiny model of random weights that allows packing, and padded texts."""
    tokenizer, module = built(spec, config_folder(folder, architecture, **changes), head)
    for parameter in module.parameters():  # biases and norms as training leaves them
        parameter.data += 0.05 * torch.randn_like(parameter)
    spec.allow_packing(module)
    inputs = dict(
        tokenizer([*TEXTS, "a film so dull and slow that we all felt awful"], return_tensors="pt", padding=True)
    )
    assert len(set(inputs["attention_mask"].sum(1).tolist())) > 2
    if head is MASKS:
        inputs["scored_positions"] = inputs["attention_mask"].flatten().nonzero().squeeze(1)[::3]
    return module, inputs


def logits_and_gradients(module: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits at real positions, and the gradients of a sum that treats every one of them differently."""
    module.zero_grad()
    logits = module.train()(**inputs)["logits"]
    if logits.ndim == 3:
        logits = logits[inputs["attention_mask"].bool()]
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * weights).sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_packed_equals_padded(module: nn.Module, inputs: dict[str, Tensor]) -> None:
    logits, gradients = logits_and_gradients(module, inputs)
    found, packed = logits_and_gradients(module, pack_inputs(inputs))
    torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
    assert packed.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(packed[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("spec", [SMALL, DROPPING], ids=["without dropout", "dropping almost nothing"])
@pytest.mark.parametrize("head", [TWO, TAGS, MASKS], ids=lambda head: head.kind)
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra", "modernbert", "albert"])
def test_packed_equals_padded(architecture: str, head: Head, spec: Transformer, tmp_path: Path) -> None:
    assert_packed_equals_padded(*module_and_inputs(tmp_path, architecture, head, spec))


def test_every_position_counts_from_where_the_architecture_begins(tmp_path: Path) -> None:
    """RoBERTa's positions begin behind its pad token: with others its states would be different."""
    module, inputs = module_and_inputs(tmp_path, "roberta")
    seen: list[Tensor] = []
    module.roberta.embeddings.position_embeddings.register_forward_pre_hook(lambda part, args: seen.append(args[0]))
    module(**pack_inputs(inputs))
    pad = module.config.pad_token_id
    real = inputs["attention_mask"].bool()
    assert seen[0].shape == real.shape
    assert (seen[0] == torch.where(real, real.cumsum(1) + pad, pad)).all()


@pytest.mark.parametrize("spec", [SMALL, DROPPING], ids=["without dropout", "dropping almost nothing"])
def test_local_attention_stays_local(spec: Transformer, tmp_path: Path) -> None:
    """Texts are longer than the window; the states are those of the padded batch's own window."""
    changes = {"local_attention": 4, "global_attn_every_n_layers": 2}
    assert_packed_equals_padded(*module_and_inputs(tmp_path, "modernbert", TAGS, spec, **changes))


@pytest.mark.parametrize("pooling", ["mean", "pooler", "cls", "max", "last"])
def test_heads_of_our_own(pooling: Any, tmp_path: Path) -> None:
    spec = Transformer(vocabulary_size=400, dropout=0.0, pooling=pooling, head_hidden=8)
    assert_packed_equals_padded(*module_and_inputs(tmp_path, "bert", spec=spec))


def test_recomputed_activations(tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path, "bert", TAGS)
    expected = logits_and_gradients(module, inputs)
    checkpoint_activations(module)
    found = logits_and_gradients(module, pack_inputs(inputs))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_layers_see_real_tokens_alone_and_only_where_there_is_padding(tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path, "bert")
    widths: list[tuple[int, ...]] = []
    module.bert.encoder.layer[0].register_forward_pre_hook(lambda part, args: widths.append(tuple(args[0].shape[:2])))
    padded, tokens = tuple(inputs["input_ids"].shape), int(inputs["attention_mask"].sum())
    module(**pack_inputs(inputs))
    module(**inputs)
    full = {name: value[4:] for name, value in inputs.items()}
    assert pack_inputs(full).keys() == full.keys()
    module(**pack_inputs(full))
    assert widths == [(1, tokens), padded, (1, padded[1])]


@pytest.mark.parametrize("head", [TWO, MASKS], ids=lambda head: head.kind)
def test_threads_compute_batches_of_their_own(head: Head, tmp_path: Path) -> None:
    """A service does: each is between the hooks of the other here."""
    module, inputs = module_and_inputs(tmp_path, "bert", head)
    fewer = {name: values[:2] for name, values in inputs.items()}
    if head is MASKS:
        fewer["scored_positions"] = torch.tensor([1, 2])
    batches = [pack_inputs(inputs), pack_inputs(fewer)]
    with torch.no_grad():
        expected = [module.eval()(**batch)["logits"] for batch in batches]
        both = threading.Barrier(2, timeout=20)

        def meet(*_: Any) -> None:
            both.wait()

        module.get_submodule("bert.encoder.layer.0").register_forward_pre_hook(meet)
        module.register_forward_hook(meet)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(torch.no_grad()(lambda batch: module(**batch)["logits"]), batches))
    for logits, right in zip(found, expected, strict=True):
        torch.testing.assert_close(logits, right)


def test_what_is_no_mask_of_tokens_stays_as_it_is() -> None:
    ids, mask = torch.ones(2, 3, dtype=torch.int64), torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pack_inputs({"input_ids": ids, "attention_mask": mask}).keys() > {"input_ids", "attention_mask"}
    hidden = torch.tensor([[0, 0, 0], [1, 1, 0]])
    pairs = mask[:, None].expand(2, 3, 3)
    for inputs in (
        {"input_ids": ids, "attention_mask": hidden},
        {"input_ids": ids, "attention_mask": pairs},
        {"inputs_embeds": torch.zeros(2, 3, 4), "attention_mask": mask},
        {"input_ids": ids},
    ):
        assert pack_inputs(inputs).keys() == inputs.keys()


def test_padding_on_the_left(tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path, "distilbert", TAGS)
    assert_packed_equals_padded(module, {name: value.flip(1) for name, value in inputs.items()})


def test_names_and_saved_weights_are_those_of_the_model(tmp_path: Path) -> None:
    module, inputs = module_and_inputs(tmp_path / "config", "bert")
    _, plain = built(SMALL, config_folder(tmp_path / "plain", "bert"))
    assert module.state_dict().keys() == plain.state_dict().keys()
    SMALL.save(module, module.state_dict(), tmp_path / "model")
    again = SMALL.load(tmp_path / "model", TWO)
    assert again.config._attn_implementation == "sdpa"
    torch.testing.assert_close(again.eval()(**inputs)["logits"], module.eval()(**inputs)["logits"])


@pytest.mark.parametrize(
    ("architecture", "changes", "problem"),
    [
        ("mpnet", {}, "--packing: mpnet cannot keep texts in one row apart; leave it out"),
        ("deberta-v2", {}, "--packing: deberta-v2 cannot keep texts in one row apart"),
        ("gpt2", {}, "--packing: gpt2 cannot"),
        ("bart", {}, "--packing: bart cannot"),
    ],
)
def test_what_cannot_be_packed_is_refused(architecture: str, changes: Any, problem: str, tmp_path: Path) -> None:
    _, module = built(SMALL, config_folder(tmp_path, architecture, **changes))
    with pytest.raises(ValueError, match=problem):
        SMALL.allow_packing(module)


def test_eager_attention_is_refused(tmp_path: Path) -> None:
    _, module = built(Transformer(vocabulary_size=400, attention="eager"), config_folder(tmp_path, "bert"))
    with pytest.raises(ValueError, match="--packing needs --attention sdpa or flash_attention_2, not eager"):
        allow_packing(module)


def test_a_module_that_was_refused_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, module = built(SMALL, config_folder(tmp_path, "modernbert"))
    monkeypatch.setattr(packing, "is_exact", lambda module: False)
    with pytest.raises(ValueError, match="--packing: modernbert gives packed texts other states"):
        allow_packing(module)
    assert module.config._attn_implementation == "sdpa"
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_an_architecture_that_fails_on_packed_texts_is_refused_in_one_line() -> None:
    """ESM scales its embeddings by the mask that it was given."""
    config = EsmConfig(**COMMON, vocab_size=40, pad_token_id=1, mask_token_id=32)
    module = EsmForSequenceClassification._from_config(config)
    with pytest.raises(ValueError, match="--packing: esm gives packed texts other states than padded ones; leave it"):
        allow_packing(module)
    assert module.config._attn_implementation == "sdpa"
    assert module.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


@pytest.mark.parametrize("architecture", ["bert", "roberta", "modernbert"])
def test_attention_between_texts_does_not_pass_for_exact(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial sees what it is for, also in the small weights of a model that has learned nothing."""
    _, module = built(SMALL, config_folder(tmp_path, architecture))
    allow_packing(module)
    assert is_exact(module)
    assert not module.training

    def leaking(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **others: Any) -> Any:
        if others.pop("packed", None) is not None:
            mask = None
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, is_causal=False)

    with monkeypatch.context() as patched:
        patched.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, PACKED_SDPA, leaking)
        assert not is_exact(module)
    if architecture == "modernbert":
        monkeypatch.setattr(packed_attention, "band", lambda *sizes: None)
        assert not is_exact(module)
