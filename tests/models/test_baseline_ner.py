"""The recurrent CRF on rows that the ner task encodes and collates."""

import numpy as np
import pytest
import torch

from registry.heads import IGNORE
from registry.models.base import ModelSource
from registry.models.recurrent import bilstm
from registry.plugins import with_options
from registry.tasks.base import Limits, blank
from registry.tasks.ner import Ner

TASK = Ner()
ROWS = {
    "row": [0, 1, 2],
    "tokens": [["EU", "rejects", "German", "call"], ["Peter", "Blackburn"], ["Mr.", "O'Neil-Smith", "said", "no", "."]],
    "tags": [["B-ORG", "O", "B-MISC", "O"], ["B-PER", "I-PER"], ["O", "B-PER", "O", "O", "O"]],
}
OPTIONS = {"crf": True, "lowercase": False, "min_count": 1, "embedding_size": 16, "hidden_size": 12, "dropout": 0.1}


@pytest.fixture(scope="module", params=["word", "character"])
def trained(request):
    from datasets import Dataset, DatasetDict

    torch.manual_seed(0)
    spec = with_options(bilstm, {**OPTIONS, "level": request.param})
    head = TASK.head(DatasetDict(train=Dataset.from_dict(ROWS)))
    tokenizer = spec.tokenizer(ModelSource(), lambda: [" ".join(tokens) for tokens in ROWS["tokens"]])
    columns = TASK.encode(ROWS, tokenizer, head, Limits(64))
    batch = TASK.collate(
        [dict(zip(columns, v, strict=True)) for v in zip(*columns.values(), strict=True)], tokenizer, (0, 0)
    )
    module = spec.build(head, tokenizer, ModelSource())
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-2)
    for _ in range(60):
        loss = TASK.loss(module(**batch["inputs"], labels=batch["labels"]), batch, head)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return spec, head, tokenizer, batch, module.eval()


def test_it_learns_its_sentences_and_predicts_by_words(trained):
    _, head, _, batch, module = trained
    outputs = module(**batch["inputs"], labels=batch["labels"])
    assert outputs["loss_sum"] < 0.5
    reduced = {name: value.detach().numpy() for name, value in TASK.reduce(outputs, batch, head).items()}
    np.testing.assert_allclose(reduced["scored_loss"], outputs["scored_loss"].detach().numpy())
    joined = TASK.join([reduced])
    assert [[head.labels[i] for i in row] for row in joined["predictions"]] == ROWS["tags"]
    assert TASK.metrics(joined, head)["f1"] == 1.0


def test_labels_play_no_part_in_predictions(trained):
    _, _, _, batch, module = trained
    known = module(**batch["inputs"], labels=batch["labels"])["predictions"]
    unknown = module(**batch["inputs"], labels=torch.full_like(batch["labels"], IGNORE))["predictions"]
    assert torch.equal(known, unknown)
    assert torch.equal(known == IGNORE, batch["words"] < 0)


def test_a_blank_batch_has_an_exact_zero_loss(trained):
    _, head, _, batch, module = trained
    empty = blank(batch)
    loss = TASK.loss(module(**empty["inputs"], labels=empty["labels"]), empty, head)
    module.zero_grad()
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_it_comes_back_from_a_directory(trained, tmp_path):
    spec, head, tokenizer, batch, module = trained
    spec.save(module, module.state_dict(), tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = with_options(bilstm, {"crf": True}).load(tmp_path, head).eval()
    assert torch.equal(again(**batch["inputs"])["predictions"], module(**batch["inputs"])["predictions"])
    assert "word_mask" in spec.load_tokenizer(tmp_path).model_input_names
