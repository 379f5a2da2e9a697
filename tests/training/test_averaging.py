import pytest
import torch

from registry.training.averaging import ExponentialAverage, SnapshotAverage


def set_to(module, value):
    with torch.no_grad():
        module.weight.fill_(value)


@pytest.fixture
def module():
    module = torch.nn.Linear(2, 1)
    module.bias.requires_grad_(False)
    set_to(module, 0.0)
    return module


def test_exponential_average_follows_the_recurrence(module):
    average = ExponentialAverage(module, decay=0.5)
    expected = 0.0
    for n, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], start=1):
        set_to(module, value)
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    assert set(average.values()) == {"weight"}
    assert average.values()["weight"].tolist() == [[pytest.approx(expected)] * 2]


def test_snapshot_average_is_the_mean_of_the_last_ones(module):
    average = SnapshotAverage(module, last=3)
    for value in (1.0, 2.0, 4.0, 9.0):
        set_to(module, value)
        average.update()
    assert average.values()["weight"].tolist() == [[5.0, 5.0]]


def test_before_the_first_snapshot_it_is_the_present_weight(module):
    assert SnapshotAverage(module, last=3).values()["weight"].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("kind", [lambda m: ExponentialAverage(m, 0.9), lambda m: SnapshotAverage(m, 2)])
def test_the_weights_come_back_even_after_a_fault(module, kind):
    average = kind(module)
    set_to(module, 1.0)
    average.update()
    set_to(module, 5.0)

    def fail():
        with average.applied():
            assert torch.equal(module.weight, average.values()["weight"])
            assert module.weight[0, 0] != 5.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert module.weight.tolist() == [[5.0, 5.0]]


@pytest.mark.parametrize("kind", [lambda m: ExponentialAverage(m, 0.9), lambda m: SnapshotAverage(m, 2)])
def test_it_goes_on_from_its_state_to_the_last_bit(module, kind):
    whole = kind(module)
    for value in (0.1, 0.2, 0.3):
        set_to(module, value)
        whole.update()
    state = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    resumed = kind(module)
    resumed.load_state_dict(state)
    for average in (whole, resumed):
        set_to(module, 0.7)
        average.update()
    assert torch.equal(whole.values()["weight"], resumed.values()["weight"])


def test_half_precision_weights_are_averaged_in_full(module):
    module.to(torch.bfloat16)
    average = ExponentialAverage(module, decay=0.999)
    for _ in range(3):
        set_to(module, 1.0)
        average.update()
    assert average.values()["weight"].dtype is torch.float32
    with average.applied():
        assert module.weight.dtype is torch.bfloat16


def test_zero_3_is_refused(module):
    module.weight.ds_id = 0
    with pytest.raises(ValueError, match="ZeRO-3"):
        ExponentialAverage(module, 0.9)
