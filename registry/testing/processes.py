"""The same gradients from two processes as from one: DistributedDataParallel over gloo, on the CPU."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from registry.models.base import ModelSpec
from registry.plugin_files import EXECUTED, load_plugin_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from registry.testing.bench import Bench

WORLD = 2


def differences(spec: bytes, path: str) -> list[str]:
    """What differs between two processes and one, for each head kind; nothing when all is well.

    Args:
        spec: pickled, because a plugin file that it comes from is executed before it is read.
    """
    from torch.multiprocessing.spawn import start_processes

    with tempfile.TemporaryDirectory() as folder:
        start_processes(_work, args=(spec, EXECUTED, path, folder), nprocs=WORLD, start_method="spawn")
        problems = [json.loads((Path(folder) / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(WORLD)]
    return list(dict.fromkeys(problem for found in problems for problem in found))


def _work(rank: int, pickled: bytes, files: list[Path], path: str, folder: str) -> None:
    import torch
    import torch.distributed as dist

    from registry.testing.model_checks import subject

    torch.set_num_threads(1)
    for file in files:
        load_plugin_file(file)
    spec: ModelSpec = pickle.loads(pickled)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    problems = []
    for kind in spec.heads:
        try:
            problems += [f"{kind}: {problem}" for problem in _compare(subject(spec, kind, path), rank)]
        except Exception as error:
            problems.append(f"{kind}: {type(error).__name__}: {' '.join(str(error).split())}")
    (Path(folder) / f"{rank}.json").write_text(json.dumps(problems), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # all is written; gloo's threads may abort an interpreter that ends while its partner does


def _compare(bench: Bench, rank: int) -> list[str]:
    """Two updates' worth of gradients in this pair of processes, beside those of all examples here alone."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    module, alone = bench.build(), bench.build()
    if not any(p.requires_grad for p in module.parameters()):
        return []
    model = DistributedDataParallel(module)
    indices = bench.comparable()
    count = bench.task.count(bench.batch(indices))
    mine = indices[rank::WORLD] or indices[:1]
    for _ in range(2):  # a parameter without gradient is noticed in the second
        (bench.loss(model, bench.batch(mine)) * (WORLD / count)).backward()
        (bench.loss(alone, bench.batch(indices)) / count).backward()
    ours, theirs = _gradients(module), _gradients(alone)
    wrong = [name for name in theirs if not torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-5)]
    gap = max((float((ours[name] - theirs[name]).abs().max()) for name in wrong), default=0.0)
    return [f"gradients of {len(wrong)} parameters differ ({wrong[0]}, …) by up to {gap:.3g}"] if wrong else []


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
