"""A run directory from a stranger: nothing in it chooses what is executed."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from registry import load_run
from registry.models import resolve_model
from registry.run_directory import RunDirectory, write_json, written
from registry.run_log import RunLog
from registry.training.lock import RunLock

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import evaluate
import predict
import serve

CANARY = "import pathlib; pathlib.Path({!r}).touch()\n"


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (CANARY.format(str(self.path)),)


@pytest.fixture
def hostile(make_run, tmp_path):
    """A finished run with everything in it that might make a careless reader run code, and the file that it touches."""
    run, canary = tmp_path / "run", tmp_path / "canary"
    shutil.copytree(make_run(), run)
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "tokenizer.pkl"):
        (run / "model" / name).write_bytes(pickle.dumps(Bomb(canary)))
    for name in ("code.py", "modeling.py", "custom_generate.py", "tokenization.py"):
        (run / "model" / name).write_text(CANARY.format(str(canary)))
    (run / "plugin.py").write_text(CANARY.format(str(canary)))
    edit(
        run / "model" / "config.json",
        auto_map={"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "modeling.Model"},
        _attn_implementation="stranger/kernel",
        attn_implementation="stranger/kernel",
        experts_implementation="stranger/kernel",
    )
    edit(run / "model" / "processor_config.json", auto_map={"AutoProcessor": "code.Processor"})
    options = json.loads((run / "run.json").read_text())["options"]
    edit(run / "run.json", options={**options, "plugin_file": str(run / "plugin.py"), "trust_remote_code": True})
    edit(run / "model" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization.Tokenizer", None]})
    return run, canary


def edit(path, **values):
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **values}))


def test_code_and_pickles_in_it_do_not_run(hostile):
    run, canary = hostile
    answer = load_run(run).predict(["a good film"])[0]
    assert answer["label"] in ("negative", "positive")
    spec, source = resolve_model(str(run))
    assert not source.trust_remote_code
    assert not spec.trust_remote_code
    assert not canary.exists()


@pytest.mark.parametrize("program", [evaluate, predict, serve], ids=lambda program: program.__name__)
def test_no_program_runs_any_of_it(hostile, program, monkeypatch):
    run, canary = hostile
    monkeypatch.setenv("REGISTRY_CACHE", str(run.parent / "cache"))
    monkeypatch.chdir(run / "model")  # where code.py and modeling.py lie
    served = []
    monkeypatch.setattr("registry.serving.server.serve", lambda app, *rest, **more: served.append(app))
    arguments = {evaluate: ["--report"], predict: ["--text", "a good film"], serve: []}[program]
    result = CliRunner().invoke(program.main, [str(run), *arguments])
    assert result.exit_code == 0, result.output
    assert len(served) == (program is serve)
    assert not canary.exists()


def test_options_in_its_record_are_checked_as_if_typed(hostile):
    run, canary = hostile
    model = json.loads((run / "run.json").read_text())["model"]
    edit(run / "run.json", model={**model, "options": {**model["options"], "attention": "stranger/kernel"}})
    with pytest.raises(ValueError, match="'stranger/kernel' is not one of auto, eager"):
        load_run(run)
    assert not canary.exists()


def test_weights_that_are_a_pickle_are_refused(hostile):
    run, canary = hostile
    (run / "model" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_run(run)
    assert not canary.exists()


def test_a_run_does_not_trust_its_own_base(hostile):
    run, canary = hostile
    record = json.loads((run / "run.json").read_text())
    source = {**record["model"]["source"], "path": str(run / "model"), "trust_remote_code": True}
    options = {**record["options"], "lora_rank": 2}
    edit(run / "run.json", model={**record["model"], "source": source}, options=options)
    (run / "model" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_run(run)
    assert not canary.exists()


@pytest.mark.parametrize("rank", [None, 2])
def test_an_adapter_configuration_imports_nothing(hostile, monkeypatch, rank):
    run, canary = hostile
    (run / "model" / "megatron").mkdir()
    (run / "model" / "megatron" / "core.py").write_text(CANARY.format(str(canary)))
    monkeypatch.syspath_prepend(run / "model")  # as in a notebook that was opened there
    shutil.copytree(run / "model", run / "model" / "base")
    record = json.loads((run / "run.json").read_text())
    edit(run / "run.json", options={**record["options"], "lora_rank": rank})
    edit(
        run / "model" / "adapter_config.json",
        **{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0, "use_rslora": False, "use_dora": False},
        **{"target_modules": ["query"], "modules_to_save": [], "megatron_config": {"x": 1}},
        megatron_core="megatron.core",
        auto_mapping={"base_model_class": "Model", "parent_library": "megatron"},
        base_model_name_or_path=str(run / "model" / "base"),
    )
    with pytest.raises(ValueError, match="adapter_model" if rank else "adapter_config"):
        load_run(run)
    assert not canary.exists()


def test_nothing_is_written_through_a_link_out_of_it(tmp_path):
    run, outside = RunDirectory(tmp_path / "run"), tmp_path / "outside"
    run.path.mkdir()
    outside.write_text("mine")
    for path in (run.metrics_jsonl, run.config_yaml, run.run_json, run.path / ".lock"):
        path.symlink_to(outside)
    with pytest.raises(ValueError, match=r"\.lock: cannot be written and locked"):
        RunLock(run.path).acquire()
    RunLog(run.path).close()
    write_json(run.run_json, {})
    with written(run.config_yaml) as file:
        file.write("seed: 1")
    assert outside.read_text() == "mine"
    assert not run.metrics_jsonl.is_symlink()


@pytest.mark.parametrize("name", ["../../../etc/passwd", "os:system", "code.py:Model", "registry.tasks:os"])
def test_names_are_looked_up_and_nothing_else(hostile, name):
    run, canary = hostile
    record = json.loads((run / "run.json").read_text())
    for part in ("task", "model"):
        edit(run / "run.json", **{part: {**record[part], "name": name, "origin": {}}})
        with pytest.raises(ValueError, match=r"unknown|comes from"):
            load_run(run)
        edit(run / "run.json", **record)
    assert not canary.exists()


def test_a_pickle_among_the_shards_of_a_checkpoint_is_refused(tmp_path):
    pytest.importorskip("deepspeed")
    from registry.training.engine_state import only_weights

    canary = tmp_path / "canary"
    torch.save({"module": Bomb(canary)}, tmp_path / "mp_rank_00_model_states.pt")
    with only_weights(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "mp_rank_00_model_states.pt", weights_only=False)  # as DeepSpeed asks for it
    assert not canary.exists()
