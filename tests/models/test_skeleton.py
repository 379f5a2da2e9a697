"""Architectures that let padding reach the tokens are given no mask, and so batches of equal length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from architectures import COMMON
from transformers import CONFIG_MAPPING, PreTrainedConfig

from registry.models.base import ModelSource
from registry.models.head_plans import bare_class
from registry.models.skeleton import skeleton

FUNNEL = {"d_model": 32, "block_sizes": [1, 1], "num_decoder_layers": 1, "n_head": 2, "d_head": 16, "d_inner": 64}
CASES: list[tuple[str, dict[str, Any], bool]] = [
    ("bert", COMMON, True),
    ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2}, True),
    ("funnel", FUNNEL, False),
    ("nystromformer", COMMON, False),
    ("yoso", COMMON, False),
    ("yoso", {**COMMON, "conv_window": 3}, False),
]


def is_disturbed(config: PreTrainedConfig, source: ModelSource) -> bool:
    """Whether states of real tokens change with the padding behind them, by trial."""
    torch.manual_seed(0)
    model = bare_class(config, source)._from_config(config).eval()
    ids = torch.arange(5, 14)[None]
    states = []
    for padding in (0, 7):
        mask = torch.ones(1, 9 + padding, dtype=torch.int64)
        mask[:, 9:] = 0
        padded = torch.nn.functional.pad(ids, (0, padding), value=config.pad_token_id or 0)
        with torch.no_grad():
            states.append(model(input_ids=padded, attention_mask=mask).last_hidden_state[:, :9])
    return not torch.allclose(*states, atol=1e-4)


@pytest.mark.parametrize(("kind", "sizes", "masks"), CASES)
def test_a_mask_is_given_where_padding_changes_nothing(kind: str, sizes: dict[str, Any], masks: bool) -> None:
    config = CONFIG_MAPPING[kind](vocab_size=100, **sizes)
    source = ModelSource(path=kind, from_scratch=True)
    inputs, _ = skeleton(config, source)
    assert is_disturbed(config, source) == (not masks)
    assert ("attention_mask" in inputs) == masks


def test_patches_of_images_leave_texts_their_mask() -> None:
    vision = {**COMMON, "image_size": 16, "patch_size": 8}
    config = CONFIG_MAPPING["siglip"](vision_config=vision, text_config={**COMMON, "vocab_size": 100})
    inputs, _ = skeleton(config, ModelSource(path="siglip", from_scratch=True))
    assert "attention_mask" in inputs
