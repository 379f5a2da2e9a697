"""Grids: axes to cells, options merged, mistakes named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.grids import build_grid, expand, prerequisites


def test_every_cell_in_the_order_of_the_axes() -> None:
    grid = build_grid({"tasks": ["imdb"], "models": ["rnn", "lstm"], "fractions": [0.5, 1], "seeds": [1, 2]})
    cells = expand(grid)
    assert len(cells) == 8
    assert [tuple(c.labels.values()) for c in cells[:3]] == [
        ("imdb", "rnn", "", 0.5, 1),
        ("imdb", "rnn", "", 0.5, 2),
        ("imdb", "rnn", "", 1.0, 1),
    ]
    assert cells[0].options == {"task": "imdb", "model": "rnn", "train_fraction": 0.5, "seed": 1}
    assert cells[0].title == "imdb · rnn · 50 % · seed 1"
    assert len({cell.slug for cell in cells}) == 8


def test_later_layers_win_and_pairs_are_merged() -> None:
    grid = build_grid(
        {
            "tasks": [{"task": "sst2", "data-dir": "data/sst2"}],
            "models": [{"name": "frozen", "model": "minilm", "freeze": "encoder", "model_option": {"pooling": "mean"}}],
            "variants": [{"name": "long", "max_length": 256, "model_option": {"dropout": 0.2}}],
            "options": {"epochs": 3, "max_length": 64},
        },
        overrides={"epochs": 1},
    )
    (cell,) = expand(grid)
    assert cell.options == {
        "epochs": 1,
        "max_length": 256,
        "task": "sst2",
        "data_dir": "data/sst2",
        "model": "minilm",
        "freeze": "encoder",
        "model_option": {"pooling": "mean", "dropout": 0.2},
    }
    assert (cell.labels["task"], cell.labels["model"], cell.labels["variant"]) == ("sst2", "frozen", "long")


def test_other_options_are_another_directory() -> None:
    values = {"tasks": ["demo"], "models": ["tiny"]}
    first, again, other = (expand(build_grid(values, overrides={"epochs": n}))[0] for n in (1, 1, 2))
    assert first.slug == again.slug != other.slug


def test_files_of_other_content_are_another_directory(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\na,b\n")
    overrides = {"train_file": str(tmp_path / "*.csv")}

    def slug() -> str:
        (cell,) = expand(build_grid({"tasks": ["classification"], "models": ["tiny"]}, overrides=overrides))
        return cell.slug

    first = slug()
    assert slug() == first
    rows.write_text("text,label\na,c\n")
    os.utime(rows, (1, 1))
    assert slug() != first


def test_another_launcher_is_another_directory(tmp_path: Path) -> None:
    plain, bf16 = {"tasks": ["demo"], "models": ["tiny"]}, tmp_path / "bf16.yaml"
    bf16.write_text("mixed_precision: bf16")
    slugs = {
        cell.slug for grid in (build_grid(plain), build_grid(plain, launched_with=str(bf16))) for cell in expand(grid)
    }
    assert len(slugs) == 2


def test_a_model_that_starts_from_another_run() -> None:
    adapted = {"name": "adapted", "model": "minilm", "after": {"task": "imdb-mlm", "epochs": 2}}
    cells = expand(build_grid({"tasks": ["sst2", "imdb"], "models": ["minilm", adapted], "seeds": [7]}))
    first = prerequisites(cells)
    assert len(first) == 1, "both tasks start from the same run"
    assert first[0].options == {"model": "minilm", "task": "imdb-mlm", "epochs": 2, "seed": 7}
    assert [cell.after is not None for cell in cells] == [False, True, False, True]


def test_one_first_run_for_every_seed_where_it_names_its_own() -> None:
    adapted = {"name": "adapted", "model": "minilm", "after": {"task": "imdb-mlm", "seed": 5}}
    cells = expand(build_grid({"tasks": ["sst2"], "models": [adapted], "seeds": [1, 2]}))
    assert [cell.options["seed"] for cell in cells] == [1, 2]
    assert [cell.options["seed"] for cell in prerequisites(cells)] == [5]


def test_this_machines_places_for_data_and_models() -> None:
    adapted = {"name": "adapted", "model": "minilm", "after": {"task": "imdb-mlm"}}
    values = {"tasks": ["sst2", "demo"], "models": [adapted]}
    places = {"data": {"sst2": "/data/sst2", "imdb-mlm": "/data/imdb"}, "checkpoints": {"minilm": "/models/minilm"}}
    sst2, demo = expand(build_grid(values, **places))
    assert (sst2.options["data_dir"], sst2.options["model"]) == ("/data/sst2", "/models/minilm")
    assert "data_dir" not in demo.options
    assert sst2.after is not None
    assert sst2.after.options == {"model": "/models/minilm", "task": "imdb-mlm", "data_dir": "/data/imdb"}
    assert sst2.labels["model"] == "adapted"


def test_a_variant_that_starts_from_another_run() -> None:
    adapted = {"name": "adapted", "after": {"task": "imdb-mlm", "epochs": 2}}
    grid = build_grid({"tasks": ["sst2"], "models": ["minilm", "tiny"], "variants": ["plain", adapted]})
    cells = expand(grid)
    assert [cell.after is not None for cell in cells] == [False, True, False, True]
    assert [cell.options for cell in prerequisites(cells)] == [
        {"model": name, "task": "imdb-mlm", "epochs": 2} for name in ("minilm", "tiny")
    ]


def test_a_value_given_twice_is_one_cell() -> None:
    values = {"fractions": ["0.5", 0.5, 0.50], "seeds": ["1", 1], "evaluate_on": ["imdb", "imdb"]}
    grid = build_grid({"tasks": ["demo"], "models": ["tiny"], **values})
    assert (len(expand(grid)), grid.fractions, grid.seeds, grid.evaluate_on) == (1, (0.5,), (1,), ("imdb",))


def test_published_values_by_task() -> None:
    model = {"name": "rnn", "published": {"imdb": {0.25: 0.624, 1: 0.0}, "sst2": 0.9}}
    cells = expand(build_grid({"tasks": ["imdb", "sst2", "demo"], "models": [model], "fractions": [0.25, 1]}))
    assert [cell.published for cell in cells] == [0.624, 0.0, 0.9, 0.9, None, None]


@pytest.mark.parametrize("places", [{"data": {"imbd": "/d"}}, {"checkpoints": {"minilm": "/m"}}])
def test_a_place_that_nothing_reads_is_named(places: dict) -> None:
    with pytest.raises(ValueError, match="nothing would read it; this comparison has"):
        build_grid({"tasks": ["imdb"], "models": ["tiny"]}, **places)


def test_a_setting_cannot_contradict_the_names_of_the_cells() -> None:
    axes = {"tasks": ["demo"], "models": ["bow", "tiny"], "seeds": [1, 2], "fractions": [0.25]}
    for name, axis in (("seed", "seeds"), ("model", "models"), ("task", "tasks"), ("train_fraction", "fractions")):
        with pytest.raises(ValueError, match=f"--set {name}: .*give --{axis} instead"):
            build_grid(axes, "grid", {name: 1 if name in ("seed", "train_fraction") else "tiny"})
    assert build_grid({**axes, "seeds": []}, "grid", {"seed": 5}).overrides == {"seed": 5}


def test_published_values_by_fraction() -> None:
    model = {"name": "rnn", "published": {0.25: 0.624, 1: 0.676}}
    cells = expand(build_grid({"tasks": ["imdb"], "models": [model, "lstm"], "fractions": [0.25, 0.5, 1]}))
    assert [cell.published for cell in cells] == [0.624, None, 0.676, None, None, None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tasks": ["demo"]}, "grid: models is missing"),
        ({"tasks": ["demo"], "models": ["tiny"], "model": "x"}, "unknown key 'model'; did you mean models"),
        ({"tasks": ["demo"], "models": ["tiny"], "options": {"epoch": 1}}, "options: unknown option 'epoch'; did you"),
        ({"tasks": ["demo"], "models": [{"name": "a", "learning_rate": -1}]}, "model 'a': --learning-rate: -1"),
        ({"tasks": ["demo"], "models": ["tiny", {"name": "tiny"}]}, "two models are named 'tiny'"),
        ({"tasks": ["demo"], "models": ["tiny"], "seeds": ["one"]}, "seeds: --seed: 'one' is not a whole"),
        ({"tasks": ["demo"], "models": ["tiny"], "seeds": [1.5]}, "seeds: --seed: 1.5 is not a whole number"),
        ({"tasks": ["demo"], "models": ["tiny"], "fractions": [0]}, "fractions: --train-fraction: 0.0 must be above 0"),
        ({"tasks": ["demo"], "models": ["tiny"], "fractions": [25]}, "--train-fraction: 25.0 is above 1"),
        ({"tasks": [{"name": "demo", "after": {"task": "a"}}], "models": ["tiny"]}, "after belongs to a model or a"),
        ({"tasks": [{"name": "demo", "published": 1}], "models": ["tiny"]}, "published belongs to a model or a"),
        ({"tasks": ["a", "b"], "models": [{"name": "m", "published": 0.9}]}, r"numbers by task \(a, b\), found 0.9"),
        ({"tasks": ["a", "b"], "models": [{"name": "m", "published": {"a": 1, "c": 2}}]}, "the grid has no task 'c'"),
        ({"tasks": ["a"], "models": [{"name": "m", "published": "high"}]}, "published: expected a number"),
        ({"tasks": ["demo"], "models": [{"name": "a", "after": {"epochs": 1}}]}, "after needs a task"),
        ({"tasks": ["demo"], "models": [{"learning_rate": 1}]}, "an entry of models has no name"),
        ({"tasks": ["demo"], "models": ["tiny"], "options": ["epochs"]}, "expected options as `name: value`"),
        (
            {
                "tasks": ["demo"],
                "models": ["tiny"],
                "fractions": [1],
                "variants": [{"name": "few", "train_fraction": 0.1}],
            },
            "grid few: train_fraction is what the fractions of this comparison say; leave one out",
        ),
        (
            {"tasks": ["demo"], "models": [{"name": "tiny", "seed": 9}], "seeds": [1]},
            "grid tiny: seed is what the seeds",
        ),
        ({"tasks": ["demo"], "models": ["tiny"], "options": {"seed": 9}, "seeds": [1]}, "grid: options: seed is what"),
    ],
)
def test_mistakes_are_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_grid(values)
