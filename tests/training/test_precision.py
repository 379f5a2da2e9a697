from __future__ import annotations

import pytest
import torch

from registry.training import precision
from registry.training.precision import Precision, apply_precision, choose_precision

CPU = torch.device("cpu")


@pytest.fixture
def cpu_with(monkeypatch: pytest.MonkeyPatch):
    """A CPU that has exactly the named instructions."""

    def pretend(*instructions: str) -> None:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: "AMX" in instructions)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: "AVX512-BF16" in instructions)

    return pretend


@pytest.fixture
def gpu_of(monkeypatch: pytest.MonkeyPatch):
    """A GPU of a compute capability."""

    def pretend(*capability: int) -> torch.device:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
        return torch.device("cuda", 0)

    return pretend


def test_auto_goes_by_the_instructions_of_the_cpu(cpu_with) -> None:
    cpu_with()
    assert choose_precision("auto", "no", CPU).name == "fp32"
    cpu_with("AVX512-BF16")
    assert choose_precision("auto", "no", CPU) == Precision("bf16", "the CPU multiplies it with AVX512-BF16")


def test_auto_goes_by_the_capability_of_the_gpu(gpu_of) -> None:
    assert choose_precision("auto", "", gpu_of(7, 5)).name == "fp32"
    assert choose_precision("auto", "", gpu_of(8, 0)).name == "bf16"


def test_the_launch_configuration_decides_where_it_says_something(cpu_with) -> None:
    cpu_with()
    assert choose_precision("auto", "bf16", CPU) == Precision("bf16", "launch configuration")
    cpu_with("AMX")
    assert choose_precision("fp32", "no", CPU) == Precision("fp32", "asked for, option")


@pytest.mark.parametrize("origin", ["model", "task"])
def test_a_recommendation_gives_way_to_the_launch_configuration_and_is_called_one(origin: str) -> None:
    assert choose_precision("fp32", "bf16", CPU, origin) == Precision("bf16", "launch configuration")
    assert choose_precision("fp32", "no", CPU, origin) == Precision("fp32", f"recommended by the {origin}")


def test_contradictions_and_impossible_precisions_are_refused(gpu_of) -> None:
    with pytest.raises(ValueError, match="--precision fp32 contradicts mixed_precision: bf16"):
        choose_precision("fp32", "bf16", CPU)
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        choose_precision("auto", "fp16", CPU)
    with pytest.raises(ValueError, match="tf32 needs an NVIDIA GPU"):
        choose_precision("tf32", "no", gpu_of(7, 0))
    with pytest.raises(ValueError, match="fp8"):
        choose_precision("auto", "fp8", CPU)


def test_only_tf32_lets_float32_products_be_rounded() -> None:
    try:
        apply_precision(Precision("tf32", ""))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        apply_precision(Precision("fp32", ""))
    assert torch.get_float32_matmul_precision() == "highest"
    assert precision.Precision("tf32", "").mixed == "no"
