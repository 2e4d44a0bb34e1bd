"""One training step against plain PyTorch, and the order of batches."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from made_trials import make_data, step_alone
from torch import nn

from benchmark.base import seeding
from benchmark.data.augment import Augmentation, augment
from benchmark.training.optimizers import AdamW, RmsProp, Sgd
from benchmark.training.state import Layout, TrainState, flatten
from benchmark.training.step import BatchOrder, Problem, StreamKeys, batches_of, dropout_masks
from benchmark.variants.networks import NetworkSpec, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.variant import Variant

CPU = torch.device("cpu")
LR = torch.tensor(0.0625)  # a power of two: the same in float32 and float64


def in_float64(data):
    train = replace(data.train, offset=data.train.offset.double(), scale=data.train.scale.double())
    return replace(data, train=train)


def start(variant, rule, data, *, augmentation=None, seed=3):
    network = ConvNet(NetworkSpec(blocks=3, width=6), variant, data.image_shape, data.num_classes)
    initialize(network, seed)
    network.to(data.train.offset.dtype)
    parameters = flatten(network)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    state = TrainState(parameters, rule.moments(parameters), buffers, torch.tensor(0))
    return Problem(network, Layout.of(network), data.train, 16, augmentation, rule), state


class Plain(nn.Module):
    """The network written out: torch modules alone, channel counts by hand (width 6, last block 10)."""

    def __init__(self, normalization, activation, num_classes):
        super().__init__()
        sizes = [1, 6, 6, 6, 6, 10, 10]
        norm = {
            "none": lambda filters: nn.Identity(),
            "batch": lambda filters: nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01),
        }[normalization]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(norm(filters) for filters in sizes[1:])
        self.activation = {"relu": nn.functional.relu, "sigmoid": torch.sigmoid}[activation]
        self.dense = nn.Linear(10 * 2 * 2, num_classes)

    def forward(self, x, masks):
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = self.activation(norm(conv(x)))
            if depth in (1, 3):
                x = nn.functional.max_pool2d(x, 2) * masks[depth // 2]
        return self.dense(x.flatten(1))

    def copy_from(self, network):
        with torch.no_grad():
            for mine, unit in zip(self.convs, network.units, strict=True):
                mine.load_state_dict(unit.conv.state_dict())
            for mine, unit in zip(self.norms, network.units, strict=True):
                mine.load_state_dict(unit.norm.state_dict())
            self.dense.load_state_dict(network.dense.state_dict())

    def vector(self):
        """The parameters in our network's order: unit by unit, then dense."""
        pairs = zip(self.convs, self.norms, strict=True)
        modules = [*(module for pair in pairs for module in pair), self.dense]
        return nn.utils.parameters_to_vector(p for module in modules for p in module.parameters())


OPTIMIZERS = {
    "sgd": (Sgd(), lambda p: torch.optim.SGD(p, lr=LR.item(), momentum=0.9)),
    "sgd, decay": (
        Sgd(weight_decay=0.05),
        lambda p: torch.optim.SGD(p, lr=LR.item(), momentum=0.9, weight_decay=0.05),
    ),
    "rmsprop": (RmsProp(), lambda p: torch.optim.RMSprop(p, lr=LR.item(), alpha=0.9, eps=1e-7)),
    "adamw": (AdamW(), lambda p: torch.optim.AdamW(p, lr=LR.item())),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("variant", ["none-relu", "batch-relu", "batch-sigmoid"])
def test_steps_are_those_of_a_plain_loop(variant, optimizer):
    normalization, activation = variant.split("-")
    rule, build = OPTIMIZERS[optimizer]
    # In float64: a bias before batch normalization has no gradient but rounding errors. RMSprop and AdamW
    # turn these into whole steps, unless they are far below epsilon.
    data = in_float64(make_data())
    problem, state = start(Variant(normalization, activation), rule, data)
    plain = Plain(normalization, activation, data.num_classes).double()
    plain.copy_from(problem.network)
    plain_optimizer = build(plain.parameters())
    keys = StreamKeys.of(3, CPU)

    for number, index in enumerate(BatchOrder(keys.order, len(data.train), 16).batches(0, 3)):
        masks = dropout_masks(problem.network, 16, keys.dropout, torch.tensor(number), torch.float64)
        images = (data.train.images[index].double() - data.train.offset) * data.train.scale
        logits = plain(images, masks)
        loss = nn.CrossEntropyLoss()(logits, data.train.labels[index])
        plain_optimizer.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() ** 2 for p in plain.parameters()]).sum().sqrt()
        plain_optimizer.step()
        accuracy = (logits.argmax(1) == data.train.labels[index]).float().mean()

        found = step_alone(problem, state, index, keys, LR.double())

        torch.testing.assert_close(found, torch.stack((loss, accuracy, norm)).detach())
        torch.testing.assert_close(state.parameters, plain.vector().detach())
        assert state.step == number + 1
        for path, buffer in state.buffers.items():
            _, depth, _, name = path.split(".")  # units.3.norm.running_mean
            if name == "num_batches_tracked":
                continue  # not counted, as nothing reads it
            torch.testing.assert_close(buffer, plain.norms[int(depth)].get_buffer(name))


def test_a_step_augments_by_its_own_draws():
    data, config = make_data(), Augmentation(zoom=(0.8, 1.2), shear=0.2, shear_unit="radians")
    problem, state = start(Variant("batch", "relu"), Sgd(), data, augmentation=config)
    keys, index = StreamKeys.of(3, CPU), torch.arange(16)

    plain_problem, plain_state = start(Variant("batch", "relu"), Sgd(), data)
    draws = seeding.uniform(keys.augmentation, 0, (16, 4))
    augmented = augment(data.train.take(index), draws, config)
    masks = dropout_masks(problem.network, 16, keys.dropout, torch.tensor(0))
    expected = nn.functional.cross_entropy(problem.network(augmented, masks), data.train.labels[index])

    loss = step_alone(problem, state, index, keys, LR)[0]
    torch.testing.assert_close(loss, expected.detach())
    assert loss != step_alone(plain_problem, plain_state, index, keys, LR)[0]


def test_a_step_depends_on_nothing_but_its_arguments():
    data = make_data()
    problem, state = start(Variant("batch", "relu"), Sgd(), data)
    copy, keys, index = state.clone(), StreamKeys.of(0, CPU), torch.arange(16)
    torch.manual_seed(1)
    first = step_alone(problem, state, index, keys, LR)
    torch.manual_seed(2)
    second = step_alone(problem, copy, index, keys, LR)
    assert torch.equal(first, second)
    assert torch.equal(state.parameters, copy.parameters)
    assert all(torch.equal(state.buffers[name], copy.buffers[name]) for name in state.buffers)


def test_a_clone_is_independent():
    _, state = start(Variant("batch", "relu"), Sgd(), make_data())
    copy = state.clone()
    state.parameters.add_(1)
    state.moments["momentum"].add_(1)
    state.step.add_(1)
    state.buffers["units.0.norm.running_mean"].add_(1)
    assert not torch.equal(copy.parameters, state.parameters)
    assert not copy.moments["momentum"].any()
    assert copy.step == 0
    assert not copy.buffers["units.0.norm.running_mean"].any()


def test_the_layout_names_views_of_the_flat_vector():
    problem, state = start(Variant("batch", "relu"), Sgd(), make_data())
    parts = problem.layout.split(state.parameters)
    named = dict(problem.network.named_parameters())
    assert list(parts) == list(named)
    assert all(torch.equal(parts[name], named[name]) for name in named)
    state.parameters.zero_()
    assert not any(part.any() for part in parts.values())


def masks_of(seed, position, normalization="none", activation="relu"):
    spec = NetworkSpec(blocks=3, width=6)
    network = ConvNet(spec, Variant(normalization, activation), (1, 8, 8), 4)
    return dropout_masks(network, 4, StreamKeys.of(seed, CPU).dropout, torch.tensor(position))


def test_dropout_depends_on_seed_and_step_alone():
    def same(a, b):
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    base = masks_of(0, 5)
    assert same(base, masks_of(0, 5))
    assert same(base, masks_of(0, 5, normalization="batch", activation="sigmoid"))
    assert not same(base, masks_of(1, 5))
    assert not same(base, masks_of(0, 6))


@pytest.mark.parametrize("batch_size", [1, 7, 10, 25])
def test_every_image_comes_once_an_epoch(batch_size):
    order = BatchOrder(seeding.stream_key(0, "order"), 10, batch_size)
    seen = order.batches(0, 50).flatten()
    for epoch in range(len(seen) // 10):
        assert sorted(seen[10 * epoch : 10 * (epoch + 1)].tolist()) == list(range(10))
    first, second = seen[:10].tolist(), seen[10:20].tolist()
    assert first != second


@pytest.mark.parametrize("start_at", [0, 1, 3, 4, 9])
def test_the_order_does_not_depend_on_where_one_starts_to_read(start_at):
    key = seeding.stream_key(0, "order")
    whole = BatchOrder(key, 10, 3).batches(0, 20)
    assert torch.equal(BatchOrder(key, 10, 3).batches(start_at, 5), whole[start_at : start_at + 5])
    backwards = BatchOrder(key, 10, 3)
    backwards.batches(12, 5)
    assert torch.equal(backwards.batches(start_at, 5), whole[start_at : start_at + 5])


@pytest.mark.parametrize("starts", [(0, 0, 0), (4, 4, 9), (3, 0, 12)])
def test_several_orders_drawn_together_are_what_each_is_alone(starts):
    keys = [seeding.stream_key(seed, "order") for seed in range(3)]
    together = [BatchOrder(key, 10, 3) for key in keys]
    for ahead in (0, 5):  # goes on within an epoch, too
        now = [start + ahead for start in starts]
        found = batches_of(together, now, 5)
        for row, (key, start) in enumerate(zip(keys, now, strict=True)):
            assert torch.equal(found[:, row], BatchOrder(key, 10, 3).batches(start, 5))


def test_rows_in_step_draw_an_epoch_once(monkeypatch):
    drawn = []
    permutation = seeding.permutation
    monkeypatch.setattr(
        seeding, "permutation", lambda *arguments: drawn.append(arguments[1]) or permutation(*arguments)
    )
    orders = [BatchOrder(seeding.stream_key(seed, "order"), 10, 3) for seed in range(4)]
    batches_of(orders, [0, 0, 0, 0], 5)
    batches_of(orders, [5, 5, 5, 5], 2)
    assert drawn == [0, 1, 2]


def test_the_keys_are_the_seeds_streams():
    keys = StreamKeys.of(4, CPU)
    for name in ("order", "augmentation", "dropout"):
        assert torch.equal(getattr(keys, name), seeding.stream_key(4, name))
