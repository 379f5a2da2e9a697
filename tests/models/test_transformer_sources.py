"""Where transformers come from: names, directories, runs, architectures from scratch, tokenizers, remote code."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from architectures import SIZES
from transformers import EsmTokenizer
from transformers_small import MASKS, TEXTS, TWO, built, checkpoint, config_folder, logits_of

from registry import models
from registry.models.base import ModelSource
from registry.models.checkpoints import CHECKPOINTS
from registry.models.families import FINE_TUNING, FROM_SCRATCH, fine_tuning
from registry.models.resolution import registered_name
from registry.models.tokenizer_training import train_tokenizer
from registry.models.tokenizers import given_tokenizer
from registry.models.transformer import Transformer
from registry.plugins import UnknownName, options_of, with_options
from registry.resolving import resolve


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_short_names_stand_for_checkpoints_with_settings_that_exist(name):
    spec, source = models.resolve_model(name)
    assert source == ModelSource(path=CHECKPOINTS[name].path)
    assert spec.defaults == {**FINE_TUNING[CHECKPOINTS[name].family], **CHECKPOINTS[name].defaults}
    resolve({}, {}, {"model": spec.defaults})
    assert registered_name(name) == name


def test_a_directory_gets_its_familys_settings(tmp_path):
    path = checkpoint(tmp_path, "electra").path
    spec, source = models.resolve_model(path, revision="v1")
    assert isinstance(spec, Transformer)
    assert spec.defaults == {**FINE_TUNING["electra"], "learning_rate": 3e-4}
    assert source == ModelSource(path=path, revision="v1")
    assert registered_name(path) == "transformer"


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ({"model_type": "bert", "hidden_size": 768}, {"learning_rate": 3e-5}),
        ({"model_type": "bert", "hidden_size": 384}, {"learning_rate": 1e-4}),
        ({"model_type": "electra", "hidden_size": 256}, {"learning_rate": 3e-4}),
        ({"model_type": "roberta", "hidden_size": 384}, {"learning_rate": 2e-5}),
        ({"model_type": "roberta", "hidden_size": 1024}, {"learning_rate": 1e-5}),
        ({"model_type": "electra", "hidden_size": 1024}, {"learning_rate": 5e-5, "layer_decay": 0.9}),
        ({"model_type": "albert", "hidden_size": 1024}, {"learning_rate": 2e-5}),
    ],
)
def test_narrow_encoders_want_higher_rates_and_wide_ones_lower(config, changes):
    assert fine_tuning(config) == {**FINE_TUNING[config["model_type"]], **changes}


def test_an_unknown_architecture_gets_no_settings():
    assert fine_tuning({"model_type": "mine", "hidden_size": 64}) == {}


def test_an_architectures_name_needs_no_files():
    spec, source = models.resolve_model("distilbert", from_scratch=True)
    spec = with_options(
        spec, {"n_layers": "1", "dim": "16", "n_heads": "2", "hidden_dim": "32", "vocabulary_size": "200"}
    )
    tokenizer, module = built(spec, source)
    assert spec.defaults == FROM_SCRATCH
    assert len(module.distilbert.transformer.layer) == 1
    assert module.distilbert.embeddings.word_embeddings.weight.shape == (len(tokenizer), 16)
    assert tokenizer.model_input_names == ["input_ids", "attention_mask"]


def test_a_short_name_that_is_an_architecture_needs_no_files_from_scratch_either():
    spec, source = models.resolve_model("gpt2", from_scratch=True)
    assert source.path == "gpt2"
    assert spec.defaults == FROM_SCRATCH
    spec = with_options(spec, {"n_layer": "1", "n_embd": "16", "n_head": "2", "vocabulary_size": "300"})
    _, module = built(spec, source)
    assert len(module.transformer.h) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "robert-base",
            r"^unknown model 'robert-base'; did you mean roberta-base.*\? It is no local directory and no Hub",
        ),
        ("distilbert", r"^unknown model 'distilbert'; .*\? As an architecture it needs --from-scratch$"),
        ("no/such/directory", r"^model 'no/such/directory' cannot be read as a Hub id or local directory"),
    ],
)
def test_unknown_names_are_answered_with_the_closest(name, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=message) as error:
        models.resolve_model(name)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, UnknownName) == ("/" not in name)


def test_a_directory_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json, so it is no model that from_pretrained reads$"):
        models.resolve_model(str(tmp_path))
    spec, source = models.resolve_model("transformer")
    with pytest.raises(ValueError, match=r"^model 'transformer' needs a Hub id, a local directory or an architecture"):
        spec.tokenizer(source, lambda: TEXTS)


def run_of(folder: Path, spec: Transformer, tokenizer, module, name: str = "transformer") -> str:
    """A directory that looks like a run of this model."""
    spec.save(module, module.state_dict(), folder / "model")
    tokenizer.save_pretrained(folder / "model")
    origin = dataclasses.asdict(models.origin(name))
    model = {"name": name, "options": options_of(spec), "origin": origin, "source": {}}
    (folder / "run.json").write_text(json.dumps({"model": model}))
    return str(folder)


def test_a_masked_lm_run_is_trained_further_on_another_task(tmp_path):
    born = Transformer(vocabulary_size=400, reinit_layers=1, dropout=0.2)
    tokenizer, module = built(born, checkpoint(tmp_path / "start"), MASKS)
    run = run_of(tmp_path / "run", born, tokenizer, module)
    spec, source = models.resolve_model(run)
    again, classifier = built(spec, source)
    assert registered_name(run) == "transformer"
    assert spec.defaults == fine_tuning({"model_type": "bert", "hidden_size": 32})
    assert again.get_vocab() == tokenizer.get_vocab()
    trained = module.state_dict()
    kept = [name for name in classifier.state_dict() if name.startswith(("bert.embeddings", "bert.encoder"))]
    assert kept
    assert all(torch.equal(classifier.state_dict()[name], trained[name]) for name in kept)
    assert classifier.config.hidden_dropout_prob == 0.2


@pytest.mark.parametrize("options", [{}, {"pooling": "mean"}, {"pooling": "cls", "head_hidden": 8}])
def test_a_run_trained_further_keeps_its_head_where_there_are_as_many_labels(options, tmp_path):
    born = Transformer(vocabulary_size=400, **options)
    tokenizer, module = built(born, checkpoint(tmp_path / "start"))
    spec, source = models.resolve_model(run_of(tmp_path / "run", born, tokenizer, module))
    again, further = built(spec, source, seed=1)
    assert torch.equal(logits_of(further, again), logits_of(module, tokenizer))
    three = dataclasses.replace(TWO, labels=("negative", "neutral", "positive"))
    again, other = built(spec, source, three, seed=1)
    assert logits_of(other, again).shape == (len(TEXTS), 3)
    wider = dataclasses.replace(spec, head_hidden=16)
    assert not torch.equal(logits_of(built(wider, source, seed=1)[1], again), logits_of(module, tokenizer))


def test_a_run_from_scratch_is_trained_further_with_its_own_vocabulary_and_sizes(tmp_path):
    spec, source = models.resolve_model("tiny")
    spec = with_options(spec, {"num_hidden_layers": 1})
    tokenizer, module = built(spec, source, MASKS)
    run = run_of(tmp_path, spec, tokenizer, module, "tiny")
    spec, source = models.resolve_model(run)
    again, classifier = built(spec, source)
    assert registered_name(run) == "tiny"
    assert again.get_vocab() == tokenizer.get_vocab()
    assert len(classifier.bert.encoder.layer) == 1


def test_a_run_without_a_model_or_with_one_that_cannot_go_on_is_named(tmp_path):
    lstm = {"name": "lstm", "options": {}, "origin": {}}
    (tmp_path / "run.json").write_text(json.dumps({"model": lstm}))
    with pytest.raises(ValueError, match=r"this run has no model yet \(model/ is missing\)$"):
        models.resolve_model(str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"it holds adapters alone; train it with --merge-adapter"):
        models.resolve_model(str(tmp_path))
    (tmp_path / "model" / "adapter_config.json").unlink()
    with pytest.raises(ValueError, match=r"a model of this kind cannot be trained further; give its name instead$"):
        models.resolve_model(str(tmp_path))


def test_unknown_sizes_are_answered_with_the_closest(tmp_path):
    source = config_folder(tmp_path, "bert")
    with pytest.raises(
        ValueError, match=r"^--model-option num_hiden_layers: bert has no such option; did you mean num_hidden_layers"
    ):
        built(with_options(Transformer(), {"num_hiden_layers": "4"}), source)
    with pytest.raises(ValueError, match=r"^--model-option poling: bert has no such option; did you mean pooling"):
        built(with_options(Transformer(), {"poling": "mean"}), source)
    with pytest.raises(ValueError, match="its configuration is not valid") as error:
        built(with_options(Transformer(), {"num_hidden_layers": "many"}), source)
    assert "\n" not in str(error.value)


def test_lists_of_one_entry_a_layer_follow_the_number_of_layers(tmp_path):
    source = config_folder(tmp_path, "modernbert", layer_types=["full_attention", "sliding_attention"])
    for layers in (1, 3):
        _, module = built(with_options(Transformer(vocabulary_size=400), {"num_hidden_layers": layers}), source)
        assert len(module.model.layers) == len(module.config.layer_types) == layers
    assert built(with_options(Transformer(), {"num_hidden_layers": 1}), source)[1].config.layer_types == [
        "full_attention"
    ]


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "t5", "gpt2", "modernbert"])
def test_training_a_tokenizer_twice_gives_the_same(kind):
    words = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiouäö" for c in "lmnpr"]
    texts = [" ".join(words[i % 7 :: 3 + i % 5]) for i in range(40)]
    first, second = (train_tokenizer(kind, lambda: texts, 300) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert 50 < len(first) <= 300
    assert first("bal cam").input_ids == second("bal cam").input_ids


@pytest.mark.parametrize("kind", ["esm", "xlm", "flaubert", "roc_bert", "canine", "roformer", "pegasus"])
def test_a_tokenizer_that_cannot_be_trained_is_one_line(kind):
    with pytest.raises(
        ValueError, match=rf"^{kind}: its tokenizer cannot be trained on texts \(.*vocabulary=D"
    ) as error:
        train_tokenizer(kind, lambda: TEXTS, 300)
    assert "\n" not in str(error.value)


def test_a_given_vocabulary_in_place_of_one_that_cannot_be_trained(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERT", "<mask>"]))
    EsmTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    spec, source = models.resolve_model("esm", from_scratch=True)
    sizes = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer, module = built(with_options(spec, {**sizes, "vocabulary": str(tmp_path)}), source)
    assert module.esm.embeddings.word_embeddings.weight.shape == (len(tokenizer), 32)
    assert tokenizer.model_max_length == module.config.max_position_embeddings - tokenizer.pad_token_id - 1


def test_a_special_token_that_an_architecture_needs_is_named():
    spec, source = models.resolve_model("modernbert-decoder", from_scratch=True)
    spec = with_options(spec, {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2})
    with pytest.raises(
        ValueError, match=r"^modernbert-decoder needs a tokenizer with a bos token, which this one lacks"
    ):
        built(spec, source)


@pytest.mark.parametrize(("words", "ids"), [(["good", "film"], [5, 6]), (["Good", "good", "film"], [6, 7])])
def test_a_bare_vocabulary_keeps_capitals_where_it_has_some(words, ids, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    tokenizer = given_tokenizer(str(tmp_path))
    assert tokenizer("good film", add_special_tokens=False).input_ids == ids
    assert (tokenizer("Good", add_special_tokens=False).input_ids == [5]) is True


@pytest.mark.parametrize("architecture", SIZES)
def test_a_vocabulary_of_bert_serves_every_architecture(architecture, tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    spec = Transformer(vocabulary=str(tmp_path))
    tokenizer, module = built(spec, config_folder(tmp_path / "config", architecture))
    assert torch.isfinite(logits_of(module, tokenizer, ["a good film"])).all()


def test_modernbert_learns_the_kind_of_tokenizer_that_it_has():
    tokenizer = train_tokenizer("modernbert", lambda: TEXTS * 10, 400)
    assert type(tokenizer.backend_tokenizer.model).__name__ == "BPE"


def test_a_given_vocabulary_is_for_models_from_scratch(tmp_path):
    data = os.environ.get("REGISTRY_DATA")
    if not data:
        pytest.skip("REGISTRY_DATA is not set: the real vocabularies are not there")
    source = config_folder(tmp_path / "config", "bert")
    spec = Transformer(vocabulary=str(Path(data) / "vocab" / "bert-base-chinese"))
    tokenizer, module = built(spec, source)
    assert len(tokenizer) == 21128
    assert tokenizer.convert_ids_to_tokens(tokenizer("电影").input_ids) == ["[CLS]", "电", "影", "[SEP]"]
    assert module.config.vocab_size == 21128
    with pytest.raises(
        ValueError, match=r"^--model-option vocabulary is for models from scratch \(add --from-scratch\)$"
    ):
        spec.tokenizer(dataclasses.replace(source, from_scratch=False), lambda: TEXTS)


@pytest.mark.parametrize("missing", ["nowhere", ""])
def test_a_given_vocabulary_that_is_not_there_is_named(missing, tmp_path):
    with pytest.raises(ValueError, match=r"^--model-option vocabulary="):
        given_tokenizer(str(tmp_path / missing))


def test_the_tokenizer_gives_what_the_model_takes(tmp_path):
    """A checkpoint of RoBERTa's kind with BERT's tokenizer: one token type, positions that start after the padding."""
    source = checkpoint(tmp_path / "bert")
    roberta = config_folder(
        tmp_path / "roberta", "roberta", vocab_size=400, max_position_embeddings=66, type_vocab_size=1
    )
    shutil.copy(Path(roberta.path) / "config.json", source.path)
    tokenizer = Transformer().tokenizer(source, lambda: TEXTS)
    assert tokenizer.model_input_names == ["input_ids", "attention_mask"]
    assert tokenizer.model_max_length == 64
    tokenizer.save_pretrained(tmp_path / "saved")
    again = Transformer().load_tokenizer(tmp_path / "saved")
    assert (again.model_input_names, again.model_max_length) == (tokenizer.model_input_names, 64)


REMOTE_CONFIG = """
from transformers import BertConfig
class OwnConfig(BertConfig):
    model_type = "own-bert"
"""
REMOTE_MODEL = """
from transformers import BertForSequenceClassification, BertModel
from .configuration_own import OwnConfig
class OwnModel(BertModel):
    config_class = OwnConfig
class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig
"""


def test_code_of_a_checkpoint_runs_only_where_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = Path(checkpoint(tmp_path / "start").path)
    (folder / "configuration_own.py").write_text(REMOTE_CONFIG)
    (folder / "modeling_own.py").write_text(REMOTE_MODEL)
    values = json.loads((folder / "config.json").read_text())
    references = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModel": "modeling_own.OwnModel",
        "AutoModelForSequenceClassification": "modeling_own.OwnForSequenceClassification",
    }
    (folder / "config.json").write_text(json.dumps({**values, "model_type": "own-bert", "auto_map": references}))

    with pytest.raises(ValueError, match=r"'own-bert' is not an architecture of transformers; .* --trust-remote-code$"):
        built(Transformer(), ModelSource(path=str(folder)))
    trusted = ModelSource(path=str(folder), trust_remote_code=True)
    tokenizer, module = built(Transformer(), trusted)
    assert type(module).__name__ == "OwnForSequenceClassification"
    Transformer().save(module, module.state_dict(), tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="is not an architecture of transformers"):
        Transformer().load(tmp_path / "saved", TWO)
    again = Transformer(trust_remote_code=True).load(tmp_path / "saved", TWO).eval()
    assert torch.equal(logits_of(again, tokenizer), logits_of(module, tokenizer))
