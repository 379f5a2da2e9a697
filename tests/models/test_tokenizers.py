"""Tokenizers fitted to their models: padding changes no logits, whatever a checkpoint's own tokenizer says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase
from transformers_small import TEXTS, TWO, checkpoint, logits_of

from registry.models.base import ModelSource
from registry.models.transformer import Transformer

SPEC = Transformer()


def edit(path: Path, **changes: object) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def check_neighbours(source: ModelSource, folder: Path) -> PreTrainedTokenizerBase:
    """A text's logits are the same alone and in a batch, also of what was saved; gives the saved tokenizer."""
    tokenizer = SPEC.tokenizer(source, lambda: TEXTS)
    torch.manual_seed(0)
    module = SPEC.build(TWO, tokenizer, source).eval()
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    SPEC.save(module, module.state_dict(), folder)
    tokenizer.save_pretrained(folder)
    saved, again = SPEC.load_tokenizer(folder), SPEC.load(folder, TWO).eval()
    alone = torch.cat([logits_of(module, tokenizer, [text]) for text in TEXTS])
    for module_, tokenizer_ in ((module, tokenizer), (again, saved)):
        torch.testing.assert_close(logits_of(module_, tokenizer_), alone, atol=1e-4, rtol=1e-4)
    return saved


def test_padding_stands_behind_the_text_whatever_the_checkpoint_says(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "gpt2")
    edit(Path(source.path) / "tokenizer_config.json", padding_side="left")
    assert check_neighbours(source, tmp_path / "saved").padding_side == "right"


def test_a_decoder_finds_the_end_by_the_pad_token_of_its_tokenizer(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "gpt2")
    edit(Path(source.path) / "config.json", pad_token_id=7)
    saved = check_neighbours(source, tmp_path / "saved")
    assert saved.pad_token_id != 7
    assert SPEC.load(tmp_path / "saved", TWO).config.pad_token_id == saved.pad_token_id


@pytest.mark.parametrize("named", [1, None])
def test_a_pad_token_that_was_added_to_a_decoder(named: int | None, tmp_path: Path) -> None:
    """Its embedding is there only once the checkpoint's weights are."""
    source = checkpoint(tmp_path, "opt")
    edit(Path(source.path) / "config.json", pad_token_id=named)
    tokenizer = SPEC.load_tokenizer(Path(source.path))
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.save_pretrained(source.path)
    assert check_neighbours(source, tmp_path / "saved").pad_token_id == len(tokenizer) - 1


def test_an_encoder_keeps_the_pad_token_that_its_positions_begin_behind(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "roberta")
    kept = json.loads((Path(source.path) / "config.json").read_text())["pad_token_id"]
    tokenizer = SPEC.tokenizer(source, lambda: TEXTS)
    tokenizer.pad_token = tokenizer.unk_token
    assert tokenizer.pad_token_id != kept
    assert SPEC.build(TWO, tokenizer, source).config.pad_token_id == kept


def test_texts_beside_images_have_their_configuration_within(tmp_path: Path) -> None:
    """Of such a configuration there is no pad token at the top."""
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text |= {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 400}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    values = {"model_type": "gemma3", "text_config": text, "vision_config": {**vision, "image_size": 28}}
    tokens = checkpoint(tmp_path / "tokens", "gpt2")
    (tmp_path / "config.json").write_text(json.dumps(values))
    spec = Transformer(vocabulary=tokens.path)
    source = ModelSource(path=str(tmp_path), from_scratch=True)
    tokenizer = spec.tokenizer(source, lambda: TEXTS)
    module = spec.build(TWO, tokenizer, source).eval()
    assert module.config.get_text_config().pad_token_id == tokenizer.pad_token_id
    alone = torch.cat([logits_of(module, tokenizer, [text]) for text in TEXTS])
    torch.testing.assert_close(logits_of(module, tokenizer), alone, atol=1e-5, rtol=1e-5)
