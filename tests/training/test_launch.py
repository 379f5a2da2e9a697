from __future__ import annotations

import pytest

from registry.training.launch import check_active, check_possible, configuration_file, read_launch

ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no"}
TWO = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}


def test_a_bare_python_takes_what_there_is() -> None:
    launch = read_launch({})
    assert (launch.engine, launch.world_size, launch.wants_gpu, launch.wants_cpu) == ("single", 1, False, False)
    check_possible(launch, gpus=0)
    check_active(launch, distributed_type="NO", world_size=1, device="cpu")


def test_torchrun_without_a_gpu_is_ddp_on_the_cpu() -> None:
    launch = read_launch(TWO)
    check_possible(launch, gpus=0)
    check_active(launch, distributed_type="MULTI_CPU", world_size=2, device="cpu")


def test_one_process_where_two_were_asked_for_is_noticed() -> None:
    # What accelerate sets for distributed_type MULTI_CPU with num_processes 2, before it starts one process.
    launch = read_launch({**ACCELERATE, "ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"})
    with pytest.raises(ValueError, match=r"only one was started .*cpu_ddp\.yaml"):
        check_possible(launch, gpus=0)


def test_two_processes_that_do_not_know_of_each_other_are_noticed() -> None:
    launch = read_launch({**ACCELERATE, **TWO})
    with pytest.raises(ValueError, match="asks for ddp with 2 processes, but single with 1 runs"):
        check_active(launch, distributed_type="NO", world_size=1, device="cpu")


def test_a_gpu_that_is_not_there_is_noticed() -> None:
    for environment in (TWO, {"CUDA_VISIBLE_DEVICES": "0"}, {"ACCELERATE_USE_DEEPSPEED": "true"}):
        with pytest.raises(ValueError, match="torch sees none on this machine"):
            check_possible(read_launch({**ACCELERATE, **environment}), gpus=0)


def test_more_processes_than_gpus_are_noticed() -> None:
    eight = {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}
    for environment in (eight, {**ACCELERATE, **eight}, {**ACCELERATE, **eight, "ACCELERATE_USE_DEEPSPEED": "true"}):
        launch = read_launch(environment)
        check_possible(launch, gpus=8)
        with pytest.raises(ValueError, match=r"starts 8 processes on this machine, .* 2 GPUs; set num_processes to"):
            check_possible(launch, gpus=2)
    check_possible(read_launch({**eight, "ACCELERATE_USE_CPU": "true"}), gpus=2)


def test_hidden_gpus_mean_the_cpu() -> None:
    launch = read_launch({**ACCELERATE, **TWO, "CUDA_VISIBLE_DEVICES": "-1,-1"})
    assert launch.wants_cpu
    check_possible(launch, gpus=0)
    with pytest.raises(ValueError, match="asks for the CPU, but cuda is in use"):
        check_active(launch, distributed_type="MULTI_GPU", world_size=2, device="cuda")


def test_fsdp_that_became_ddp_is_noticed() -> None:
    launch = read_launch({**ACCELERATE, **TWO, "ACCELERATE_USE_FSDP": "true", "CUDA_VISIBLE_DEVICES": "-1"})
    with pytest.raises(ValueError, match="FSDP needs GPUs"):
        check_possible(launch, gpus=0)
    with pytest.raises(ValueError, match="asks for fsdp with 2 processes, but ddp with 2 runs"):
        check_active(launch, distributed_type="MULTI_CPU", world_size=2, device="cpu")


def test_settings_of_the_configuration_are_read() -> None:
    launch = read_launch(
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_GRADIENT_CLIPPING": "0.5", **ACCELERATE}
    )
    assert (launch.accumulation, launch.clipping, launch.mixed_precision) == (4, 0.5, "no")
    assert read_launch({"ACCELERATE_GRADIENT_CLIPPING": "none"}).clipping is None


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("python accelerate launch --config_file a.yaml scripts/train.py --config b.yaml", "a.yaml"),
        ("python -m accelerate.commands.launch --config-file=a.yaml train.py", "a.yaml"),
        ("python accelerate launch train.py --config b.yaml", None),
        ("bash", None),
    ],
)
def test_the_configuration_is_the_launchers(command: str, file: str | None) -> None:
    assert configuration_file(command.split()) == file
