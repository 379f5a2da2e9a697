"""What a run directory promises: nothing torn, nothing lost, one line for whatever is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry import load_run
from registry.models.adapters import unadapted
from registry.run_directory import Record, RunDirectory, read_json, tidy, write_json, write_run
from registry.runs import read_record


def test_replacing_a_run_removes_what_runs_write_and_nothing_else(tmp_path, make_run):
    path = tmp_path / "run"
    shutil.copytree(make_run(), path)
    (path / "notes.txt").write_text("keep me")
    record = read_record(RunDirectory(path))
    write_run(RunDirectory(path), record, replace=True)
    assert sorted(p.name for p in path.iterdir()) == ["notes.txt", "run.json"]
    assert read_record(RunDirectory(path)).status == "finished"


def test_a_record_reads_what_it_wrote(make_run):
    record = read_record(RunDirectory(make_run()))
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert record.head.labels == ("negative", "positive")
    assert record.versions["torch"]


@pytest.mark.parametrize("lora_rank", [None, 4])
def test_a_model_trained_with_flash_attention_is_loaded_without(tmp_path, make_run, lora_rank):
    """It computes neither in float32 nor on a CPU, and a published base below adapters is built, not loaded."""
    path = tmp_path / "run"
    shutil.copytree(make_run(), path)
    before = load_run(path, device="cpu").predict(["a moving film"])
    values = read_json(path / "run.json")
    values["model"]["options"]["attention"] = "flash_attention_2"
    values["options"] |= {"attention": "flash_attention_2", "lora_rank": lora_rank}
    write_json(path / "run.json", values)
    run = load_run(path, device="cpu")
    assert unadapted(run.spec).attention == run.model.config._attn_implementation == "sdpa"
    assert run.predict(["a moving film"]) == before


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"n": 0})
    code = (
        "import sys; from pathlib import Path; from registry.run_directory import write_json\n"
        "n = 0\n"
        "while True:\n    n += 1; write_json(Path(sys.argv[1]), {'n': n, 'filler': 'x' * 100_000})\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    try:
        until, seen = time.monotonic() + 60, 0
        while seen < 20 and time.monotonic() < until:
            assert read_json(path)["n"] >= seen
            seen = read_json(path)["n"]
    finally:
        writer.kill()
        writer.wait()
    assert seen >= 20
    assert read_json(path)["n"] >= seen


def test_importing_the_run_directory_imports_no_torch():
    code = "import sys, registry.run_directory; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_loaded_run_predicts_with_nothing_but_its_directory(make_run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(make_run(), moved)
    run = load_run(moved)
    (prediction,) = run.predict(["not a good film"])
    assert prediction["label"] in ("negative", "positive")
    assert sum(prediction["scores"].values()) == pytest.approx(1, abs=1e-6)
    assert run.predict([]) == []


def test_the_run_cleans_what_it_is_given(make_run):
    run = load_run(make_run(lowercase=True, strip_html=True))
    plain, dirty = run.predict(["a good film", "A <b>GOOD</b> film"])
    assert plain["scores"] == pytest.approx(dirty["scores"], abs=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: shutil.rmtree(path), "no such run directory"),
        (lambda path: (path / "run.json").unlink(), "not a run directory"),
        (lambda path: (path / "run.json").write_text("{"), "not valid JSON"),
        (lambda path: (path / "run.json").write_text("[]"), "expected an object"),
        (lambda path: edit(path, schema=7), "schema 7"),
        (lambda path: edit(path, head=None), "incomplete"),
        (lambda path: edit(path, status="running"), "unfinished"),
        (lambda path: edit(path, task={"name": "nothing-like-it", "options": {}, "origin": {}}), "unknown task"),
        (lambda path: shutil.rmtree(path / "model"), "holds no model/"),
        (lambda path: (path / "model" / "model.safetensors").write_bytes(b"x" * 40), "cannot be loaded"),
        (lambda path: os.truncate(path / "model" / "model.safetensors", 5000), "cannot be loaded"),
        (lambda path: (path / "model" / "tokenizer.json").write_text("{"), "cannot be loaded"),
    ],
)
def test_a_broken_run_is_named_in_one_line(make_run, tmp_path, damage, message):
    path = tmp_path / "run"
    shutil.copytree(make_run(), path)
    damage(path)
    with pytest.raises(ValueError, match=message) as caught:
        load_run(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "task" in str(caught.value)


def edit(path: Path, **values: object) -> None:
    write_json(path / "run.json", {**read_json(path / "run.json"), **values})


def test_no_code_named_by_a_run_is_imported(make_run, tmp_path, monkeypatch):
    """A stranger's run may name any module as the origin of its task; nothing of it is loaded."""
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')\ntask = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "run"
    shutil.copytree(make_run(), path)
    origin = {"distribution": "evil", "version": "1", "target": "evil_module:task", "sha256": ""}
    edit(path, task={"name": "evil", "options": {}, "origin": origin})
    with pytest.raises(ValueError, match="evil"):
        load_run(path)
    assert "evil_module" not in sys.modules


def test_a_device_that_is_not_there_is_named(make_run):
    with pytest.raises(ValueError, match="--device nonsense"):
        load_run(make_run(), device="nonsense")


def test_transformers_own_pipeline_gives_the_same_answers(make_run):
    from transformers import pipeline

    texts = ["a good film", "the soup was not bad at all"]
    path = make_run()
    theirs = pipeline("text-classification", model=str(path / "model"), top_k=None, device="cpu")(texts)
    for found, ours in zip(theirs, load_run(path).predict(texts), strict=True):
        assert {entry["label"]: entry["score"] for entry in found} == pytest.approx(ours["scores"], abs=1e-4)


def test_what_a_killed_process_left_is_put_in_order(tmp_path):
    directory = RunDirectory(tmp_path)
    for scrap in (".run.json.123", ".report.html.77", ".model-x1y2/half", "checkpoints/.step-00000004.unfinished/half"):
        (tmp_path / scrap).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / scrap).touch()
    for kept in (".model-old/model.safetensors", "run.json", ".lock"):
        (tmp_path / kept).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / kept).touch()
    tidy(directory)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert names == [".lock", "checkpoints", "model", "model/model.safetensors", "run.json"]
    (tmp_path / ".model-old").mkdir()  # killed between the second rename and the removal
    tidy(directory)
    assert not (tmp_path / ".model-old").exists()
    assert (tmp_path / "model" / "model.safetensors").exists()


@pytest.mark.parametrize("one", ["a moving film", {"text": "a moving film"}])
def test_one_text_is_not_taken_for_a_list_of_its_letters(make_run, one):
    with pytest.raises(ValueError, match="put the one into a list"):
        load_run(make_run(), device="cpu").predict(one)


def test_memory_that_runs_out_is_one_line(make_run, monkeypatch):
    from click.testing import CliRunner

    sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
    import predict

    def runs_out(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("registry.runs.infer", runs_out)
    result = CliRunner().invoke(predict.main, [str(make_run()), "--text", "a moving film", "--device", "cpu"])
    assert result.exit_code == 2
    assert "memory ran out; give a smaller --batch-tokens" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "model", ["rnn", "gru", "lstm", "bilstm", "bilstm-crf", "textcnn", "transformer-encoder", "bow", "lexicon"]
)
def test_a_baseline_is_predicted_and_served_like_any_other(model, make_run):
    from starlette.testclient import TestClient

    from registry.serving.app import build_app

    run = load_run(make_run("demo-ner" if model == "bilstm-crf" else "demo", model), device="cpu")
    (expected,) = run.predict(["a good film"])
    with TestClient(build_app({"m": run})) as client:
        (answer,) = client.post("/predict", json={"texts": ["a good film"]}).json()["predictions"]
    assert rounded(answer) == {name: value for name, value in rounded(expected).items() if name in answer}
    assert len(answer) >= 2


def rounded(values: dict) -> dict:
    """The same with every number to four places."""
    return json.loads(json.dumps(values), parse_float=lambda digits: round(float(digits), 4))
