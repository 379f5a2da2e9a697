"""Small tensors that are kept lie side by side, and are what they were."""

import torch

from registry.shelf import LARGEST, SMALLEST, Shelf


def storages(kept):
    return {tensor.untyped_storage().data_ptr() for tensors in kept for tensor in tensors.values()}


def test_values_kinds_and_shapes_stay():
    batch = {
        "row": torch.arange(7),
        "right": torch.tensor([True, False, True]),
        "scores": torch.randn(3, 2, 5, dtype=torch.bfloat16),
        "columns": torch.randn(4, 6).t(),
        "none": torch.empty(0, 3),
        "one": torch.tensor(2.5, dtype=torch.float64),
    }
    kept = Shelf().keep(batch)
    for name, value in batch.items():
        assert kept[name].dtype == value.dtype
        assert torch.equal(kept[name], value)


def test_what_is_kept_does_not_change_with_its_source_and_holds_no_graph():
    value = torch.ones(3, requires_grad=True) * 2
    kept = Shelf().keep({"value": value})["value"]
    assert kept.grad_fn is None
    value.detach().zero_()
    assert torch.equal(kept, torch.full((3,), 2.0))


def test_batches_share_blocks():
    shelf = Shelf()
    kept = [
        shelf.keep({"row": torch.arange(32) + 32 * i, "scores": torch.full((32, 2), float(i))}) for i in range(5000)
    ]
    sizes = sorted(kept[i]["row"].untyped_storage().nbytes() for i in range(5000))
    assert (sizes[0], sizes[-1]) == (SMALLEST, LARGEST)
    assert len(storages(kept)) <= 5000 * (32 * 8 + 32 * 2 * 4) / LARGEST + 10
    assert all(torch.equal(batch["row"], torch.arange(32) + 32 * i) for i, batch in enumerate(kept))
    assert all(torch.equal(batch["scores"], torch.full((32, 2), float(i))) for i, batch in enumerate(kept))


def test_what_no_block_holds_gets_one_of_its_own():
    shelf = Shelf()
    large, small = torch.randn(LARGEST), torch.randn(3)
    kept = shelf.keep({"large": large, "small": small})
    assert torch.equal(kept["large"], large)
    assert torch.equal(kept["small"], small)
