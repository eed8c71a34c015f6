"""Selectors against plain loops and cases worked out by hand, and their records."""

import inspect
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semiprune_jax.select import selectors
from semiprune_jax.select.selectors import ranks
from tests.oracles import selection as oracle

STRATA = 5
# Selectors that read scores and classes only; tests of those that read embeddings follow below.
BY_SCORE = [name for name in selectors.SELECTORS if "features" not in selectors.SELECTORS[name].reads]
MAGNITUDES = st.sampled_from([0.0, 5e-324, 1e-310, 1e-300, 1.0, 1e300]) | st.floats(0, 1)


def run(name, score, keep, cutoff=0.0, **extra):
    """Runs any selector on the same inputs; beta, which takes no negative scores, gets magnitudes."""
    defaults = {field: value.default for field, value in selectors.settings().items()}
    arguments = defaults | {
        "n": len(score),
        "score": np.abs(score) if name == "beta" else score,
        "keep": keep,
        "cutoff": cutoff,
        "c_d": 4.0,
        "mean_probability": np.linspace(0.05, 0.95, len(score)),
        "seed": 0,
        "strata": STRATA,
        "classes": np.arange(len(score)) % 3,
        "tiebreak": None,
        "noise": None,
        **extra,
    }
    return selectors.SELECTORS[name].select(arguments)


@st.composite
def pools(draw):
    """Scores, often tied and sometimes extreme, with a keep and a cutoff that every selector accepts."""
    n = draw(st.integers(1, 40))
    values = [0.0, 1.0, *draw(st.lists(MAGNITUDES, max_size=5))]
    score = draw(st.lists(st.sampled_from(values + [-v for v in values]), min_size=n, max_size=n))
    keep = draw(st.floats(1 / n, 1) | st.just(1.0))
    return np.array(score), keep, draw(st.floats(0, 1 - keep) | st.just(1 - keep))


def test_coreset_size():
    assert selectors.coreset_size(50_000, 0.1) == 5_000
    assert selectors.coreset_size(50_000, 1 - 0.9) == 5_000  # without rounding, binary fractions would lose one
    assert selectors.coreset_size(10, 0.39) == 3
    assert selectors.coreset_size(7, 1.0) == 7


def test_double_end_by_hand():
    aum = np.arange(10.0)
    np.testing.assert_array_equal(selectors.double_end(aum, 0.3, 0.2), [2, 3, 4])
    np.testing.assert_array_equal(selectors.double_end(aum, 0.3, 0.7), [7, 8, 9])  # cutoff + keep = 1


@given(pools())
@settings(deadline=None)
def test_top_and_double_end_against_loops(pool):
    score, keep, cutoff = pool
    for tiebreak in (None, np.arange(len(score))):
        assert selectors.top(score, keep, tiebreak).tolist() == oracle.top(score, keep)
        kept = selectors.double_end(score, keep, cutoff, tiebreak)
        assert kept.tolist() == oracle.double_end(score, keep, cutoff)


@given(pools(), st.data())
@settings(deadline=None)
def test_balanced_selections_against_loops(pool, data):
    score, keep, _ = pool
    n = len(score)
    classes = data.draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
    noise = (np.array(data.draw(st.permutations(range(n)))) + 0.5) / n
    got = selectors.balanced_top(score, np.array(classes), keep)
    assert got.tolist() == oracle.balanced((-score).tolist(), classes, keep)
    assert selectors.balanced_random(np.array(classes), keep, noise=noise).tolist() == oracle.balanced(
        noise.tolist(), classes, keep
    )


def test_class_sizes_by_hand():
    """The shares of 10, 6 and 4 in 7 are 3.5, 2.1 and 1.4, so the first class gets the last seat."""
    assert oracle.class_sizes([10, 6, 4], 7) == [4, 2, 1]
    kept = selectors.balanced_random(np.repeat([0, 1, 2], [10, 6, 4]), 7 / 20)
    assert np.bincount(np.repeat([0, 1, 2], [10, 6, 4])[kept]).tolist() == [4, 2, 1]


@pytest.mark.parametrize("name", BY_SCORE)
@given(pools(), st.floats(0, 1), st.integers(1, 60))
@settings(deadline=None, max_examples=50)
def test_every_selector_keeps_exactly_its_size(name, pool, probability, strata):
    score, keep, cutoff = pool
    kept = run(name, score, keep, cutoff, strata=strata, mean_probability=np.full(len(score), probability))
    assert kept.dtype == np.int64
    assert len(kept) == oracle.size(len(score), keep)
    assert np.all(np.diff(kept) > 0)
    assert kept.min() >= 0
    assert kept.max() < len(score)


@pytest.mark.parametrize("name", BY_SCORE)
def test_one_example_and_equal_scores(name):
    for value in (0.0, 1e300):
        assert run(name, np.array([value]), 1.0).tolist() == [0]
        assert run(name, np.full(7, value), 1.0).tolist() == list(range(7))
        assert len(run(name, np.full(20, value), 0.5, 0.2)) == 10


@pytest.mark.parametrize("name", ["double_end", "stratified"])
@given(st.lists(st.integers(-3, 3) | MAGNITUDES, min_size=1, max_size=40), st.data())
@settings(deadline=None, max_examples=50)
def test_cutoff_and_keep_of_1_together_keep_the_whole_top_end(name, score, data):
    n = len(score)
    size = data.draw(st.integers(1, n))
    kept = run(name, np.array(score, float), size / n, 1 - size / n)
    assert sorted(score[i] for i in kept) == sorted(score)[n - size :]


@pytest.mark.parametrize("name", BY_SCORE)
@given(pools(), st.data())
@settings(deadline=None)
def test_ties_and_draws_follow_the_example_not_its_position(name, pool, data):
    score, keep, cutoff = pool
    n = len(score)
    tiebreak, noise, order = (np.array(data.draw(st.permutations(range(n)))) for _ in range(3))
    each = {"tiebreak": tiebreak, "noise": (noise + 0.5) / n, "mean_probability": tiebreak / n, "classes": noise % 3}
    kept = run(name, score, keep, cutoff, **each)
    moved = run(name, score[order], keep, cutoff, **{key: value[order] for key, value in each.items()})
    assert sorted(order[moved]) == kept.tolist()


def test_beta_parameters_by_hand():
    a, b = selectors.beta_parameters(0.4, 0.3, 4.0)
    assert (a, b) == (pytest.approx(9.1609), pytest.approx(6.8391))
    a, b = selectors.beta_parameters(0.4, 0.1, 4.0)
    assert (a, b) == (pytest.approx(12.9049), pytest.approx(3.0951))
    a, b = selectors.beta_parameters(0.4, 0.3, 4.0, form="paper")
    assert (a, b) == (pytest.approx(8.1609), pytest.approx(6.8391))


@pytest.mark.parametrize(("form", "extra"), [("code", 1.0), ("paper", 0.0)])
def test_beta_draws_as_often_as_sequential_draws_would(form, extra):
    rng = np.random.default_rng(0)
    score, q = rng.random(15), rng.uniform(0.05, 0.95, 15)
    weights = oracle.beta_weights(score, q, 0.4, 4.0, 15.0, extra)
    trials = 4000
    ours, theirs = np.zeros(15), np.zeros(15)
    for seed in range(trials):
        ours[selectors.beta(score, q, 0.4, 4.0, seed=seed, form=form)] += 1
        theirs[oracle.sequential_draw(weights, 6, rng)] += 1
    # Two binomial frequencies of 4,000 trials differ by more than 0.045 once in ten thousand.
    np.testing.assert_allclose(ours / trials, theirs / trials, atol=0.045)


def test_beta_is_a_race_of_the_weights(rng):
    for _ in range(50):
        score, q, noise = rng.integers(1, 4, 30), rng.uniform(0.05, 0.95, 30), rng.random(30)
        order = np.argsort(noise)  # breaks ties in the score
        weights = oracle.beta_weights(score[order], q[order], 0.4, 4.0, 15.0, 1.0)
        arrived = order[np.argsort(-np.log(noise[order]) / weights)]
        assert selectors.beta(score, q, 0.4, 4.0, noise=noise).tolist() == sorted(arrived[:12])


def test_beta_survives_weights_below_the_smallest_double():
    score = np.full(500, 1e-30)
    kept = selectors.beta(score, np.full(500, 1e-9), 0.9, 4.0)
    assert len(kept) == 450
    assert selectors.beta(np.r_[score, 0.0], np.full(501, 0.5), 0.99, 4.0).max() < 500  # a score of 0 comes last


def test_without_weights_the_noise_decides_alone(rng):
    q, noise = rng.random(50), rng.random(50)
    np.testing.assert_array_equal(
        selectors.beta(np.zeros(50), q, 0.5, 4.0, noise=noise), selectors.random(50, 0.5, noise=noise)
    )


@given(st.lists(st.integers(0, STRATA), max_size=40), st.data())
@settings(deadline=None)
def test_stratified_spreads_the_budget(score, data):
    score = np.array([0, STRATA, *score])  # strata of width 1, the last one closed
    size = data.draw(st.integers(1, len(score)))
    kept = selectors.stratified(score, size / len(score), 0.0, strata=STRATA)
    stratum = np.minimum(score, STRATA - 1)
    sizes = oracle.stratum_sizes(np.bincount(stratum, minlength=STRATA).tolist(), size)
    assert np.bincount(stratum[kept], minlength=STRATA).tolist() == [sizes[s] for s in range(STRATA)]


def test_stratum_sizes_by_hand():
    """Strata of 0, 1, 5 and 10 examples and a budget of 8."""
    assert list(oracle.stratum_sizes([0, 1, 5, 10], 8).values()) == [0, 1, 3, 4]
    score = np.r_[0.0, np.full(5, 1.0), np.full(9, 3.9), 4.0]  # four strata of width 1: 1, 5, 0 and 10
    kept = selectors.stratified(score, 8 / 16, 0.0, strata=4)
    assert [int(np.sum(np.floor(score[kept]).clip(max=3) == s)) for s in range(4)] == [1, 3, 0, 4]


def test_stratified_drops_the_hardest_first():
    assert selectors.stratified(np.arange(100.0), 0.3, 0.5, strata=10).min() >= 50


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: selectors.random(10, 0.3, int(rng.integers(2**31))),
        lambda rng: selectors.stratified(np.arange(10.0), 0.3, 0.0, noise=rng.random(10), strata=1),
    ],
    ids=["random", "stratum"],
)
def test_draws_are_uniform(draw, rng):
    counts = np.zeros(10)
    for _ in range(2000):
        counts[draw(rng)] += 1
    np.testing.assert_allclose(counts / 2000, 0.3, atol=0.05)


def test_the_seed_decides_the_draw():
    np.testing.assert_array_equal(selectors.random(100, 0.5, 3), selectors.random(100, 0.5, 3))
    assert selectors.random(100, 0.5, 3).tolist() != selectors.random(100, 0.5, 4).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selectors.top(np.ones(5), 0.0), "keep = 0.0 is not in"),
        (lambda: selectors.top(np.ones(5), 1.5), "keep = 1.5 is not in"),
        (lambda: selectors.top(np.ones(5), 0.1), "keeps none"),
        (lambda: selectors.top(np.array([1.0, np.nan]), 0.5), "1 of 2 scores are not finite"),
        (lambda: selectors.top(np.ones((2, 2)), 0.5), r"shape \(2, 2\)"),
        (lambda: selectors.top(np.ones(5), 0.5, np.ones(4)), "tiebreak has shape"),
        (lambda: selectors.double_end(np.ones(10), 0.5, 0.6), "lower the cutoff to at most 0.5"),
        (lambda: selectors.double_end(np.ones(10), 0.5, -0.1), "cutoff = -0.1"),
        (
            lambda: selectors.double_end(np.ones(10), 0.3, 0.71),
            "lower the cutoff to at most 0.7 or",
        ),  # floors add to 10
        (lambda: selectors.beta(np.ones(5), np.ones(4), 0.5, 4.0), "both must be"),
        (lambda: selectors.beta(-np.ones(5), np.ones(5), 0.5, 4.0), "must not be negative"),
        (lambda: selectors.beta(np.ones(5), np.ones(5), 0.5, 0.0), "must both be positive"),
        (lambda: selectors.beta(np.ones(5), np.ones(5), 0.5, 4.0, form="x"), "neither 'code'"),
        (lambda: selectors.stratified(np.ones(5), 0.5, 0.0, strata=0), "strata = 0"),
        (lambda: selectors.random(5, 0.5, noise=np.ones(4)), "noise has shape"),
        (lambda: selectors.balanced_top(np.ones(5), np.ones(4), 0.5), r"score has shape \(5,\) but classes \(4,\)"),
        (lambda: selectors.moderate(np.ones(5), np.ones(5), 0.5), r"embeddings have shape \(5,\)"),
        (lambda: selectors.d2(np.ones(5), np.ones((5, 2)), 0.5, neighbours=5), "k = 5 neighbours of 5 examples"),
        (lambda: selectors.prototypicality(np.ones((5, 2)), 0.5, clusters=6), "k = 6 clusters of 5"),
        (lambda: selectors.balanced_random(np.ones((2, 2)), 0.5), r"classes have shape \(2, 2\)"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("selector", selectors.SELECTORS.values(), ids=selectors.SELECTORS)
def test_a_record_declares_every_argument_of_its_functions(selector):
    """An argument that a record forgot would silently keep the function's default."""
    assert selectors.SELECTORS[selector.name] is selector
    assert set(selector.reads) <= set(get_args(selectors.Read))
    shared = {selector.shared.argument} if selector.shared else set()
    declared = {"keep", *selector.reads, *selector.settings}
    assert set(inspect.signature(selector.function).parameters) == declared | shared
    if selector.shared:
        assert set(inspect.signature(selector.shared.make).parameters) == set(selector.shared.reads)
        assert set(selector.shared.reads) <= declared


def test_selectors_agree_on_the_settings_that_they_share():
    """A config has one field for each name; its help says what each reader does with it."""
    for selector in selectors.SELECTORS.values():
        for name, field in selector.fields().items():
            shared = selectors.settings()[name]
            assert (field.rule, field.element) == (shared.rule, shared.element), name
            assert type(field.default) is type(shared.default), name
            assert field.help in shared.help
            assert selector.name in shared.help


def test_settings_of_each_kept_fraction():
    double_end, spec = selectors.SELECTORS["double_end"], {"cutoff": (0.1, 0.4)}
    assert [double_end.at(spec, (0.5, 0.3), keep) for keep in (0.5, 0.3)] == [{"cutoff": 0.1}, {"cutoff": 0.4}]
    assert double_end.at({"cutoff": [0.2]}, (0.5, 0.3), 0.3) == {"cutoff": 0.2}
    assert selectors.SELECTORS["top"].at(spec, (0.5, 0.3), 0.3) == {}


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        ("double_end", {"cutoff": (0.1, 0.4)}, []),
        ("double_end", {"cutoff": (0.5,)}, []),
        ("stratified", {"cutoff": (0.1, 0.2, 0.3)}, ["1 cutoff, or 2, one for each of select.keep = (0.5, 0.3)"]),
        ("d2", {"cutoff": (0.6, 0.7)}, ["0 .. 0.5 at keep = 0.5, so that cutoff + keep <= 1"]),
        ("double_end", {"cutoff": (-0.1,)}, ["0 .. 0.5 at keep = 0.5", "0 .. 0.7 at keep = 0.3"]),
        ("beta", {"score": "dual"}, []),
        ("beta", {"score": "aum"}, ["a score that is never negative, such as dual"]),
        ("top", {"score": "aum"}, []),
    ],
)
def test_settings_that_do_not_fit_together(name, spec, expected):
    found = list(selectors.SELECTORS[name].problems(spec, (0.5, 0.3)))
    assert len(found) == len(expected)
    for (field, told), start in zip(found, expected, strict=True):
        assert field in spec
        assert told.startswith(start)


def moderate_by_loop(features, classes, keep):
    away = []
    for x, c in zip(features, classes, strict=True):
        own = [y for y, d in zip(features, classes, strict=True) if d == c]
        away.append(float(np.linalg.norm(x - np.median(own, axis=0))))
    order = sorted(range(len(away)), key=lambda i: (away[i], i))
    first = round(len(away) * (0.5 - keep / 2))
    return sorted(order[first : first + oracle.size(len(away), keep)])


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.5, 0.9])
def test_moderate(rng, keep):
    features, classes = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    assert selectors.moderate(features, classes, keep).tolist() == moderate_by_loop(features, classes, keep)
    assert selectors.moderate(features, classes, 1.0).tolist() == list(range(40))


def test_prototypicality_keeps_the_far_ones(rng):
    """The plain selector keeps only the wider of two clouds; the balanced selector keeps both."""
    which = np.arange(80) % 2
    features = rng.normal(size=(80, 2)) * np.where(which, 5.0, 0.1)[:, None] + 100 * which[:, None]
    plain = selectors.prototypicality(features, 0.25, clusters=2)
    assert set(which[plain].tolist()) == {1}
    wide = np.flatnonzero(which)
    away = np.linalg.norm(features[wide] - features[wide].mean(0), axis=1)
    assert plain.tolist() == sorted(wide[np.argsort(-away)[:20]])
    balanced = selectors.prototypicality(features, 0.25, clusters=2, balanced=True)
    assert np.bincount(which[balanced]).tolist() == [10, 10]


def test_k_centre_covers(rng):
    features = np.r_[rng.normal(size=(30, 2)), rng.normal(size=(2, 2)) + 50]
    for seed in range(3):
        assert set(selectors.k_centre(features, 3 / 32, seed).tolist()) & {30, 31}
    noise = np.linspace(0.1, 0.9, 32)
    assert 0 in selectors.k_centre(features, 3 / 32, noise=noise)  # begins with the smallest


def test_d2_leaves_out_the_hardest_before_its_graph(rng):
    score, features, easiness = rng.random(40), rng.normal(size=(40, 3)).astype(np.float32), rng.permutation(40)
    kept = selectors.d2(score, features, 0.3, neighbours=3, cutoff=0.25, easiness=easiness)
    rest = np.flatnonzero(easiness >= 10)
    # The other examples are a pool of their own and find their neighbours in it.
    alone = selectors.d2(score[rest], features[rest], 12 / 30, neighbours=3)
    np.testing.assert_array_equal(kept, rest[alone])
    assert not np.array_equal(kept, selectors.d2(score, features, 0.3, neighbours=3))
    with pytest.raises(ValueError, match="leaves out the lowest easiness, which is not given"):
        selectors.d2(score, features, 0.3, neighbours=3, cutoff=0.25)
    with pytest.raises(ValueError, match=r"lower the cutoff to at most 0\.7"):
        selectors.d2(score, features, 0.3, neighbours=3, cutoff=0.8, easiness=easiness)


def test_d2_takes_scores_of_any_sign(rng):
    features, score = rng.normal(size=(30, 2)), rng.normal(size=30)
    kept = selectors.d2(score, features, 0.3, neighbours=3)
    assert len(kept) == 9
    np.testing.assert_array_equal(kept, selectors.d2(score - score.min(), features, 0.3, neighbours=3))
    far = 1e4 * rng.normal(size=(30, 2))  # no example gets a message from another
    np.testing.assert_array_equal(selectors.d2(score, far, 0.3, neighbours=3, gamma=1.0), selectors.top(score, 0.3))


def test_badge_keeps_its_size(rng):
    p, features = rng.dirichlet(np.ones(3), 20), rng.normal(size=(20, 4))
    kept = selectors.badge(p, features, 0.3, seed=1)
    assert len(set(kept.tolist())) == 6
    np.testing.assert_array_equal(kept, selectors.badge(p, features, 0.3, seed=1))


def periodic(n):
    """Every 64th value differs from all others, and a sample of a million sees only these."""
    values = np.linspace(0, 1, n)
    values[::64] = -1
    return values


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).random(100_000, np.float32),
        np.random.default_rng(0).integers(0, 5, 100_000) / 4,
        np.arange(100_000.0)[::-1],
        np.zeros(100_000),
        np.r_[np.zeros(50_000), np.ones(50_000)],
        np.r_[np.full(99_990, -np.inf), np.arange(10.0)],
        periodic(1 << 20),
    ],
    ids=["random", "ties", "falling", "equal", "two values", "infinite", "periodic"],
)
def test_the_smallest_of_many_are_those_of_a_sort(values, rng):
    """Ranks are found from a sample, which may mislead."""
    tiebreak = rng.permutation(len(values))
    order = np.lexsort((tiebreak, values))
    for size in (0, 1, 17, len(values) // 3, len(values) // 2, len(values) - 1, len(values)):
        chosen = ranks.smallest(values, size, tiebreak)
        np.testing.assert_array_equal(np.flatnonzero(chosen), np.sort(order[:size]), err_msg=str(size))


def test_without_a_tiebreak_the_first_of_equals_are_taken():
    assert np.flatnonzero(ranks.smallest(np.array([1.0, 0, 1, 1, 0]), 3)).tolist() == [0, 1, 4]


def test_single_precision_is_kept(rng):
    """Scores are not copied into doubles, which large pools could not afford; the choice is the same."""
    score = rng.random(5_000, np.float32)
    assert ranks.checked_score(score) is score
    for name in BY_SCORE:
        np.testing.assert_array_equal(run(name, score, 0.3, 0.1), run(name, score.astype(np.float64), 0.3, 0.1))
