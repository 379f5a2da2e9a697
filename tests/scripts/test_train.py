"""scripts/train.py as people use it: what a run leaves behind, how it goes on, what it says when something is wrong."""

import json
import re
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from registry.inference import Interrupted
from registry.reports.comparison import compare, labelled
from registry.reports.comparison_table import to_markdown
from registry.reports.run_record import read_run
from registry.run_log import read_log
from registry.training.evaluation import Scorer
from registry.training.interruption import Interruption

SMALL = ("--max-train-rows", 256, "--max-validation-rows", 64, "--max-test-rows", 64, "--epochs", 1)


def metrics(run):
    return json.loads((Path(run) / "metrics.json").read_text())


def same_weights(a, b):
    first, second = (load_file(Path(run) / "model" / "model.safetensors") for run in (a, b))
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def test_the_embedded_default_learns(train):
    result = train("--epochs", 1)
    assert result.exit_code == 0, result.output
    found = metrics("runs/demo-tiny-1")
    assert found["validation"]["accuracy"] >= 0.9
    assert found["test"]["accuracy"] >= 0.9
    assert found["train"]["samples_per_second"] > 0
    assert found["updates"] == 150
    assert "runs/demo-tiny-1" in result.output


def test_a_run_directory_is_read_by_transformers(train):
    assert train(*SMALL).exit_code == 0
    run = Path("runs/demo-tiny-1")
    for name in ("run.json", "config.yaml", "metrics.json", "metrics.jsonl", "splits.json", "report.html", "README.md"):
        assert (run / name).is_file(), name
    assert list((run / "tensorboard" / "train").iterdir())
    from transformers import AutoModelForSequenceClassification, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(run / "model")
    assert model.config.id2label == {0: "negative", 1: "positive"}
    answer = pipeline("text-classification", model=str(run / "model"))("the film was great")[0]
    assert answer["label"] in ("negative", "positive")
    from registry import load_run

    ours = load_run(run).predict(["the film was great"])[0]
    assert ours["label"] == answer["label"]
    assert ours["score"] == pytest.approx(answer["score"], abs=1e-5)


def test_passes_that_train_nothing_say_how_far_they_are(train, monkeypatch):
    monkeypatch.setattr("registry.reports.terminal.EVERY", -1.0)
    arguments = ("--freeze", "encoder", "--model-option", "pooling=mean", "--epochs", 2)
    output = train(*SMALL, *arguments).output
    for shown in (
        "reading train: 256 of 256 rows",
        "reading validation: 64 of 64 rows",
        "scoring validation: 64 of 64",
    ):
        assert shown in output
    assert output.count("scoring test: 64 of 64 rows") == 1


@pytest.mark.parametrize(
    "recipe", [("--ema-decay", 0.9), ("--average-last", 2, "--evaluate-every", 2)], ids=["ema", "last"]
)
def test_weights_are_averaged_without_a_validation_split_too(train, recipe):
    lines = [f"so {word} {i},{label}" for i in range(30) for word, label in (("good", "yes"), ("bad", "no"))]
    Path("train.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    own = ("--task", "classification", "--model", "bow", "--train-file", "train.csv", "--split-ratio", "0.9/0/0.1")
    for name, more in (("plain", ()), ("averaged", recipe), ("again", recipe)):
        result = train(*own, "--epochs", 3, "--batch-size", 16, "--output-dir", name, *more)
        assert result.exit_code == 0, result.output
    assert not same_weights("plain", "averaged")
    assert same_weights("averaged", "again")
    curve = [line["accuracy"] for line in read_log(Path("plain")) if line["split"] == "train" and "accuracy" in line]
    assert len(curve) == 3  # and what training keeps for it is let go at every epoch's end
    refused = train(*own, "--patience", 1)
    assert refused.exit_code == 2
    assert "--patience 1: there is no validation split to ask" in refused.output


def test_a_report_that_cannot_be_drawn_costs_no_run(train, monkeypatch):
    def fail(directory: Path) -> None:
        raise RuntimeError("no\nfont")

    monkeypatch.setattr("registry.reports.page.write_report", fail)
    result = train(*SMALL, "--output-dir", "out")
    assert result.exit_code == 0, result.output
    assert "report: not written (RuntimeError: no font)" in " ".join(result.output.split())
    assert json.loads(Path("out/run.json").read_text())["status"] == "finished"
    assert (Path("out") / "README.md").is_file()


def test_validation_without_labels_is_refused_before_training(train):
    lines = [f"so {word} {i},{label}" for i in range(30) for word, label in (("good", "yes"), ("bad", "no"))]
    Path("train.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    Path("dev.csv").write_text("text,label\nso fine,\nso dull,\n", encoding="utf-8")
    own = ("--task", "classification", "--model", "bow", "--train-file", "train.csv", "--validation-file", "dev.csv")
    result = train(*own)
    assert result.exit_code == 2
    assert "validation: no row has a label" in result.output
    assert not Path("runs").exists()


def test_a_contrast_of_what_is_not_there_is_refused_before_anything_is_written(train):
    result = train("--model", "bow", "--contrastive", 0.5, *SMALL, "--output-dir", "run")
    assert result.exit_code == 2
    assert "--contrastive: bow gives no pooled vector" in result.output
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--contrastive", 0.1, "--model", "bilstm", "--batch-size", 1], "which has one here; give a larger"),
        (["--contrastive", 0.1, "--model", "bilstm", "--micro-batch-size", "auto"], "give a number"),
        (
            ["--contrastive", 0.1, "--model", "bilstm", "--freeze", "encoder"],
            "--freeze encoder leaves nothing to train",
        ),
        (["--r-drop", 1, "--model", "bilstm", "--model-option", "dropout=0"], "no trained part of bilstm has any"),
        (
            ["--r-drop", 1, "--freeze", "encoder", "--model-option", "classifier_dropout=0"],
            "no trained part of tiny has any",
        ),
        (["--contrastive", 0.1, "--model", "bilstm", "--micro-batch-tokens", 1], "which has one here; give a larger"),
        (["--average-last", 3], "averages the weights of evaluations, of which there is one"),
        (["--dry-run", "--estimate"], "--dry-run and --estimate: give one of them"),
    ],
)
def test_a_recipe_that_would_do_nothing_is_refused(train, arguments, says):
    result = train(*SMALL, *arguments, "--output-dir", "run")
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.output.split())
    assert not Path("run").exists()


def test_the_dropout_of_adapters_is_one_that_r_drop_sees(train):
    adapters = ("--lora-rank", 2, "--lora-dropout", 0.2, "--model-option", "dropout=0")
    result = train(*SMALL, *adapters, "--r-drop", 1, "--max-updates", 1)
    assert result.exit_code == 0, result.output


def test_a_model_with_nothing_to_train_is_rehearsed_and_fits_any_memory(train):
    result = train(*SMALL, "--model", "lexicon", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "none: nothing is trained" in result.output
    assert train(*SMALL, "--model", "lexicon", "--micro-batch-size", "auto").exit_code == 0


def test_a_run_that_has_gone_further_does_not_end_before(train, monkeypatch):
    endless = (*SMALL[:-2], "--schedule", "constant", "--warmup", 0, "--evaluate-every", 2, "--output-dir", "run")
    asked = Interruption.requested
    monkeypatch.setattr(Interruption, "requested", lambda self: len(read_log(Path("run"))) > 6 or asked(self))
    assert train(*endless, "--max-updates", 20, "--checkpoint-every", 2, "--log-every", 1).exit_code == 75
    monkeypatch.setattr(Interruption, "requested", asked)
    before = Path("run/config.yaml").read_text()
    result = train(*endless, "--max-updates", 1)
    assert result.exit_code == 2
    assert re.search(r"has come to update \d+ and would now end at 1; give it as many", " ".join(result.output.split()))
    assert Path("run/config.yaml").read_text() == before


def test_scoring_that_is_interrupted_is_no_time_of_training(train, monkeypatch):
    def stopped(*given, **more):
        time.sleep(3)
        raise Interrupted

    monkeypatch.setattr(Scorer, "score", stopped)
    assert train(*SMALL, "--output-dir", "run").exit_code == 75
    state = json.loads(Path("run/checkpoints/step-00000000/loop.json").read_text())["state"]
    assert state["seconds"] < 3


@pytest.mark.slow
@pytest.mark.parametrize("task", ["demo", "demo-mlm"])
def test_compiled_training_is_the_same_training(train, task):
    given = ("--task", task, "--model", "tiny", "--max-updates", 6, "--log-every", 1, "--precision", "fp32")
    losses = []
    for name in ("plain", "compiled"):
        more = ("--compile",) if name == "compiled" else ()
        result = train(*given, *SMALL[:6], "--model-option", "dropout=0", "--output-dir", name, *more)
        assert result.exit_code == 0, result.output
        losses.append([line["loss"] for line in read_log(Path(name)) if line["split"] == "train" and "loss" in line])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_the_command_of_the_report_repeats_the_run_and_replaces_nothing(train):
    assert train(*SMALL, "--output-dir", "mine", "--overwrite", "--learning-rate", 3e-3).exit_code == 0
    before = Path("mine/model/model.safetensors").stat().st_mtime_ns
    config = Path("mine/config.yaml").read_text(encoding="utf-8")
    assert not [name for name in ("output_dir", "overwrite", "resume") if f"{name}:" in config]
    command = "accelerate launch scripts/train.py --config mine/config.yaml --output-dir mine-again"
    for page in ("report.html", "README.md"):
        assert command in Path("mine", page).read_text(encoding="utf-8")
    assert train(*command.split()[3:]).exit_code == 0
    assert same_weights("mine", "mine-again")
    assert Path("mine/model/model.safetensors").stat().st_mtime_ns == before


def test_logged_lines_hold_both_curves(train):
    train(*SMALL, "--log-every", 2)
    lines = read_log(Path("runs/demo-tiny-1"))
    losses = [line for line in lines if line["split"] == "train" and "learning_rate" in line]
    assert [line["update"] for line in losses] == [2, 4, 6, 8]
    start = next(line for line in lines if line["split"] == "validation")
    assert start["update"] == 0
    end = [line for line in lines if line["update"] == 8 and "accuracy" in line]
    assert {"train", "validation"} <= {line["split"] for line in end}


def test_the_same_command_continues_or_takes_a_new_number(train):
    assert train(*SMALL).exit_code == 0
    assert train(*SMALL).exit_code == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["demo-tiny-1", "demo-tiny-2"]
    assert same_weights("runs/demo-tiny-1", "runs/demo-tiny-2")


def test_a_run_asked_to_stop_goes_on_to_the_same_weights(train, monkeypatch):
    from registry.training.interruption import REQUEUE, Interruption

    options = (*SMALL, "--epochs", 2, "--evaluate-every", 5)
    assert train(*options, "--output-dir", "whole").exit_code == 0
    asked = []

    def requested(self):
        asked.append(1)
        return len(asked) == 6

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "requested", requested)
        assert train(*options, "--output-dir", "parts").exit_code == REQUEUE
    result = train(*options, "--output-dir", "parts")
    assert result.exit_code == 0, result.output
    assert "continuing parts from update" in result.output
    assert same_weights("whole", "parts")
    whole, parts = (
        [{k: v for k, v in line.items() if k != "samples_per_second"} for line in read_log(Path(run))]
        for run in ("whole", "parts")
    )
    assert whole == parts


def test_dry_run_checks_and_leaves_nothing(train):
    result = train(*SMALL, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "trained" in result.output
    assert re.search(r"^run +would go to runs/demo-tiny-1 *$", result.output, re.MULTILINE)
    assert not Path("runs").exists()
    assert train(*SMALL, "--dry-run", "--checkpoint-every", "10h").exit_code == 2


def test_a_dry_run_says_that_a_run_directory_is_not_to_be_had(train, make_run):
    refused = train(*SMALL, "--dry-run", "--output-dir", make_run())
    assert refused.exit_code == 2
    assert "holds a finished run" in refused.output


def test_an_estimate_counts_memory_and_time_and_leaves_nothing(train):
    result = train(*SMALL, "--embedding-rows", "all", "--estimate")
    assert result.exit_code == 0, result.output
    said = dict(re.findall(r"^(\w[\w ]*?)  +([\d,:]+)", result.output.partition("estimate\n")[2], re.MULTILINE))
    mebibytes = {name: int(value.replace(",", "")) for name, value in said.items() if ":" not in value}
    weights = 377_474 * 4 / 2**20
    assert mebibytes["weights"] == mebibytes["gradients"] == round(weights)
    assert mebibytes["optimizer"] == round(2 * weights)  # AdamW's two moments
    assert mebibytes["activations"] > 0
    assert mebibytes["needed"] < mebibytes["measured"] < mebibytes["measured"] + mebibytes["available"]
    assert mebibytes["speed"] > 0
    assert re.fullmatch(r"\d+:\d\d:\d\d", said["an epoch"])
    assert not Path("runs").exists()


def test_patience_and_the_selecting_metric(train):
    options = (*SMALL, "--epochs", 4, "--evaluate-every", 2, "--patience", 1, "--learning-rate", 1e-9)
    result = train(*options, "--best-metric", "loss", "--warmup", 0)
    assert result.exit_code == 0, result.output
    found = metrics("runs/demo-tiny-1")
    assert found["updates"] <= 32
    wrong = train(*SMALL, "--best-metric", "accuarcy", "--output-dir", "wrong")
    assert wrong.exit_code == 2
    assert "--best-metric accuarcy" in wrong.output
    assert {line["update"] for line in read_log(Path("wrong"))} <= {0}  # said before anything is trained


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "demoo"], "unknown task 'demoo'; did you mean demo"),
        (["--model", "tinny"], "did you mean tiny"),
        (["--learning-rate", "0"], "--learning-rate: 0"),
        (["--batch-size", "0"], "--batch-size"),
        (["--train-fraction", "2"], "--train-fraction"),
        (["--precision", "fp16"], "fp16 needs a GPU"),
        (["--task-option", "labl=1"], "labl"),
        (["--model-option", "dropuot=1"], "dropuot"),
        (["--task", "sst2", "--data-dir", "nowhere"], "nowhere"),
        (["--schedule", "zigzag"], "zigzag"),
        (["--checkpoint-every", "soon"], "--checkpoint-every soon"),
        (["--task", "classification", "--train-file", "missing.csv"], "missing.csv"),
    ],
)
def test_wrong_input_is_one_line(train, arguments, says):
    result = train(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


def test_a_finished_run_is_not_written_over(train):
    assert train(*SMALL, "--output-dir", "out").exit_code == 0
    before = (Path("out") / "run.json").read_text()
    refused = train(*SMALL, "--output-dir", "out")
    assert refused.exit_code == 2
    assert "--overwrite" in refused.output
    assert (Path("out") / "run.json").read_text() == before


def test_an_unfinished_run_keeps_its_options(train):
    assert train(*SMALL, "--output-dir", "out").exit_code == 0
    record = json.loads(Path("out/run.json").read_text())
    Path("out/run.json").write_text(json.dumps({**record, "status": "running"}))
    refused = train(*SMALL, "--output-dir", "out", "--seed", 7)
    assert refused.exit_code == 2
    assert "--seed 42, now it is 7" in refused.output


def test_a_loss_that_is_not_finite_stops_the_run(train):
    result = train(*SMALL, "--learning-rate", 1e30, "--warmup", 0, "--clip-norm", 0)
    assert result.exit_code == 2, result.output
    assert "not finite at update" in result.output


def test_own_file_with_config(train):
    rows = [{"text": f"{'good' if i % 2 else 'bad'} film number {i}", "label": "np"[i % 2]} for i in range(120)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("run.yaml").write_text("task: classification\ntrain-file: rows.jsonl\nepochs: 2\noutput_dir: out\n")
    result = train("--config", "run.yaml", "--split-ratio", "0.8/0.1/0.1")
    assert result.exit_code == 0, result.output
    record = json.loads(Path("out/run.json").read_text())
    assert record["head"]["labels"] == ["n", "p"]
    assert record["options"]["epochs"] == 2
    wrong = train("--config", "run.yaml", "--label-column", "lable", "--output-dir", "other")
    assert wrong.exit_code == 2
    assert "lable" in wrong.output


def test_a_correlation_that_validation_does_not_have_selects_nothing(train):
    rows = "".join(f"text number {i},{i / 3:.2f}\n" for i in range(12))
    Path("twelve.csv").write_text(f"text,label\n{rows}")
    result = train("--task", "classification", "--train-file", "twelve.csv", "--epochs", 2, "--output-dir", "run")
    assert result.exit_code == 0, result.output
    assert metrics("run")["validation"]["support"] == 1
    assert metrics("run")["validation"]["pearson"] is None
    assert metrics("run")["best_update"] == 0
    assert (Path("run") / "model" / "model.safetensors").is_file()
    assert (Path("run") / "report.html").is_file()
    assert (Path("run") / "README.md").is_file()
    run = read_run("run")
    assert run.headline_split == "validation"
    assert "pearson" not in to_markdown(compare(labelled([run])))


def test_a_model_without_anything_to_train_is_left_and_begun_again(train, monkeypatch):
    command = ("--model", "lexicon", *SMALL, "--output-dir", "runs/words")
    with monkeypatch.context() as asked:
        asked.setattr(Interruption, "requested", lambda self: True)
        assert train(*command).exit_code == 75
    assert json.loads(Path("runs/words/run.json").read_text())["status"] == "interrupted"
    again = train(*command)
    assert again.exit_code == 0, again.output
    assert metrics("runs/words")["validation"]["accuracy"] > 0.5
