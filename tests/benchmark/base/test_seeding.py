"""The random streams: known answers, uniformity, and what they may and may not depend on."""

import os
import subprocess
import sys

import pytest
import torch
from scipy import stats

from benchmark.base import seeding

# Random123's tests/kat_vectors (Salmon et al. 2011), lines `philox4x32 10`: counter, key, output.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words_of(text):
    return torch.tensor([int(word, 16) for word in text.split()])


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_random123s_known_answers(counter, key, answer):
    out = seeding.philox(words_of(key), tuple(words_of(counter)))
    assert out.tolist() == words_of(answer).tolist()


def test_philox_of_many_counters_is_that_of_each():
    key = seeding.stream_key(7, "order")
    zero = torch.zeros((), dtype=torch.int64)
    index = torch.arange(5)
    many = seeding.philox(key, (index, zero, zero + 3, zero))
    for i in index:
        assert many[:, i].tolist() == seeding.philox(key, (i, zero, zero + 3, zero)).tolist()


def test_derive_is_pinned():
    # By `printf 0/init/conv1 | sha256sum`: its first 8 bytes. Changing this changes every result.
    digest = bytes.fromhex("083ffb8916454430")
    assert seeding.derive(0, "init", "conv1") == int.from_bytes(digest, "little") // 2
    assert seeding.derive(1, "order") != seeding.derive(11, "order") != seeding.derive(1, 1, "order")


def test_stream_key_holds_two_words_and_is_pinned():
    key = seeding.stream_key(0, "order")
    assert key.dtype == torch.int64
    value = int.from_bytes(bytes.fromhex("91374d56f0ae015b"), "little") // 2  # printf 0/order | sha256sum
    assert key.tolist() == [value % 2**32, value // 2**32]


def test_an_unknown_stream_is_refused():
    with pytest.raises(ValueError, match=r"stream: expected one of .*, found 'weather'"):
        seeding.stream_key(0, "weather")


def test_uniform_is_uniform():
    draws = seeding.uniform(seeding.stream_key(0, "dropout"), 5, (100_000,))
    assert draws.dtype == torch.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    assert stats.kstest(draws.numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_every_byte_of_a_word_is_uniform(shift):
    words = seeding.words(seeding.stream_key(3, "augmentation"), 0, 100_000)
    counts = torch.bincount((words >> shift) & 0xFF, minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_streams_seeds_and_positions_are_uncorrelated():
    base = seeding.uniform(seeding.stream_key(0, "order"), 0, (20_000,))
    others = [
        seeding.uniform(seeding.stream_key(0, "dropout"), 0, (20_000,)),
        seeding.uniform(seeding.stream_key(1, "order"), 0, (20_000,)),
        seeding.uniform(seeding.stream_key(0, "order"), 1, (20_000,)),
    ]
    for other in others:
        assert stats.pearsonr(base, other).pvalue > 0.01


def test_more_words_begin_with_fewer():
    key = seeding.stream_key(0, "dropout")
    many = seeding.words(key, 9, 1001)
    for count in (1, 2, 3, 4, 5, 64, 1000):
        assert seeding.words(key, 9, count).tolist() == many[:count].tolist()


def test_a_position_may_be_a_tensor():
    key = seeding.stream_key(0, "dropout")
    assert seeding.words(key, torch.tensor(4), 10).tolist() == seeding.words(key, 4, 10).tolist()


def test_uniform_has_its_words_upper_24_bits():
    key = seeding.stream_key(2, "order")
    draws = seeding.uniform(key, 0, (3, 5))
    assert draws.flatten().tolist() == [(word >> 8) / 2**24 for word in seeding.words(key, 0, 15).tolist()]


@pytest.mark.parametrize("length", [1, 2, 97, 1000])
def test_a_permutation_has_everything_once(length):
    order = seeding.permutation(seeding.stream_key(0, "order"), 0, length)
    assert sorted(order.tolist()) == list(range(length))


def test_permutations_are_uniform_over_all_orders():
    key = seeding.stream_key(0, "order")
    orders = [tuple(seeding.permutation(key, epoch, 3).tolist()) for epoch in range(1200)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_global_generator_is_not_touched():
    before = torch.random.get_rng_state()
    key = seeding.stream_key(0, "order")
    seeding.permutation(key, 0, 10)
    seeding.uniform(key, 0, (10,))
    torch.rand(3, generator=seeding.generator(0, "init", "conv1"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_generators_differ_by_component():
    def first(*components):
        return torch.rand((), generator=seeding.generator(*components)).item()

    values = [first(0, "init", "conv1"), first(0, "init", "conv2"), first(1, "init", "conv1")]
    assert len(set(values)) == 3
    assert values[0] == first(0, "init", "conv1")


def test_determinism_switches_are_set():
    seeding.make_deterministic()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")  # else PyTorch refuses cuBLAS
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


def test_the_switches_import_no_compiler():
    """`torch.use_deterministic_algorithms` does: 900 modules, which every worker would wait for."""
    code = (
        "import sys; from benchmark.base import seeding; seeding.make_deterministic(); "
        "print('torch._inductor.config' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
