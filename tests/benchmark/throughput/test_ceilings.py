"""Ceilings: the formulas against counts by hand."""

import pytest
import torch
from torch import nn

from benchmark.throughput.ceilings import (
    Machine,
    Operations,
    Work,
    binding,
    count_work,
    measure_machine,
    shares,
)

MACHINE = Machine(flops_per_s=1e9, copy_s=((1000, 1e-6), (3000, 5e-6)), launch_s=1e-7)


def work_of(network, images, num_classes):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return count_work(network, optimizer, images, torch.arange(len(images)) % num_classes)


def test_flops_of_a_convolution_and_a_dense_layer():
    """2 N F H W C k^2 forward and for the weights' gradient; the inputs' are asked for from the second on."""
    n, c, f, side, k = 5, 3, 4, 6, 7
    network = nn.Sequential(
        nn.Conv2d(c, f, 3, padding=1), nn.ReLU(), nn.Conv2d(f, f, 3, padding=1), nn.Flatten(),
        nn.Linear(f * side * side, k),
    )  # fmt: skip
    first, second = (2 * n * f * side**2 * fan_in * 9 for fan_in in (c, f))
    dense = 2 * n * f * side**2 * k
    assert work_of(network, torch.randn(n, c, side, side), k).flops == 2 * first + 3 * second + 3 * dense


def test_bytes_are_what_operators_read_and_write():
    x, y = torch.zeros(10, 10), torch.zeros(10)
    with Operations() as operations:
        z = x.relu()  # 100 read, 100 written
        z.view(100).unsqueeze(0)  # moves nothing
        torch.empty(50)  # nor does this
        z.add_(y)  # 100 and 10 read, 100 written
    assert operations.sizes == [800, 840]
    assert operations.count == 2


def test_the_launches_of_a_step_are_counted_backward_and_update_included():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    work = work_of(network, torch.randn(3, 1, 2, 2), 2)
    small = len(work.sizes)
    deeper = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    images = torch.randn(3, 1, 2, 2)
    with Operations() as forward:
        deeper(images)
    assert forward.count == 3  # two products with their biases, and tanh
    assert len(work_of(deeper, images, 2).sizes) > small + forward.count


def test_a_ceilings_time():
    work = Work(flops=2e6, sizes=(500, 2000, 6000))
    found = MACHINE.seconds(work, launches=30, replicas=1)
    assert found["matmul"] == pytest.approx(2e-3)
    # Below the least copy in proportion; between two in proportion; beyond the largest at its rate.
    assert found["copy"] == pytest.approx(0.5e-6 + 3e-6 + 10e-6)
    assert found["launch"] == pytest.approx(3e-6)


def test_replicas_ask_for_more_products_and_larger_copies_but_not_for_launches():
    work = Work(flops=2e6, sizes=(500,))
    found = MACHINE.seconds(work, launches=30, replicas=4)
    assert found["matmul"] == pytest.approx(8e-3)
    assert found["copy"] == pytest.approx(3e-6)  # one operator of 2,000 bytes
    assert found["launch"] == pytest.approx(3e-6)


def test_shares_and_the_binding_ceiling():
    found = shares({"matmul": 1e-3, "copy": 3e-3, "launch": None}, 4e-3)
    assert found == {"matmul": 0.25, "copy": 0.75, "launch": None}
    assert binding(found) == "copy"
    assert binding({"matmul": 0.2, "copy": 0.1, "launch": 0.3}) == "launch"


def test_the_best_of_two_measurements():
    other = Machine(2e9, ((1000, 2e-6), (3000, 4e-6)), 2e-7)
    assert MACHINE.best(other) == Machine(2e9, ((1000, 1e-6), (3000, 4e-6)), 1e-7)


def test_the_machine_is_measured():
    found = measure_machine(torch.device("cpu"), seconds=0.005, large=False)
    assert 1e8 < found.flops_per_s < 1e15
    assert 1e-8 < found.launch_s < 1e-3
    sizes, seconds = zip(*found.copy_s, strict=True)
    assert list(sizes) == sorted(sizes)
    assert all(time >= 0 for time in seconds)
    assert seconds[-1] > 0
