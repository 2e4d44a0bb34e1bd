"""A data set that processes share lies in memory once, and is the same data set."""

import pickle
from dataclasses import replace

import torch
from made_trials import make_data

from benchmark.data.shared import restore, share

CPU = torch.device("cpu")


def received(shared):
    """What another process gets: arrays in memory that it may not write to, as out-of-band pickles are."""
    buffers = []
    message = pickle.dumps(shared, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(message, buffers=[bytes(buffer) for buffer in buffers]), len(buffers)


def test_it_is_the_same_data_set():
    data = make_data()
    shared, _ = received(share(data))
    again = restore(shared, CPU)
    assert vars(again).keys() == vars(data).keys()
    for name, value in vars(data).items():
        if isinstance(value, str | int | tuple):
            assert getattr(again, name) == value
            continue
        for field, tensor in vars(value).items():
            found = getattr(getattr(again, name), field)
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor)


def test_its_tensors_lie_where_the_arrays_lie():
    shared, _ = received(share(make_data()))
    images = shared["train"]["images"]
    assert not images.flags.writeable
    assert restore(shared, CPU).train.images.data_ptr() == images.__array_interface__["data"][0]


def test_a_split_with_two_names_is_there_once():
    data = make_data()
    shared, num_arrays = received(share(replace(data, validation=data.test)))
    again = restore(shared, CPU)
    assert again.validation is again.test
    assert again.reestimation is again.train
    assert num_arrays == 4 * 3  # of test, train and clean_train
