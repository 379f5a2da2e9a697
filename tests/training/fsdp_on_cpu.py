"""A script of this project in CPU processes under FSDP, which accelerate gives to GPUs alone.

accelerate launch --config_file accelerate_configs/cpu_ddp.yaml tests/training/fsdp_on_cpu.py scripts/train.py OPTIONS…
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / "accelerate_configs" / "fsdp2.yaml"


def main() -> None:
    """Let the accelerator be what fsdp2.yaml makes of it on GPUs, and run the script."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    from registry.training import engine_start

    start = engine_start._start

    def start_fsdp(*args: Any, **settings: Any) -> Any:
        accelerator = start(*args, **settings)
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["fsdp_config"]
        os.environ |= {name.upper(): str(value).lower() for name, value in config.items() if "policy" not in name}
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(auto_wrap_policy=config["fsdp_auto_wrap_policy"])
        PartialState._shared_state["distributed_type"] = accelerator.state.distributed_type = DistributedType.FSDP
        return accelerator

    engine_start._start = start_fsdp
    engine_start.check_active = lambda *args, **settings: None
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))  # as Python does where it runs the script itself
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
