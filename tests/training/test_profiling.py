"""A profile names every kind of work, its parts make up the whole, and the trace can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from registry.training.assembly import assemble, choose
from registry.training.engine_start import build_accelerator
from registry.training.profiling import Stopwatch, profile
from registry.training.run_choice import choose_directory
from registry.training.setup import build_setup


def test_a_profile_of_the_embedded_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    run = tmp_path / "run"
    rows = {"max_train_rows": 64, "max_validation_rows": 10, "max_test_rows": 10}
    choice = choose({"model": "bow", "output_dir": str(run), "precision": "fp32", **rows}, {})
    accelerator, precision = build_accelerator(choice.options.optimization)
    job = assemble(choice, lambda text: None)
    found = profile(job, build_setup(job, accelerator, precision))
    values = dict(found)
    kinds = [name for name, _ in found[1 : [name for name, _ in found].index("collating")]]
    assert {"waiting for batches", "forward", "backward", "clipping", "optimizer"} <= set(kinds)
    assert sum(float(values[kind].split()[-1].rstrip("%")) for kind in kinds) == pytest.approx(100, abs=0.6)
    assert any(name.startswith("aten::") and "calls" in value for name, value in found)
    events = json.loads((run / "profile" / "trace.json").read_text())["traceEvents"]
    assert any(event.get("name", "").startswith("aten::") for event in events)
    assert choose_directory(str(run), "demo", "bow", {}, [])[1] is False  # a run may begin there


def test_a_stopwatch_adds_up_by_kind() -> None:
    watch = Stopwatch(torch.device("cpu"))
    for kind in ("one", "two", "one"):
        with watch(kind):
            pass
    assert set(watch.seconds) == {"one", "two"}
    assert all(seconds >= 0 for seconds in watch.seconds.values())
