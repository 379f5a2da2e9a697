"""Options: where a value comes from, and the one line that a wrong one gets."""

import pytest

from registry.resolving import read_config, resolve


def test_sources_in_order():
    recommended = {
        "model": {"learning_rate": 1e-3, "seed": 9},
        "task": {"learning_rate": 1e-2, "max_length": 256, "warmup": None},
    }
    resolved = resolve({"epochs": 2.0}, {"epochs": 5, "seed": 7}, recommended)
    assert resolved.options.optimization.epochs == 2.0
    assert resolved.options.run.seed == 7
    assert resolved.options.optimization.learning_rate == 1e-3
    assert resolved.options.optimization.batch_size == 32
    assert resolved.options.text.max_length == 256
    names = ("epochs", "seed", "learning_rate", "max_length", "batch_size", "warmup")
    assert [resolved.origins[n] for n in names] == ["option", "config", "model", "task", "default", "default"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"learning_rat": 1}, "did you mean learning_rate"),
        ({"model_option": "dropout"}, "--model-option (config): 'dropout' is not KEY=VALUE"),
        ({"learning_rate": "fast"}, "--learning-rate (config): 'fast' is not a number"),
        ({"learning_rate": 0}, "must be above 0"),
        ({"batch_size": 0}, "below 1"),
        ({"batch_size": 2.5}, "not a whole number"),
        ({"precision": "fp8"}, "not one of auto, fp32, tf32, fp16, bf16"),
        ({"learning_rate": float("nan")}, "not a finite number"),
        ({"overwrite": "yes"}, "not of type bool"),
        ({"max_updates": float("inf")}, "not a whole number"),
        ({"freeze": True}, "not of type str"),
    ],
)
def test_wrong_values_name_the_option(config, message):
    with pytest.raises(ValueError, match=r".*") as error:
        resolve({}, config, {})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_that_yaml_reads_as_text():
    assert resolve({}, {"learning_rate": "5e-5"}, {}).options.optimization.learning_rate == 5e-5


def test_text_that_yaml_reads_as_numbers():
    options = resolve({}, {"freeze": 2, "checkpoint_every": 500, "label_column": 3}, {}).options
    assert options.optimization.freeze == "2"
    assert (options.checkpoints.checkpoint_every, options.data.label_column) == ("500", "3")


def test_config_files(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("batch-size: 16\ntask_option:\n  flag: true\n")
    values = read_config(path)
    assert values == {"batch_size": 16, "task_option": {"flag": True}}
    assert resolve({}, values, {}).options.run.task_option == {"flag": "true"}
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="expected `option: value` lines"):
        read_config(path)
    path.write_text("max-updates: 3\nmax_updates: 4\n")
    with pytest.raises(ValueError, match="max_updates is named twice"):
        read_config(path)
    path.write_text("a: [")
    with pytest.raises(ValueError, match=r"run\.yaml"):
        read_config(path)


def test_flat_round_trip():
    options = resolve({"seed": 3, "model_option": {"dropout": "0"}}, {}, {}).options
    assert resolve({}, options.flat(), {}).options == options
