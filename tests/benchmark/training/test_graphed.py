"""Recorded steps: what is brought in and out of a recording, and what CUDA is asked for.

Where there is no CUDA, recordings are run anew, on the memory that a graph would have: so here `graphed` has
the numbers of `fused` to the bit. What only CUDA shows is in `test_gpu` and `test_cuda`.
"""

import gc
import itertools
from dataclasses import replace

import pytest
import torch
from gpu_checks import DECAYED, JUDGES, RULES, Case, network_of, population_of
from made_engines import Rerun
from made_trials import data_on, make_data
from pretend_gpu import DEVICE, watch

from benchmark.base.errors import InputError
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.engines import ENGINES, graphed
from benchmark.training.engines.graphed import CudaGraphs, Graphed
from benchmark.training.events import Outcome
from benchmark.training.loop import train
from benchmark.training.losses import LOSSES
from benchmark.training.optimizers import OPTIMIZERS
from benchmark.training.population import Population
from benchmark.training.schedules import SCHEDULES
from benchmark.variants.norms import NORMALIZATIONS

FUSED = ENGINES["fused"]
K = graphed._STEPS_PER_REPLAY
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data():
    return make_data()


MANY = [{"learning_rate": 0.01 * (1 + i), "seed": i, "init_gain": 1 - 0.1 * i} for i in range(7)]


def made(
    data,
    folder,
    normalization="batch",
    rows=MANY[:3],
    rule=RULES[0],
    loss=JUDGES[0],
    activation="tanh",
    **own,
):
    """A population of small networks, dropout and augmentation on."""
    network = network_of(normalization)
    network |= {"dropout": 0.2} if "dropout" in network else {}
    case = Case(normalization, activation, rule, loss, network, **own)
    return population_of([case.trial(**row) for row in rows], data, folder)


@pytest.fixture
def engine():
    return Graphed(Rerun)


def assert_equal(ours, theirs):
    pairs = zip(ours.state.tensors(), theirs.state.tensors(), strict=True)
    for mine, other in [*pairs, (ours.sums, theirs.sums)]:
        assert torch.equal(mine.nan_to_num(7.0), other.nan_to_num(7.0))
    assert ours.rows == theirs.rows


def both(population, engine, *counts):
    """The population after so many steps of the engine, count by count, and after as many of `fused`."""
    other = population.clone()
    for count in counts:
        engine.advance(population, count)
        FUSED.advance(other, count)
    return population, other


def is_equal(ours, theirs):
    try:
        assert_equal(ours, theirs)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_recorded_steps_are_those_of_fused_to_the_bit(data, tmp_path, engine, normalization):
    """Three rows in a recording of four; dropout and augmentation on; more steps than a replay has."""
    assert_equal(*both(made(data, tmp_path, normalization), engine, 1, K + 2))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_so_they_are_with_every_optimizer(data, tmp_path, engine, name):
    population = made(data, tmp_path, rows=MANY[:2], rule={"name": name})
    assert_equal(*both(population, engine, K, 2, 1))


@pytest.mark.parametrize("name", SCHEDULES)
def test_and_with_every_schedule(data, on_device, tmp_path, engine, name):
    """Whose step is counted on the device: nothing is waited for or copied."""
    assert_equal(*both(made(data, tmp_path / "cpu", schedule=name), engine, K, 2, 1))
    assert notes_of(made(on_device, tmp_path / "device", schedule=name)) == []


def test_a_lone_row_is_recorded_alone(data, tmp_path, engine):
    """With the numbers of the same layout, one replica at a time."""
    population = made(data, tmp_path, rows=MANY[:1])
    other = population.clone()
    engine.advance(population, K + 1)
    ENGINES["channels-last"].advance(other, K + 1)
    assert_equal(population, other)


def test_populations_of_a_problem_take_turns(data, tmp_path, engine):
    """Of many rows and of few, some from other steps than others; each time judged as `fused` judges."""
    population = made(data, tmp_path, rows=MANY)
    twins = [(own, own.clone()) for own in (population, population.keep([1, 4]), population.keep([5, 6, 2]))]
    for _ in range(2):
        for own, other in twins:
            engine.advance(own, 2)
            FUSED.advance(other, 2)
            assert_equal(own, other)
            judged = engine.judge(own, (data.validation,), data.reestimation)
            assert judged == FUSED.judge(other, (data.validation,), data.reestimation)
    rows, states = twins[1][0].rows, [twins[1][0].state.row(position) for position in (0, 1)]
    joined = twins[2][0].joined(rows, states)
    engine.advance(twins[2][0], 1)
    joined = joined.joined(rows[:1], states[:1])
    assert_equal(*both(joined, engine, 3))


def test_rows_that_are_lost_leave_the_others_untouched(data, tmp_path, engine):
    population = made(data, tmp_path, rows=MANY[:3])
    population.state.parameters[2] = torch.nan  # the row that is repeated
    ours, theirs = both(population, engine, 3)
    assert_equal(ours, theirs)
    assert ours.state.parameters[:2].isfinite().all()


def test_trials_take_the_rows_of_those_that_end(data, tmp_path, engine):
    """Some diverge, and others take their place, through the loop."""
    case = Case("none", "relu", RULES[0], JUDGES[0], network_of("none"))
    rates = [0.1, 1e30, 0.02, 0.05, 1e30]
    trials = [case.trial(learning_rate=rate, seed=seed) for seed, rate in enumerate(rates)]
    found = []
    for name, own in (("graphed", engine), ("fused", FUSED)):
        waiting = trials[3:]

        def more(room, waiting=waiting):
            taken = waiting[:room]
            del waiting[:room]
            return taken

        events = train(
            trials[:3],
            data,
            lambda trial, name=name: Checkpoints(tmp_path / name / trial.hash),
            more,
            rows=3,
            engine=own,
        )
        assert len([event for event in events if isinstance(event.content, Outcome)]) == 5
        last = [torch.load(tmp_path / name / trial.hash / "last.pt") for trial in trials]
        found.append([value.nan_to_num(7.0).tolist() for own in last for value in own.values()])
    assert found[0] == found[1]


class Watched(Rerun):
    """Notes what is waited for, and copied from the host, while it records: on CUDA neither can be."""

    def __init__(self, device):
        super().__init__(device)
        self.notes = []
        self.num_recorded = 0

    def record(self, work):
        self.num_recorded += 1
        if work.args[1] > 1:  # further steps are as the first
            return work
        with watch() as seen:
            work()
        self.notes += seen.notes
        return lambda: None


@pytest.fixture(scope="module")
def on_device():
    return data_on(make_data(), DEVICE)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_what_is_recorded_neither_waits_nor_copies(on_device, tmp_path, normalization):
    """Of every normalization by some rule on some loss, which come after it and do not see it."""
    position = list(NORMALIZATIONS).index(normalization)
    rule, loss = RULES[position % len(RULES)], JUDGES[position % len(JUDGES)]
    assert notes_of(made(on_device, tmp_path, normalization, MANY[:2], rule, loss)) == []


def test_nor_does_alpha_dropout(on_device, tmp_path):
    assert notes_of(made(on_device, tmp_path, rows=MANY[:2], activation="selu")) == []


def test_nor_does_it_with_every_optimizer_and_loss(on_device, tmp_path):
    population = made(on_device, tmp_path, rows=MANY[:2])
    for rule, loss in itertools.product([*RULES, DECAYED], JUDGES):
        assert notes_of(population_with(population, rule, loss)) == [], (rule, loss)


def notes_of(population):
    """What is waited for or copied while the population's first steps are recorded."""
    recorder = Watched(DEVICE)
    Graphed(lambda device: recorder).advance(population, 1)
    assert recorder.num_recorded == 2
    return recorder.notes


def population_with(population, rule, loss):
    """The same rows, about to train by another rule on another loss."""
    optimizer, judge = OPTIMIZERS[rule["name"]](**rule), LOSSES[loss["name"]](**loss)
    problem = replace(population.problem, optimizer=optimizer, loss=judge)
    state = replace(population.state, moments=optimizer.moments(population.state.parameters))
    return Population(problem, population.rows, state.clone(), population.sums.clone())


def test_a_wait_in_what_is_recorded_is_noticed(on_device, tmp_path, monkeypatch):
    plain = graphed.step
    monkeypatch.setattr(graphed, "step", lambda *parts: plain(*parts) * float(parts[5][0, 0] > 0))
    assert "_local_scalar_dense" in {note.operation for note in notes_of(made(on_device, tmp_path))}


class Forgetful(Rerun):
    """Leaves something out when it replays, as a graph does that something was not recorded in."""

    def record(self, work):
        return lambda: None


class Early(Rerun):
    """Keeps the index that was there when it recorded."""

    def record(self, work):
        recording, (_, count) = work.func.__self__, work.args
        index = recording._index[:count].clone()

        def replay():
            recording._index[:count].copy_(index)
            work()

        return replay


def test_faults_are_noticed(data, tmp_path, monkeypatch):
    population = made(data, tmp_path, "batch-noisy")
    for recorder in (Forgetful, Early):
        assert not is_equal(*both(population.clone(), Graphed(recorder), 2))
    plain = graphed._tensors
    for left_out in range(
        len(plain(population.state, population.sums, population.keys, population.learning_rates))
    ):
        if left_out == len(population.state.tensors()) + 1:
            continue  # the key of the order, which makes no difference to a step: the host draws it
        with monkeypatch.context() as patch:

            def faulty(*parts, left_out=left_out):
                found = plain(*parts)
                del found[left_out]
                return found

            patch.setattr(graphed, "_tensors", faulty)
            engine = Graphed(Rerun)
            engine.advance(changed(population), 1)  # records with other numbers
            assert not is_equal(*both(population.clone(), engine, 2)), left_out


def changed(population):
    """A population of the same problem all of whose tensors are other ones."""
    rows = [
        replace(
            row,
            learning_rate=row.learning_rate / 2,
            keys=replace(row.keys, **{name: key + 1 for name, key in vars(row.keys).items()}),
        )
        for row in population.rows
    ]
    state = population.state._each(lambda tensor: tensor + 1)
    return Population(population.problem, rows, state, population.sums + 1)


def test_recording_changes_nothing_of_a_population(data, tmp_path, engine):
    population = made(data, tmp_path)
    before = population.clone()
    engine._recording_of(population)
    assert_equal(population, before)


def test_steps_are_recorded_once_per_problem_and_power_of_two(data, tmp_path):
    recorders, asked = [], []

    class Counting(Rerun):
        def __init__(self, device):
            recorders.append(device)

        def record(self, work):
            asked.append(work.args[1])
            return lambda: None

    engine = Graphed(Counting)
    population = made(data, tmp_path, rows=MANY)
    for count in (7, 6, 5, 4, 3, 2, 1):
        population = population.keep(range(count))
        engine.advance(population, 1)
        engine.advance(population, 2 * K)
    assert recorders == [torch.device("cpu")]
    assert asked == [K, 1] * 4  # of 8, 4, 2 and 1 rows
    assert len(engine._recorded) == 1
    del population
    gc.collect()
    assert len(engine._recorded) == 0


def test_what_has_no_cuda_graphs_is_refused_in_one_line():
    with pytest.raises(
        InputError, match=r"expected a CUDA device for 'graphed', found cpu: use --device cuda"
    ):
        ENGINES["graphed"].check(torch.device("cpu"), 1)
    ENGINES["graphed"].check(torch.device("cuda"), 4)


class FakeCuda:
    """What of `torch.cuda` is used, writing down what is asked of it."""

    def __init__(self, log, end_error=None):
        self.log = log
        self.current = "present"
        self.end_error = end_error
        outer = self

        class Stream:
            def __init__(self, name):
                self.name = name

            def wait_stream(self, other):
                log.append(f"{self.name} waits for {other.name}")

        class Entered:
            def __init__(self, stream):
                self.stream = stream

            def __enter__(self):
                self.before, outer.current = outer.current, self.stream.name

            def __exit__(self, *error):
                outer.current = self.before

        class CudaGraph:
            def pool(self):
                return "pool"

            def replay(self):
                log.append("replayed")

        class Capture:
            def __init__(self, graph, pool=None, stream=None):
                self.pool, self.entered = pool, Entered(stream)

            def __enter__(self):
                self.entered.__enter__()
                log.append(f"captures on {outer.current} into {self.pool}")

            def __exit__(self, *error):
                if outer.end_error is not None:
                    raise outer.end_error  # PyTorch's leaves the stream as it is then
                self.entered.__exit__(*error)

        self.Stream = lambda device: Stream("side")
        self.current_stream = lambda device: Stream(outer.current)
        self.stream, self.CUDAGraph, self.graph = Entered, CudaGraph, Capture


@pytest.fixture
def cuda(monkeypatch):
    """A function: put what pretends to be CUDA in its place."""

    def put(**options):
        fake = FakeCuda([], **options)
        for name in ("Stream", "current_stream", "stream", "CUDAGraph", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
        graphed._side_stream.cache_clear()
        return fake

    yield put
    graphed._side_stream.cache_clear()


def test_cuda_warms_up_beside_and_captures_into_one_pool(cuda):
    fake = cuda()
    recorder = CudaGraphs(torch.device("cuda", 0))
    recorder.warm_up(lambda: fake.log.append(f"runs on {fake.current}"))
    replays = [recorder.record(lambda: fake.log.append(f"runs on {fake.current}")) for _ in range(2)]
    replays[0]()
    assert fake.log == [
        "side waits for present", "runs on side", "present waits for side",
        "captures on side into None", "runs on side",
        "captures on side into pool", "runs on side",
        "replayed",
    ]  # fmt: skip


def test_a_capture_that_fails_says_why_and_leaves_the_stream(cuda):
    """Out of memory stays that, whatever the end of the broken capture says."""

    def work():
        raise torch.OutOfMemoryError("no memory")

    for end_error in (None, RuntimeError("operation failed due to a previous error during capture")):
        fake = cuda(end_error=end_error)
        with pytest.raises(torch.OutOfMemoryError, match="no memory"):
            CudaGraphs(torch.device("cuda", 0)).record(work)
        assert fake.current == "present"
    with pytest.raises(RuntimeError, match="previous error"):
        CudaGraphs(torch.device("cuda", 0)).record(lambda: None)
