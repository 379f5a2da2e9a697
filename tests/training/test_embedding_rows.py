"""Training the used rows alone is training all of them: weights, gradient norms, what is saved and evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
)

from registry.inference import to_device
from registry.run_directory import RunDirectory, save_model
from registry.training import embedding_rows
from registry.training.assembly import assemble, choose
from registry.training.embedding_rows import UsedEmbedding, whole_rows
from registry.training.engine_start import build_accelerator
from registry.training.engine_state import load_engine_state, save_engine_state
from registry.training.engines import gathered_state
from registry.training.estimate import train_update
from registry.training.setup import Setup, build_setup

UPDATES = 6
WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with 1,000 words, and beside it rows: training uses every tenth word, validation others too."""
    folder = tmp_path_factory.mktemp("small") / "bert"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(1000))]
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    for name, step, first in (("train", 10, 0), ("validation", 7, 1)):
        texts = [" ".join(f"w{step * i % 1000}" for i in range(n, n + 3 + n % 5)) for n in range(first, first + 100)]
        rows = [f"{text},{'ab'[n % 2]}" for n, text in enumerate(texts)]
        (folder.parent / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        num_hidden_layers=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prepared(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Any, Setup]:
    """Job and setup of a short training on the rows beside the checkpoint."""
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    rows = {f"{split}_file": str(checkpoint.parent / f"{split}.csv") for split in ("train", "validation")}
    training = {"learning_rate": 1e-3, "batch_size": 16, "precision": "fp32", "weight_decay": 0.0}
    typed = {"task": "classification", "model": str(checkpoint), "max_updates": UPDATES, **rows, **training, **options}
    choice = choose(typed, {})
    accelerator, precision = build_accelerator(choice.options.optimization)
    job = assemble(choice, lambda text: None)
    return job, build_setup(job, accelerator, precision)


def trained(job: Any, setup: Setup, first: int = 0) -> list[float]:
    """Train; the gradient norm of every update."""
    norms = []
    for update in setup.updates.between(first, UPDATES):
        for batch in update.micro_batches:
            loss, _ = setup.objective(setup.model, to_device(batch, "cpu"))
            setup.accelerator.backward(loss / update.examples)
        norms.append(float(setup.accelerator.clip_grad_norm_(setup.model.parameters(), 0.5)))
        setup.optimizer.step()
        setup.optimizer.zero_grad()
        setup.schedule.step()
        if setup.average is not None:
            setup.average.update()
    return norms


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_trains_as_with_all_rows_and_the_others_stay(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    original = AutoModelForSequenceClassification.from_pretrained(checkpoint).state_dict()
    job, setup = prepared(checkpoint, tmp_path, monkeypatch, embedding_rows="all", optimizer=optimizer)
    norms = trained(job, setup)
    plain = gathered_state(setup.accelerator, setup.model)
    scores, _ = setup.scorer.score(setup.model, job.encoded["validation"])
    assert setup.rows == ""

    job, setup = prepared(checkpoint, tmp_path, monkeypatch, embedding_rows="used", optimizer=optimizer)
    assert trained(job, setup) == pytest.approx(norms, rel=1e-5)
    used = gathered_state(setup.accelerator, setup.model)
    assert used.keys() == plain.keys()
    for name in plain:
        torch.testing.assert_close(used[name], plain[name], atol=1e-6, rtol=1e-5, msg=name)
    ids = torch.tensor(np.unique(job.encoded["train"].columns["input_ids"].values))
    moved = (used[WORDS] != original[WORDS]).any(dim=1)
    assert 50 < moved.sum() <= len(ids) < 110
    assert set(moved.nonzero().flatten().tolist()) <= set(ids.tolist())

    # Validation texts have words that no training row has: their rows are the original ones.
    assert set(job.encoded["validation"].columns["input_ids"].values.tolist()) - set(ids.tolist())
    assert setup.scorer.score(setup.model, job.encoded["validation"])[0]["loss"] == pytest.approx(scores["loss"])
    directory = RunDirectory(tmp_path / f"run-{optimizer}")
    save_model(directory, job.spec, setup.module, used, job.tokenizer)
    saved = AutoModelForSequenceClassification.from_pretrained(directory.model).state_dict()
    for name in used:
        torch.testing.assert_close(saved[name], used[name], atol=0, rtol=0, msg=name)


def test_padding_that_only_the_model_knows_is_a_row_like_others(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BertConfig.from_pretrained(checkpoint, pad_token_id=999)
    other = checkpoint.parent / "other-padding"
    AutoModelForSequenceClassification.from_pretrained(checkpoint, config=config).save_pretrained(other)
    BertTokenizerFast.from_pretrained(checkpoint).save_pretrained(other)
    job, setup = prepared(checkpoint, tmp_path, monkeypatch, model=str(other), embedding_rows="used")
    assert 999 not in job.encoded["train"].columns["input_ids"].values
    embedding = setup.module.get_input_embeddings()
    assert embedding.places[999] == embedding.padding_idx < embedding.num_embeddings
    assert np.isfinite(trained(job, setup)).all()


def test_decay_is_the_only_difference(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {}
    for rows in ("used", "all"):
        job, setup = prepared(checkpoint, tmp_path, monkeypatch, embedding_rows=rows, weight_decay=0.1)
        trained(job, setup)
        states[rows] = gathered_state(setup.accelerator, setup.model)
    ids = torch.tensor(np.unique(job.encoded["train"].columns["input_ids"].values))
    assert not torch.equal(states["used"][WORDS], states["all"][WORDS])
    for state in states.values():
        state[WORDS] = state[WORDS][ids]
    for name, expected in states["all"].items():
        torch.testing.assert_close(states["used"][name], expected, atol=1e-6, rtol=1e-5, msg=name)


def test_a_checkpoint_and_an_average_go_on(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, setup = prepared(checkpoint, tmp_path, monkeypatch, embedding_rows="used", ema_decay=0.9)
    update = next(setup.updates.between(0, 1))
    train_update(setup, update)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_engine_state(folder, setup)
    trained(job, setup, first=1)

    job, again = prepared(checkpoint, tmp_path, monkeypatch, embedding_rows="used", ema_decay=0.9)
    load_engine_state(folder, again)
    trained(job, again, first=1)
    for one, other in ((setup.average, again.average),):
        with one.applied(), other.applied():
            averaged = [gathered_state(s.accelerator, s.model) for s in (setup, again)]
            assert averaged[0][WORDS].shape == (again.module.get_input_embeddings().places.numel(), 16)
    for name in averaged[0]:
        assert torch.equal(averaged[0][name], averaged[1][name]), name


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"optimizer": "lamb"}, "--optimizer lamb looks at more than one number at a time"),
        ({"augment_swap": 0.1}, "augmentation makes words that no training row has"),
        ({"freeze": "embeddings"}, "they are not trained"),
        ({"task": "mlm"}, "masked language modelling scores every word"),
        ({"model": "bilstm"}, "the model has no plain table of word embeddings"),
    ],
)
def test_where_it_would_not_be_exact_all_rows_are_trained(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], reason: str
) -> None:
    assert prepared(checkpoint, tmp_path, monkeypatch, **options)[1].rows == f"all rows ({reason})"
    with pytest.raises(ValueError, match=f"^--embedding-rows used: {reason}; leave it out$"):
        prepared(checkpoint, tmp_path, monkeypatch, embedding_rows="used", **options)


def test_a_small_gain_is_left(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_rows, "WORTH", 0.05)
    rows = prepared(checkpoint, tmp_path, monkeypatch)[1].rows
    assert rows == "all 1,005 rows (the training rows use 10% of them)"


def test_rows_are_looked_up_and_put_back_in_their_places() -> None:
    whole = nn.Embedding(9, 4, padding_idx=3)
    used = torch.zeros(9, dtype=torch.bool)
    used[[1, 3, 8]] = True
    split = UsedEmbedding(whole, used)
    ids = torch.arange(9).reshape(3, 3)
    assert torch.equal(split(ids), whole(ids))
    split(ids).sum().backward()
    assert split.weight.grad.sum(dim=1).tolist() == [4.0, 0.0, 4.0]  # row 3 is padding
    assert split.unused.grad is None
    module = nn.ModuleDict({"words": split})
    assert set(module.state_dict()) == {"words.weight", "words.unused"}
    assert torch.equal(whole_rows(module, dict(module.state_dict()))["words.weight"], whole.weight)
