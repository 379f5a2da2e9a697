from __future__ import annotations

import copy
import os
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from registry.models.scored_positions import ScoredPositions
from registry.training.control import partners
from registry.training.estimate import SavedActivations
from registry.training.kernels import (
    check_attention,
    checkpoint_activations,
    compile_module,
    describe_attention,
    use_deterministic_kernels,
)

SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 50}
INPUTS = {"input_ids": torch.arange(40).reshape(4, 10), "attention_mask": torch.ones(4, 10, dtype=torch.long)}


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Deterministic kernels for one test."""
    for name in ("CUBLAS_WORKSPACE_CONFIG", "FLASH_ATTENTION_DETERMINISTIC"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    use_deterministic_kernels()
    yield
    torch.use_deterministic_algorithms(False)


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


@pytest.mark.usefixtures("deterministic")
def test_only_deterministic_kernels_are_allowed_not_wished_for() -> None:
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["FLASH_ATTENTION_DETERMINISTIC"] == "1"


@pytest.mark.usefixtures("deterministic")
def test_a_kernel_that_is_not_deterministic_is_named_in_one_line() -> None:
    message = "put_ does not have a deterministic implementation; leave the option out"
    with pytest.raises(ValueError, match=f"^--deterministic: {message}$"), partners():
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)


def test_zero3_cannot_be_compiled() -> None:
    with pytest.raises(ValueError, match="--compile does not work with ZeRO-3"):
        compile_module(bert(), zero_stage=3)


class Projected(nn.Module):
    """A backbone and a head, as ScoredPositions knows them."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.head = States(), nn.Linear(4, 7)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.states(x)["last_hidden_state"])}


class States(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"last_hidden_state": self.linear(x)}


def test_scored_positions_are_compiled_once() -> None:
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    plain = Projected()
    ScoredPositions().attach(plain, plain.states)
    module, counter = copy.deepcopy(plain), CompileCounter()
    module.compile(dynamic=True, backend=counter)
    for more in range(10):
        batch = {"x": torch.randn(2, 5 + more, 4), "scored_positions": torch.arange(3 + more)}
        torch.testing.assert_close(module(**batch)["logits"], plain(**batch)["logits"])
    assert counter.frame_count <= 2


@pytest.mark.slow
def test_a_compiled_model_computes_the_same_under_the_same_names() -> None:
    plain = bert()
    compiled = copy.deepcopy(plain)
    compile_module(compiled, zero_stage=0)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for length in (10, 7):
        inputs = {name: value[:, :length] for name, value in INPUTS.items()}
        torch.testing.assert_close(compiled(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-4)
