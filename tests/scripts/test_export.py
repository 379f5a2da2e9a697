"""export.py: ONNX answers as PyTorch does, for any batch and length; int8 is measured and refused beyond a bound."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry import load_run
from registry.run_directory import read_json

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import export

TEXTS = ["good", "the soup was not bad at all , we all agreed that it was great", "a", "hardly a boring film"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))


def run_export(*arguments: object) -> Result:
    return CliRunner().invoke(export.main, [str(a) for a in arguments])


def scores(run, texts) -> list[list[float]]:
    return [list(p["scores"].values()) for p in run.predict(texts)]


@pytest.mark.parametrize("model", ["tiny", "bilstm", "rnn", "textcnn"])
def test_onnx_answers_as_pytorch_does(make_run, tmp_path, model):
    path = make_run("demo", model)
    result = run_export(path, "--output", tmp_path / "onnx")
    assert result.exit_code == 0, result.output
    exported = load_run(tmp_path / "onnx", engine="onnx")
    expected = load_run(path, device="cpu")
    for texts in (TEXTS, TEXTS[1:2], TEXTS * 9):
        for found, wanted in zip(exported.predict(texts), expected.predict(texts), strict=True):
            assert found["scores"] == pytest.approx(wanted["scores"], abs=1e-4)
    description = read_json(tmp_path / "onnx" / "export.json")
    assert description["difference"] < 1e-4
    assert description["onnx"] == pytest.approx(description["torch"], abs=0.005)
    assert not list((tmp_path / "onnx").rglob("*.safetensors"))
    with pytest.raises(ValueError, match=r"onnx: this is an export, which --engine onnx runs$"):
        load_run(tmp_path / "onnx")


def test_an_adapter_is_merged(train, tmp_path):
    rows = ("--max-train-rows", "64", "--max-validation-rows", "32", "--max-test-rows", "8")
    steps = ("--max-updates", "4", "--learning-rate", "0.01")
    assert train("--lora-rank", "4", *rows, *steps, "--output-dir", "run").exit_code == 0
    assert run_export("run", "--output", tmp_path / "onnx").exit_code == 0
    exported, adapted = load_run(tmp_path / "onnx", engine="onnx"), load_run("run", device="cpu")
    assert not list((tmp_path / "onnx").rglob("adapter*"))
    for found, wanted in zip(scores(exported, TEXTS), scores(adapted, TEXTS), strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("task", ["demo-ner", "demo-mlm"])
def test_other_heads_are_carried(make_run, tmp_path, task):
    path = make_run(task)
    assert run_export(path, "--output", tmp_path / "onnx").exit_code == 0
    text = "Ada met [MASK] in London" if task == "demo-mlm" else "Ada met Bob in London"
    (found,), (wanted,) = (run.predict([text]) for run in (load_run(tmp_path / "onnx", engine="onnx"), load_run(path)))
    assert found["text"] == wanted["text"]


def test_int8_is_smaller_and_measured(make_run, tmp_path):
    path = make_run()
    assert run_export(path, "--output", tmp_path / "fp32").exit_code == 0
    result = run_export(path, "--output", tmp_path / "int8", "--int8", "--max-loss", "0.2")
    assert result.exit_code == 0, result.output
    fp32, int8 = (read_json(tmp_path / name / "export.json") for name in ("fp32", "int8"))
    assert int8["precision"] == "int8"
    assert int8["megabytes"] < 0.5 * fp32["megabytes"]
    assert f"{int8['onnx']:.4f} (PyTorch {int8['torch']:.4f})" in result.output
    assert load_run(tmp_path / "int8", engine="onnx").predict(TEXTS[:1])[0]["label"]


def test_int8_that_costs_too_much_is_refused_and_the_old_export_stays(make_run, tmp_path, monkeypatch):
    path, output = make_run(), tmp_path / "onnx"
    assert run_export(path, "--output", output).exit_code == 0
    before = (output / "model.onnx").read_bytes()
    import registry.export

    real = registry.export.score

    def worse(run, encoded):
        penalty = 0.1 if type(run.model).__name__ == "OnnxModel" else 0
        return {"accuracy": real(run, encoded)["accuracy"] - penalty}

    monkeypatch.setattr(registry.export, "score", worse)
    result = run_export(path, "--output", output, "--int8", "--max-loss", "0.05")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: refused: accuracy is")
    assert (output / "model.onnx").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".onnx")] == []


def test_rows_on_which_the_metric_has_no_value_are_refused(make_run, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"film {i},{i}.5\n" for i in range(40)))
    (tmp_path / "one.csv").write_text("text,label\na good film,3.5\n")
    path = make_run("classification", train_file=str(tmp_path / "train.csv"))
    result = run_export(path, "--file", tmp_path / "one.csv", "--output", tmp_path / "onnx")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: refused: pearson has no value for what PyTorch answers")
    assert not (tmp_path / "onnx").exists()


def test_what_onnx_cannot_carry_is_said_in_one_line(make_run, tmp_path, capfd):
    result = run_export(make_run("demo", "bow"), "--output", tmp_path / "onnx")
    assert result.exit_code == 2
    assert len(capfd.readouterr().out) < 200  # nor does C++ print the graph
    assert "ONNX cannot carry this model" in result.stderr
    assert not (tmp_path / "onnx").exists()


def test_a_damaged_export_is_named(make_run, tmp_path):
    assert run_export(make_run(), "--output", tmp_path / "onnx").exit_code == 0
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"model\.onnx: cannot be loaded"):
        load_run(tmp_path / "onnx", engine="onnx")


def test_files_that_are_no_export_are_left_alone(make_run, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    result = run_export(make_run(), "--output", tmp_path)
    assert (result.exit_code, "is no export" in result.stderr) == (2, True)
