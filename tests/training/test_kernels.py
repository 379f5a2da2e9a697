from __future__ import annotations

import copy

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from registry.training.estimate import SavedActivations
from registry.training.kernels import check_attention, checkpoint_activations, compile_module, describe_attention

SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 50}
INPUTS = {"input_ids": torch.arange(40).reshape(4, 10), "attention_mask": torch.ones(4, 10, dtype=torch.long)}


def bert() -> torch.nn.Module:
    torch.manual_seed(0)
    config = BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return BertForSequenceClassification(config).train()


def test_checkpointed_gradients_are_the_same_and_less_is_kept() -> None:
    plain, checkpointed = bert(), bert()
    checkpoint_activations(checkpointed)
    kept = {}
    for name, module in (("plain", plain), ("checkpointed", checkpointed)):
        with SavedActivations(module) as saved:
            loss = module(**INPUTS).logits.pow(2).sum()
        loss.backward()
        kept[name] = saved.bytes
    assert kept["checkpointed"] < kept["plain"] / 3
    for (name, a), b in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_an_architecture_that_cannot_be_checkpointed_is_named() -> None:
    with pytest.raises(ValueError, match="--gradient-checkpointing: LSTM does not support it"):
        checkpoint_activations(torch.nn.LSTM(2, 2))


def test_attention_is_named_where_there_is_any() -> None:
    assert describe_attention(bert()) in ("sdpa", "eager") or describe_attention(bert()).startswith("sdpa (")
    assert describe_attention(torch.nn.LSTM(2, 2)) == ""


def test_flash_attention_computes_in_half_precisions_on_a_gpu_alone() -> None:
    model = bert()
    check_attention(model, "no", "cpu")
    model.config._attn_implementation_internal = "flash_attention_2"
    check_attention(model, "bf16", "cuda")
    for precision, device in (("no", "cuda"), ("bf16", "cpu")):
        with pytest.raises(ValueError, match="--attention flash_attention_2 computes only in fp16 and bf16"):
            check_attention(model, precision, device)


def test_zero3_cannot_be_compiled() -> None:
    with pytest.raises(ValueError, match="--compile does not work with ZeRO-3"):
        compile_module(bert(), zero_stage=3)


@pytest.mark.slow
def test_a_compiled_model_computes_the_same_under_the_same_names() -> None:
    plain = bert()
    compiled = copy.deepcopy(plain)
    compile_module(compiled, zero_stage=0)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for length in (10, 7):
        inputs = {name: value[:, :length] for name, value in INPUTS.items()}
        torch.testing.assert_close(compiled(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-4)
