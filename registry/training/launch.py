"""What the launch asks for: the environment that `accelerate launch` or torchrun gives to every process.

accelerate starts one process where two were asked for, DDP where FSDP was, or two processes that do
not know of each other, and says nothing. So what was asked for is read here and compared with what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENGINES = {"NO": "single", "DEEPSPEED": "deepspeed", "FSDP": "fsdp"}
"""accelerate's distributed types -> engines; any other one (MULTI_GPU, MULTI_CPU, …) is DDP."""


@dataclass(frozen=True)
class Launch:
    """The launch configuration, as far as a process can see it.

    Args:
        engine: "single", "ddp", "deepspeed" or "fsdp".
        local_world_size: processes on this machine; 1 where the launcher does not say.
        wants_cpu: the CPU was asked for although there may be a GPU.
        wants_gpu: a GPU was asked for.
        lonely: several processes were asked for, but this one was started without any others.
        mixed_precision: "no", "fp16", "bf16", "fp8", or empty where nothing is said.
        accumulation, clipping: of the configuration; None where it leaves them open.
    """

    engine: str
    world_size: int
    local_world_size: int
    wants_cpu: bool
    wants_gpu: bool
    lonely: bool
    mixed_precision: str = ""
    accumulation: float | None = None
    clipping: float | None = None


def read_launch(environment: Mapping[str, str]) -> Launch:
    """The launch configuration in the environment of a process."""
    world_size = int(environment.get("WORLD_SIZE", "1"))
    launched = "ACCELERATE_MIXED_PRECISION" in environment
    deepspeed = _is_true(environment.get("ACCELERATE_USE_DEEPSPEED"))
    fsdp = _is_true(environment.get("ACCELERATE_USE_FSDP"))
    devices = environment.get("CUDA_VISIBLE_DEVICES")
    wants_cpu = (
        _is_true(environment.get("ACCELERATE_USE_CPU"))
        or environment.get("DS_ACCELERATOR") == "cpu"
        or (devices is not None and devices.strip().startswith("-1"))
    )
    return Launch(
        engine="deepspeed" if deepspeed else "fsdp" if fsdp else "ddp" if world_size > 1 else "single",
        world_size=world_size,
        local_world_size=int(environment.get("LOCAL_WORLD_SIZE", "1")),
        wants_cpu=wants_cpu,
        # A bare torchrun takes what there is; through accelerate, only its CPU configurations run without a GPU.
        wants_gpu=launched and not wants_cpu and (world_size > 1 or deepspeed or fsdp or bool(devices)),
        lonely=launched and "MASTER_ADDR" in environment and "WORLD_SIZE" not in environment,
        mixed_precision=environment.get("ACCELERATE_MIXED_PRECISION", ""),
        accumulation=_number(environment.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS")),
        clipping=_number(environment.get("ACCELERATE_GRADIENT_CLIPPING")),
    )


def check_possible(launch: Launch, *, gpus: int) -> None:
    """ValueError, before any process waits for another, where this machine cannot do what was asked for."""
    if launch.lonely:
        raise ValueError(
            "the launch configuration asks for several processes, but only one was started (accelerate does so for "
            "distributed_type MULTI_CPU); launch with accelerate_configs/cpu_ddp.yaml"
        )
    if launch.wants_gpu and not gpus:
        raise ValueError(
            f"the launch asks for {launch.engine} on a GPU, but torch sees none on this machine; "
            "use a configuration of accelerate_configs/ whose name has cpu in it"
        )
    if 0 < gpus < launch.local_world_size and not launch.wants_cpu:  # they would share GPUs, and NCCL would hang
        raise ValueError(
            f"the launch starts {launch.local_world_size} processes on this machine, but torch sees {gpus} GPU"
            f"{'s' * (gpus > 1)}; set num_processes to the number of GPUs (of all machines together)"
        )
    if launch.engine == "fsdp" and not gpus:
        raise ValueError("FSDP needs GPUs (accelerate ignores it on a CPU); use accelerate_configs/cpu_ddp.yaml")


def check_active(launch: Launch, *, distributed_type: str, world_size: int, device: str) -> None:
    """ValueError where the engine, the number of processes or the device that run are not those asked for."""
    engine = ENGINES.get(distributed_type, "ddp")
    if (engine, world_size) != (launch.engine, launch.world_size):
        raise ValueError(
            f"the launch asks for {launch.engine} with {launch.world_size} processes, "
            f"but {engine} with {world_size} runs; compare its configuration with accelerate_configs/"
        )
    if launch.wants_cpu and device != "cpu":
        raise ValueError(f"the launch asks for the CPU, but {device} is in use")


def configuration_file(command: Sequence[str]) -> str | None:
    """The configuration that the launcher's command line names; None where it names none."""
    for place, word in enumerate(command):
        flag, given, value = word.partition("=")
        if flag.replace("-", "_") == "__config_file":
            return value if given else next(iter(command[place + 1 :]), None)
    return None


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in ("true", "1", "yes", "on")


def _number(text: str | None) -> float | None:
    """The number of a setting; None where it is unset, "none" or "auto"."""
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
