"""What training batches tell about themselves survives a checkpoint, in a handful of tensors."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from safetensors.torch import load, save

from registry.training.window import TrainWindow


def window() -> TrainWindow:
    task = SimpleNamespace(reduce=lambda outputs, batch, head: outputs)
    return TrainWindow(task, None, torch.device("cpu"))


def test_batches_of_all_shapes_come_back():
    kept, back = window(), window()
    for rows, length in ((3, 4), (1, 7), (2, 1)):
        outputs = {
            "right": torch.arange(rows * length).reshape(rows, length) % 2 == 0,
            "row": torch.arange(rows),
            "count": torch.tensor(rows),
            "score": torch.rand(rows, dtype=torch.float64),
        }
        kept.add(outputs, {}, torch.tensor(float(rows)), rows)
    tensors = kept.tensors()
    assert len(tensors) == 2 + 2 * 4  # however many batches there were
    back.restore(load(save(tensors)))
    assert back.take_loss() == kept.take_loss() == (6.0, 6)
    for ours, theirs in zip(back.take_reduced(), kept.take_reduced(), strict=True):
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() and ours[name].dtype == theirs[name].dtype for name in ours)


def test_an_empty_window_comes_back_empty():
    back = window()
    back.restore(load(save(window().tensors())))
    assert back.take_loss() == (0.0, 0)
    assert back.take_reduced() == []


def test_settled_batches_are_on_the_cpu_and_can_be_taken_back():
    kept = window()
    outputs = {"row": torch.arange(2), "score": torch.rand(2)}
    kept.add(outputs, {}, torch.tensor(1.0), 2)
    mark = kept.mark()
    kept.add(outputs, {}, torch.tensor(1.0), 2)
    kept.settle()
    kept.rewind(mark)
    kept.add({"row": torch.arange(3), "score": torch.rand(3)}, {}, torch.tensor(1.0), 3)
    kept.settle()
    assert [len(reduced["row"]) for reduced in kept.take_reduced()] == [2, 3]
