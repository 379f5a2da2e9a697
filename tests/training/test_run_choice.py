"""Where a run goes, and which unfinished one it continues."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from registry.options import Checkpoints, Options, Run
from registry.run_directory import Record, RunDirectory, finish_run, read_json, write_json, write_run
from registry.training.run_choice import choose_directory, destination, going_on

AFFECTING = ("seed", "learning_rate")


def unfinished(path: Path, **options: object) -> RunDirectory:
    directory = RunDirectory(path)
    write_json(directory.run_json, {"schema": 1, "status": "running", "options": options})
    return directory


def test_a_first_run_is_number_one_and_makes_nothing_yet(tmp_path):
    directory, continues = choose_directory(None, "sst2", "org/roberta-base", {}, AFFECTING, root=tmp_path / "runs")
    assert directory.path == tmp_path / "runs" / "sst2-roberta-base-1"
    assert not continues
    assert not (tmp_path / "runs").exists()


def test_the_latest_unfinished_run_of_the_same_options_is_continued(tmp_path):
    unfinished(tmp_path / "sst2-tiny-1", seed=1, learning_rate=0.1, log_every=5)
    unfinished(tmp_path / "sst2-tiny-2", seed=2, learning_rate=0.1)
    wanted = {"seed": 1, "learning_rate": 0.1, "log_every": 7}
    directory, continues = choose_directory(None, "sst2", "tiny", wanted, AFFECTING, root=tmp_path)
    assert (directory.path.name, continues) == ("sst2-tiny-1", True)


def test_other_options_or_a_finished_run_take_a_new_number(tmp_path):
    finish_run(unfinished(tmp_path / "sst2-tiny-9", seed=1, learning_rate=0.1))
    unfinished(tmp_path / "sst2-tiny-10", seed=2, learning_rate=0.1)
    wanted = {"seed": 1, "learning_rate": 0.1}
    directory, continues = choose_directory(None, "sst2", "tiny", wanted, AFFECTING, root=tmp_path)
    assert (directory.path.name, continues) == ("sst2-tiny-11", False)


def test_overwrite_begins_an_unfinished_run_of_the_same_options_anew(tmp_path):
    unfinished(tmp_path / "sst2-tiny-1", seed=1, learning_rate=0.1)
    wanted = {"seed": 1, "learning_rate": 0.1}
    directory, continues = choose_directory(None, "sst2", "tiny", wanted, AFFECTING, overwrite=True, root=tmp_path)
    assert (directory.path.name, continues) == ("sst2-tiny-1", False)


@pytest.mark.parametrize(
    "given", [{"model": "one"}, {"model": "one/model"}, {"model_option": {"vocabulary": "one/model"}}]
)
def test_a_run_is_not_overwritten_by_one_that_reads_it(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    finish_run(unfinished(tmp_path / "one", seed=1))
    (tmp_path / "one" / "model").mkdir()
    options = {"model": "tiny", **given, "output_dir": "one", "overwrite": True}
    with pytest.raises(ValueError, match=r"^--overwrite would remove one, where .* one.* is to be read; give another"):
        destination(Options(run=Run(**options)))
    assert destination(Options(run=Run(**{**options, "output_dir": "two"})))[0].path == Path("two")


def test_a_finished_output_dir_is_refused_and_untouched(tmp_path):
    finish_run(unfinished(tmp_path / "mine", seed=1))
    before = (tmp_path / "mine" / "run.json").read_bytes()
    with pytest.raises(ValueError, match=r"holds a finished run; .*--overwrite"):
        choose_directory(str(tmp_path / "mine"), "sst2", "tiny", {}, AFFECTING)
    assert (tmp_path / "mine" / "run.json").read_bytes() == before
    _, continues = choose_directory(str(tmp_path / "mine"), "sst2", "tiny", {}, AFFECTING, overwrite=True)
    assert not continues


def test_a_checkpoint_of_a_finished_run_is_never_removed_to_go_on_from_it(tmp_path):
    directory = unfinished(tmp_path / "mine", seed=1)
    checkpoint = str(directory.checkpoints / "step-00000005")
    with pytest.raises(ValueError, match=r"--overwrite removes the run of --resume .*step-00000005"):
        choose_directory(None, "sst2", "tiny", {}, AFFECTING, overwrite=True, resume=checkpoint)
    finish_run(directory)
    with pytest.raises(ValueError, match=r"its run is finished; --model .*mine trains it further"):
        choose_directory(None, "sst2", "tiny", {}, AFFECTING, resume=checkpoint)


def test_a_run_that_was_killed_before_its_record_is_begun_again(tmp_path):
    (tmp_path / ".lock").touch()
    assert choose_directory(str(tmp_path), "sst2", "tiny", {}, AFFECTING) == (RunDirectory(tmp_path), False)


def test_an_overwriting_that_is_cut_short_leaves_a_run(tmp_path, make_run, monkeypatch):
    run, elsewhere = RunDirectory(tmp_path / "run"), tmp_path / "scratch"
    shutil.copytree(make_run(), run.path)
    elsewhere.mkdir()
    (elsewhere / "step-00000001").touch()
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    run.checkpoints.symlink_to(elsewhere)
    record = Record.from_json(read_json(run.run_json))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(OSError("busy")))
        with pytest.raises(OSError, match="busy"):
            write_run(run, record, replace=True)
    assert choose_directory(str(run.path), "sst2", "tiny", {}, AFFECTING, overwrite=True) == (run, False)
    write_run(run, record, replace=True)
    assert not run.checkpoints.exists()
    assert [entry.name for entry in elsewhere.iterdir()] == ["step-00000001"]  # of a link only the link goes


def test_an_output_dir_of_other_files_is_refused_even_with_overwrite(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="not a run's"):
        choose_directory(str(tmp_path), "sst2", "tiny", {}, AFFECTING, overwrite=True)


def test_what_an_interrupted_run_goes_on_with():
    plain, anew = Options(), Options(run=Run(overwrite=True), checkpoints=Checkpoints(resume="never"))
    assert going_on(plain, Path("out")) == "the same command goes on"
    wanted = "the same command with --output-dir out and without --overwrite and --resume never goes on"
    assert going_on(anew, Path("out")) == wanted
