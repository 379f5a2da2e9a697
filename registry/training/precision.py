"""Arithmetic of forward and backward: chosen by what the device is built for, and said why.

fp16 and bf16 are autocast over float32 weights (under DeepSpeed, weights of that type with float32
masters); tf32 is float32 with the matrix products of Ampere's tensor cores (10 bits of mantissa).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

AMPERE = (8, 0)
"""First compute capability whose tensor cores multiply bf16 and tf32."""


@dataclass(frozen=True)
class Precision:
    """One of `options.PRECISIONS`, and the reason for it as the start-up summary says it."""

    name: str
    why: str

    @property
    def mixed(self) -> str:
        """What accelerate calls it: "fp16", "bf16" or "no"."""
        return self.name if self.name in ("fp16", "bf16") else "no"


def choose_precision(asked: str, launch: str, device: torch.device, origin: str = "option") -> Precision:
    """The precision to train in.

    Args:
        asked: --precision; "auto" leaves it to the launch configuration, then to the device.
        launch: mixed precision of the launch configuration. "no" counts as unsaid: `accelerate
            launch` passes it on by itself.
        origin: whose value `asked` is (`Resolved.origins`). What the task or the model recommends gives way to the
            launch configuration.

    Raises:
        ValueError: option and launch configuration contradict each other, or the device cannot do it.
    """
    said = launch if launch in ("fp16", "bf16") else ""
    if launch == "fp8":
        raise ValueError("the launch configuration says mixed_precision fp8; only no, fp16 and bf16 are supported")
    recommended = origin in ("task", "model")
    if recommended and said:
        asked = "auto"
    if asked != "auto" and said and asked != said:
        raise ValueError(
            f"--precision {asked} contradicts mixed_precision: {said} of the launch configuration; change one of them"
        )
    if asked != "auto":
        chosen = Precision(asked, f"recommended by the {origin}" if recommended else f"asked for, {origin}")
    elif said:
        chosen = Precision(said, "launch configuration")
    else:
        chosen = by_capability(device)
    check(chosen.name, device)
    return chosen


def by_capability(device: torch.device) -> Precision:
    """bf16 where the device has instructions or tensor cores for it, else fp32; the same at every start."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        name = f"{torch.cuda.get_device_name(device)}, compute capability {capability[0]}.{capability[1]}"
        if torch.version.hip or capability >= AMPERE:
            return Precision("bf16", f"tensor cores multiply it: {name}")
        return Precision("fp32", f"no tensor cores for bf16: {name}")
    if device.type == "cpu":
        for instructions, supported in (
            ("AMX", torch.cpu._is_amx_tile_supported()),
            ("AVX512-BF16", torch.cpu._is_avx512_bf16_supported()),
        ):
            if supported:
                return Precision("bf16", f"the CPU multiplies it with {instructions}")
        return Precision("fp32", "the CPU has neither AMX nor AVX512-BF16")
    return Precision("fp32", f"nothing is known of bf16 on {device.type}")


def check(name: str, device: torch.device) -> None:
    """ValueError where the device cannot train in this precision."""
    if name == "fp16" and device.type == "cpu":
        raise ValueError("fp16 needs a GPU; on a CPU train in bf16 or fp32 (--precision)")
    if name == "tf32" and not (device.type == "cuda" and torch.cuda.get_device_capability(device) >= AMPERE):
        raise ValueError("tf32 needs an NVIDIA GPU of compute capability 8.0 or newer; use --precision fp32 or auto")


def apply_precision(precision: Precision) -> None:
    """Set what float32 matrix products of this process may use: tensor cores for tf32, else full float32."""
    torch.set_float32_matmul_precision("high" if precision.name == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision.name == "tf32"
