import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import permutation_test, rankdata, ttest_1samp, wilcoxon
from statsmodels.stats.multitest import multipletests

# The module, not its names: pytest would collect `tests_of` as a test.
from analysis import stats
from analysis.stats.signed_rank import walsh_averages
from benchmark.contract import least_seeds

INF = np.inf
RNG = np.random.default_rng(0)  # where nothing is drawn

# Hollander & Wolfe (1973), table 3.1: Hamilton depression scale factor IV, 9 patients, first minus second
# visit; the example of R's ?wilcox.test.
FIRST = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
SECOND = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])

# Freireich et al. (1963): weeks of remission under 6-MP, and whether relapse was observed.
REMISSION = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSE = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def samples(num: int = 60, sizes: tuple[int, ...] = (1, 3, 5, 6, 8, 11)) -> list[np.ndarray]:
    """Continuous, tied, zero-ridden and infinite samples."""
    rng = np.random.default_rng(0)
    drawn = []
    for n in itertools.islice(itertools.cycle(sizes), num):
        drawn.append(rng.normal(0.5, 1, n))
        drawn.append(rng.integers(-3, 7, n).astype(float))
        drawn.append(np.where(rng.random(n) < 0.2, rng.choice([-INF, INF], n), rng.integers(-2, 5, n) / 2))
    return drawn


class TestSignedRank:
    def test_hollander_wolfe_depression(self) -> None:
        # R 4.2.2: wilcox.test(x, y, paired = TRUE, alternative = "greater")
        # V = 40, p-value = 0.01953 (10/512)
        assert stats.signed_rank_pvalue(FIRST - SECOND) == 10 / 512

    @pytest.mark.parametrize("n", [1, 5, 8, 20, 60])
    def test_equals_scipy_without_ties_and_zeros(self, n: int) -> None:
        x = np.random.default_rng(n).normal(0.2, 1, n)
        expected = wilcoxon(x, alternative="greater", method="exact").pvalue
        assert_allclose(stats.signed_rank_pvalue(x), expected, rtol=1e-12)

    def test_equals_enumerated_sign_flips_of_midranks(self) -> None:
        for x in samples(24, sizes=(2, 5, 8)):
            ranks = rankdata(np.abs(x))
            signed = np.where(x > 0, ranks, -ranks)  # zeros count as negative
            # exact: permutation_type="samples" flips signs when given one sample
            result = permutation_test(
                (signed,),
                lambda r, axis: r.clip(0).sum(axis=axis),
                permutation_type="samples",
                vectorized=True,
                n_resamples=np.inf,
                alternative="greater",
            )
            assert_allclose(stats.signed_rank_pvalue(x), result.pvalue, rtol=1e-12)

    def test_infinite_values_are_tied_extreme_ranks(self) -> None:
        assert stats.signed_rank_pvalue([INF, INF, -INF, 1.0]) == stats.signed_rank_pvalue(
            [9.0, 9.0, -9.0, 1.0]
        )

    def test_zeros_count_against(self) -> None:
        assert stats.signed_rank_pvalue(np.zeros(6)) == 1.0
        # Five positive, one zero: only the zero's sign (rank 1) is free, 2 of 64 patterns; not 1/32 of n = 5.
        assert stats.signed_rank_pvalue([0.0, 2, 3, 4, 5, 6]) == 2 / 64
        for x in samples():
            smallest = 1e-3  # below every other magnitude: the same ranks
            as_negative, as_positive = np.where(x == 0, -smallest, x), np.where(x == 0, smallest, x)
            assert stats.signed_rank_pvalue(x) == stats.signed_rank_pvalue(as_negative)
            assert stats.signed_rank_pvalue(x) >= stats.signed_rank_pvalue(as_positive)

    def test_rounding_noise_makes_neither_signs_nor_breaks_ties(self) -> None:
        noisy = np.array([0.3 - (0.1 + 0.2), 0.7 - 0.6, 0.3 - 0.2, 0.1])
        assert stats.signed_rank_pvalue(noisy) == stats.signed_rank_pvalue([0, 1, 1, 1])

    def test_pvalues_are_uniform_or_larger_under_symmetry(self) -> None:
        # Under H0 with equal signs P(p <= a) <= a at every attainable a, ties and zeros included.
        for magnitudes in ([1, 2, 3, 4, 5, 6], [1, 1, 1, 2, 2, 3], [0, 0, 1, 1, 2, INF]):
            flips = np.array(list(itertools.product([-1, 1], repeat=6)), dtype=float)
            with np.errstate(invalid="ignore"):
                p = stats.signed_rank_pvalues(flips * np.array(magnitudes, dtype=float))
            for level in np.unique(p):
                assert (p <= level).mean() <= level + 1e-12

    @pytest.mark.parametrize("alpha", [0.025, 0.05, 0.45])
    def test_rejects_where_the_pvalue_is_at_most_alpha(self, alpha: float) -> None:
        x = np.random.default_rng(0).normal(0.4, 1, size=(300, 7)).round(1)  # ties and zeros
        expected = np.array([stats.signed_rank_pvalue(row) <= alpha for row in x])
        assert 0 < expected.sum() < len(x)
        assert (stats.signed_rank_rejects(x, alpha) == expected).all()

    @pytest.mark.parametrize("n", [10, 40, 100])
    @pytest.mark.parametrize("alpha", [0.05, 0.0125, 0.2])
    def test_bounds_that_spare_a_distribution_change_no_rejection(self, n, alpha) -> None:
        """Few values drawn often, as a resample has them: ties, zeros, and effects near any threshold."""
        rng = np.random.default_rng(n)
        x = np.concatenate([rng.choice(rng.normal(m, 1, 10), (30, n)) for m in np.linspace(-0.2, 1, 9)])
        expected = stats.signed_rank_pvalues(x) <= alpha
        assert 0 < expected.sum() < len(x)
        assert_array_equal(stats.signed_rank_rejects(x, alpha), expected)

    @pytest.mark.parametrize("x", [[], [np.nan, 1.0], [[1.0]]])
    def test_refuses_what_is_no_sample(self, x: list[float]) -> None:
        with pytest.raises(ValueError, match="expected"):
            stats.signed_rank_pvalue(x)


class TestEstimate:
    def test_hollander_wolfe_depression(self) -> None:
        # R 4.2.2: wilcox.test(x, y, paired = TRUE, conf.int = TRUE, conf.level = 0.90)
        # (pseudo)median 0.46, 90 percent confidence interval 0.175 0.726
        found = stats.estimate(FIRST - SECOND, FIRST - SECOND)
        assert_allclose([found.effect, found.low, found.high], [0.46, 0.175, 0.726], rtol=1e-9)
        assert found.effect_low == found.effect_high == found.effect
        assert found.n == 9

    def test_interval_is_the_test_inverted(self) -> None:
        for x in samples():
            averages = walsh_averages(x)
            edges = np.unique(averages[np.isfinite(averages)])
            around = np.concatenate([edges, edges - 1 / 16, edges + 1 / 16])
            low, high = stats.estimate(x, x).low, stats.estimate(x, x).high
            for d in around[np.abs(around - low) > 1e-6]:
                assert (low > d) == (stats.signed_rank_pvalue(x - d) <= 0.05 + 1e-12)
            for d in around[np.abs(around - high) > 1e-6]:
                assert (high < d) == (stats.signed_rank_pvalue(d - x) <= 0.05 + 1e-12)

    def test_agreement_at_equality_is_one_way(self) -> None:
        # At d = low the test may reject or not; above, it never does.
        x = np.array([-1.0, 1, 1, 2, 2, 3, 3, 3])
        low = stats.estimate(x, x).low
        assert stats.signed_rank_pvalue(x - low + 1e-6) <= 0.05 < stats.signed_rank_pvalue(x - low - 1e-6)

    def test_intervals_hold_every_value_they_allow(self) -> None:
        rng = np.random.default_rng(3)
        for x in samples(40, sizes=(6, 8)):
            low, high = x - rng.random(x.size), x + rng.random(x.size)
            inside, around = stats.estimate(x, x), stats.estimate(low, high)
            assert around.low <= inside.low + 1e-9
            assert around.high >= inside.high - 1e-9
            assert around.effect_low <= around.effect <= around.effect_high
            assert around.low <= around.effect_low
            assert around.effect_high <= around.high

    def test_mirrored(self) -> None:
        for x in samples():
            found, mirrored = stats.estimate(x, x + 1), stats.estimate(-x - 1, -x)
            assert (found.low, found.effect_low) == (-mirrored.high, -mirrored.effect_high)

    def test_order_of_seeds_is_irrelevant(self) -> None:
        x = np.random.default_rng(4).normal(size=9)
        assert stats.estimate(x, x + 1) == stats.estimate(x[::-1], x[::-1] + 1)

    def test_censored_seeds_stay_extreme(self) -> None:
        # Two of eight never seen to end: dropping them would give an effect below the interval.
        low = np.array([2.0, 2, 2, 2, 2, 2, 2.1, 2.1])
        high = np.array([2.0, 2, 2, 2, INF, INF, INF, INF])
        found = stats.estimate(low, high)
        assert found.effect_low == 2.0
        assert found.effect_high == found.effect == INF

    def test_unknown_pairs(self) -> None:
        unknown = stats.estimate([-INF] * 6, [INF] * 6)
        assert np.isnan(unknown.effect)
        assert (unknown.low, unknown.high) == (-INF, INF)
        one_unknown = stats.estimate([1, 2, 3, -INF], [1, 2, 3, INF])
        assert one_unknown.effect == 2.0
        # all three of the same pairs, those of which something is known
        assert (one_unknown.effect_low, one_unknown.effect_high) == (2.0, 2.0)
        half_known = stats.estimate([1, 2, 3, -INF], [2, 3, 4, INF])
        assert (half_known.effect_low, half_known.effect, half_known.effect_high) == (2.0, 2.5, 3.0)

    @pytest.mark.parametrize("n", [1, 4, 5])
    def test_few_seeds_have_no_interval(self, n: int) -> None:
        found = stats.estimate(np.arange(1.0, n + 1), np.arange(1.0, n + 1))
        assert (found.low, found.high) == ((1.0, 5.0) if n == 5 else (-INF, INF))

    @pytest.mark.parametrize(
        ("low", "high"), [([], []), ([2.0], [1.0]), ([np.nan], [1.0]), ([1.0], [1.0, 2.0])]
    )
    def test_refuses_what_is_no_sample(self, low: list[float], high: list[float]) -> None:
        with pytest.raises(ValueError, match="expected"):
            stats.estimate(low, high)


class TestDecisions:
    def test_holm_as_in_r_and_statsmodels(self) -> None:
        # R 4.2.2: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") = 0.03 0.06 0.06 0.02
        assert_allclose(stats.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
        rng = np.random.default_rng(0)
        for m in (1, 2, 7):
            p = np.append(rng.random(m), 1.0)  # NOT EVALUABLE counts as 1
            assert_allclose(stats.holm(p), multipletests(p, method="holm")[1])
        assert stats.holm([]).size == 0

    def test_each_hypothesis_is_tested_on_the_end_that_speaks_least_for_it(self) -> None:
        low, high = np.arange(1.0, 7), np.arange(1.0, 7) + 10
        assert stats.tests_of(low, high, 0.5) == (1 / 64, 1.0)
        assert stats.tests_of(low, high, 17.0) == (1.0, 1 / 64)
        assert min(stats.tests_of(low, high, 8.0)) > 0.5

    def test_outcomes(self) -> None:
        assert stats.decide(0.05, 1.0) == "SUPPORTED"
        assert stats.decide(1.0, 0.05) == "REFUTED"
        assert stats.decide(0.051, 0.051) == "INCONCLUSIVE"
        with pytest.raises(ValueError, match="both"):
            stats.decide(0.01, 0.01)

    @pytest.mark.parametrize(("num_tests", "n"), [(1, 5), (2, 6), (3, 6), (4, 7)])
    def test_min_seeds(self, num_tests: int, n: int) -> None:
        # protocol: n = 5 decides nothing for m = 2, which needs 6
        assert least_seeds(num_tests) == n
        p = np.array([stats.signed_rank_pvalue(np.ones(n)), *[1.0] * (num_tests - 1)])
        assert stats.holm(p)[0] <= 0.05

    def test_seeds_needed(self) -> None:
        rng = np.random.default_rng(0)
        x = np.array([-0.2, 0.4, 0.5, 0.9, -0.1, 0.7, 0.3, 0.1])
        needed = stats.seeds_needed(x, x, 0.0, 2, rng)
        assert needed is not None
        assert 8 < needed < 25
        # Against the same plug-in power, simulated at the answer with fresh draws.
        fresh = np.random.default_rng(1).choice(x, size=(2000, needed))
        power = (stats.signed_rank_pvalues(fresh) <= 0.025).mean()
        assert 0.72 < power < 0.92

    @pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
    @pytest.mark.parametrize("width", [0.0, 0.4])
    def test_seeds_needed_is_what_all_exact_tests_of_its_draws_say(self, shift, width) -> None:
        low = np.random.default_rng(1).normal(shift, 0.6, 8).round(1)
        high, level = low + width, 0.05 / 2
        needed = stats.seeds_needed(low, high, 0.1, 2, np.random.default_rng(0), max_seeds=60)
        drawn = np.random.default_rng(0).integers(8, size=(400, 60))  # its first ones
        supported = stats.signed_rank_pvalues(low[drawn] - 0.1) <= level
        refuted = stats.signed_rank_pvalues(0.1 - high[drawn]) <= level
        assert (needed is not None) == ((supported | refuted).mean() >= 0.8)

    def test_seeds_needed_gives_up_and_says_none(self) -> None:
        rng = np.random.default_rng(0)
        assert stats.seeds_needed([-INF] * 8, [INF] * 8, 0.3, 2, rng) is None
        assert stats.seeds_needed([1.0] * 8, [1.0] * 8, 0.3, 2, rng, max_seeds=8) is None

    def test_seeds_needed_is_at_least_what_can_decide(self) -> None:
        rng = np.random.default_rng(0)
        assert stats.seeds_needed([1.0] * 3, [1.0] * 3, 0.3, 2, rng) == 6
        assert stats.seeds_needed([0.0] * 3, [0.1] * 3, 0.3, 2, rng) == 6  # a refutation settles it too


class TestSurvival:
    def test_freireich_leukaemia(self) -> None:
        # R 4.2.2: library(survival); summary(survfit(Surv(t, d) ~ 1, conf.type = "log-log"))
        curve = stats.kaplan_meier(REMISSION, RELAPSE)
        events = np.isin(curve.times, [6, 7, 10, 13, 16, 22, 23])
        survival = [0.8571429, 0.8067227, 0.7529412, 0.6901961, 0.6274510, 0.5378151, 0.4481793]
        low = [0.6197180, 0.5631466, 0.5031995, 0.4316102, 0.3675109, 0.2677789, 0.1880520]
        high = [0.9515517, 0.9228090, 0.8893618, 0.8490660, 0.8049122, 0.7467907, 0.6801426]
        assert_allclose(curve.survival[events], survival, atol=1e-6)
        assert_allclose(curve.low[events], low, atol=1e-6)
        assert_allclose(curve.high[events], high, atol=1e-6)
        assert (curve.times[0], curve.survival[0]) == (0.0, 1.0)

    def test_nobody_arrives_everybody_arrives_one_run(self) -> None:
        assert_array_equal(stats.kaplan_meier([200, 200], [False, False]).survival, [1, 1])
        assert_array_equal(stats.kaplan_meier([50, 50], [True, True]).survival, [1, 0])
        assert np.isnan(stats.kaplan_meier([50], [True]).low).all()

    def test_refuses_infinite_times(self) -> None:
        with pytest.raises(ValueError, match="finite"):
            stats.kaplan_meier([1.0, INF], [True, False])

    def test_restricted_mean_is_the_area_under_the_curve(self) -> None:
        times, horizon = np.array([40.0, 60, 60, 150, INF, INF]), 200.0
        curve = stats.kaplan_meier(np.minimum(times, horizon), times <= horizon)
        area = np.sum(curve.survival * np.diff(np.append(curve.times, horizon)))
        assert_allclose(stats.restricted_mean(times, horizon), area)

    def test_restricted_mean_difference_is_paired(self) -> None:
        reference = np.array([100.0, 150, 180, INF])
        found = stats.restricted_mean_difference(reference - 20, reference, 200, np.random.default_rng(0))
        assert found.value == -15.0  # the censored pair differs by nothing: both count as 200
        assert -20 <= found.low <= found.value <= found.high <= 0


class TestDescriptive:
    def test_iqm(self) -> None:
        # R 4.2.2: mean(c(1, 2, 3, 4, 5, 6, 7, 100), trim = 0.25) = 4.5
        assert stats.iqm([1, 2, 3, 4, 5, 6, 7, 100]) == 4.5

    @pytest.mark.parametrize("n", range(1, 14))
    def test_iqm_is_the_mean_of_the_middle_half_by_weight(self, n: int) -> None:
        """By integrating the scores' step function over its middle half, which is the definition."""
        scores = np.sort(np.random.default_rng(n).exponential(size=n))
        edges = np.arange(n + 1) / n
        weights = np.clip(edges[1:], 0.25, 0.75) - np.clip(edges[:-1], 0.25, 0.75)
        assert stats.iqm(scores[::-1]) == pytest.approx(weights @ scores / 0.5)
        assert stats.iqm(np.stack([scores, scores + 1]), axis=1) == pytest.approx(
            [weights @ scores / 0.5, weights @ scores / 0.5 + 1]
        )

    def test_bootstrap_of_two_values_has_a_closed_form(self) -> None:
        # Means of resamples of {0, 1}: 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
        found = stats.bootstrap_interval([0.0, 1.0], np.random.default_rng(0), confidence=0.6)
        assert (found.value, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 2)
        found = stats.bootstrap_interval([0.0, 1.0], np.random.default_rng(0), confidence=0.4)
        assert (found.low, found.high) == (0.5, 0.5)

    def test_bootstrap_covers(self) -> None:
        rng = np.random.default_rng(0)
        found = [stats.bootstrap_interval(rng.normal(size=30), rng) for _ in range(60)]
        covered = sum(interval.low <= 0 <= interval.high for interval in found)
        assert 50 <= covered < 60

    def test_one_seed_has_no_interval_and_the_generator_decides(self) -> None:
        single = stats.bootstrap_band(np.ones((1, 3)), np.random.default_rng(0))
        assert_array_equal(single.value, np.ones(3))
        assert np.isnan(single.low).all()
        curves = np.random.default_rng(1).normal(size=(6, 4))
        bands = [stats.bootstrap_band(curves, np.random.default_rng(seed)).low for seed in (2, 2, 3)]
        assert_array_equal(bands[0], bands[1])
        assert not np.array_equal(bands[0], bands[2])

    def test_band_is_undefined_only_where_a_seed_has_no_value(self) -> None:
        curves = np.array([[np.nan, 1.0, INF], [np.nan, 3.0, 2.0]])
        band = stats.bootstrap_band(curves, np.random.default_rng(0), statistic=np.median)
        assert_array_equal(band.value, [np.nan, 2.0, np.nan])
        assert_array_equal(np.isnan(band.low), [True, False, True])

    def test_probability_of_improvement(self) -> None:
        rng = np.random.default_rng(0)
        found = stats.probability_of_improvement([1, 2, 3, INF], [0, 2, 5, INF], rng)
        assert found.value == (1 + 0.5 + 0 + 0.5) / 4
        assert found.low < 0.5 < found.high
        all_wins = stats.probability_of_improvement([1, 1], [0, 0], rng)
        assert (all_wins.low, all_wins.high) == (1.0, 1.0)
        with pytest.raises(ValueError, match="pairs"):
            stats.probability_of_improvement([1], [0, 0], rng)

    def test_performance_profile_is_the_empirical_survival_function(self) -> None:
        scores = np.random.default_rng(0).random((4, 8))
        thresholds = np.linspace(-0.1, 1.1, 7)
        profile = stats.performance_profile(scores, thresholds)
        assert (profile[0], profile[-1]) == (1.0, 0.0)
        expected = [1 - np.searchsorted(np.sort(scores.ravel()), t, side="right") / 32 for t in thresholds]
        assert_allclose(profile, expected)


def spread_out(num_occasions):
    """Three contestants, each clearly better than the next on every occasion."""
    return np.array([[3.0], [2.0], [1.0]]) + np.linspace(0, 0.05, num_occasions) * [[0], [1], [3]]


def test_rank_intervals_count_significant_wins_and_losses():
    undecided = stats.rank_intervals(spread_out(5), RNG)  # the least two-sided p of five is 2^-4
    assert undecided.best.tolist() == [1, 1, 1]
    assert undecided.worst.tolist() == [3, 3, 3]
    decided = stats.rank_intervals(spread_out(6), RNG)
    assert decided.best.tolist() == [1, 2, 3]
    assert decided.worst.tolist() == [1, 2, 3]
    assert decided.pvalues[0, 1] == decided.pvalues[1, 0] == 2 / 64
    assert stats.min_seeds_to_rank() == 6


def test_rank_intervals_of_two_are_the_sign_flip_test():
    """SciPy's permutation test of a mean, all sign patterns."""
    for n in (6, 9):
        scores = np.random.default_rng(n).normal([[0.6], [0.0]], size=(2, n))
        oracle = permutation_test(
            (scores[0] - scores[1],), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert stats.rank_intervals(scores, RNG).pvalues[0, 1] == pytest.approx(oracle.pvalue)


def test_rank_intervals_step_down_on_the_greatest_statistic():
    """By the definition, every sign pattern and every subset written out; statistics are paired t."""
    scores = np.random.default_rng(3).normal([[0], [0.5], [1.5], [3]], size=(4, 7))
    pairs = list(itertools.combinations(range(4), 2))

    def statistics(signs):
        return [abs(ttest_1samp(signs * (scores[a] - scores[b]), 0).statistic) for a, b in pairs]

    under_flips = np.array([statistics(signs) for signs in itertools.product([1, -1], repeat=7)])
    observed = under_flips[0]
    found = stats.rank_intervals(scores, RNG).pvalues
    least = 0.0
    for k in np.argsort(-observed):
        left = observed <= observed[k] + 1e-9  # itself and those not yet decided
        p = np.mean(under_flips[:, left].max(axis=1) >= observed[k] - 1e-9)
        least = max(least, p)
        assert found[pairs[k]] == pytest.approx(least)
    assert 0 < found[0, 3] < 0.05 < found[0, 1]


def test_rank_intervals_of_many_occasions_draw_their_patterns():
    scores = np.random.default_rng(4).normal([[0.7], [0.0]], size=(2, 13))
    oracle = permutation_test(
        (scores[0] - scores[1],), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    found = stats.rank_intervals(scores, np.random.default_rng(0)).pvalues[0, 1]
    assert found == pytest.approx(oracle.pvalue, abs=4 * np.sqrt(oracle.pvalue / 2**11))
    assert found > 0


def test_rank_intervals_of_a_tie_span_both_places():
    noise = np.random.default_rng(0).normal(size=10)
    ranks = stats.rank_intervals(np.stack([5 + noise, 5 - noise, np.zeros(10)]), RNG)
    assert ranks.best.tolist() == [1, 1, 3]
    assert ranks.worst.tolist() == [2, 2, 3]
    assert ranks.better.tolist() == [[False, False, True], [False, False, True], [False] * 3]
    equals = stats.rank_intervals(np.ones((3, 8)), RNG)
    assert (equals.pvalues[~np.eye(3, dtype=bool)] == 1).all()


def test_rank_intervals_use_the_occasions_that_a_pair_shares():
    scores = np.ones((2, 12))
    scores[0] += 1 + np.linspace(0, 0.1, 12)
    scores[0, :6] = np.nan
    assert stats.rank_intervals(scores, RNG).pvalues[0, 1] == 2 / 64
    scores[1, 6:] = np.nan
    assert stats.rank_intervals(scores, RNG).best.tolist() == [1, 1]
    assert stats.rank_intervals(np.empty((0, 0)), RNG).best.size == 0
    assert stats.rank_intervals(np.empty((1, 0)), RNG).worst.tolist() == [1]


@pytest.mark.parametrize("shape", ["normal", "exponential", "lattice"])
def test_rank_intervals_hold_all_true_ranks_as_often_as_promised(shape):
    rng = np.random.default_rng(1)
    draw = {
        "normal": rng.normal,
        "exponential": rng.exponential,
        "lattice": lambda size: rng.integers(0, 4, size=size) / 2,  # as accuracies are
    }[shape]
    truth = np.array([0.0, 0.0, 0.0, 1.5])  # true ranks: one is better than three equals
    missed = 0
    for _ in range(400):
        ranks = stats.rank_intervals(truth[:, None] + draw(size=(4, 8)) + rng.normal(size=8), rng)
        missed += bool((ranks.best > [2, 2, 2, 1]).any() or (ranks.worst < [2, 2, 2, 1]).any())
    assert missed <= 33  # 5% of 400, and three standard deviations
