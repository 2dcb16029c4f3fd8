"""Difference, agreement and rank correlation of maps against computations of their own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from CAMOverlayLib.contract.comparison import distinct, one_kind
from CAMOverlayLib.contract.errors import ComparisonError
from CAMOverlayLib.reading import comparison


@pytest.fixture
def maps():
    random = np.random.default_rng(3)
    first = random.random((9, 8, 7)).astype(np.float32)
    second = (0.6 * first + 0.4 * random.random(first.shape)).astype(np.float32)
    third = np.zeros_like(first)
    third[2:4, 2:4, 2:4] = 0.5  # fewer voxels with heat than a tenth
    return [np.asfortranarray(one) for one in (first, second, third)]


@pytest.fixture
def seen():
    mask = np.ones((9, 8, 7), bool)
    mask[:2] = mask[:, :, 5:] = False
    return mask


def hottestOf(heat, seen, share):
    """The same by sorting: the hottest voxels of those that were seen, ties of the last one too, and no dark ones."""
    inside = sorted((float(heat[i]) for i in zip(*np.nonzero(seen))), reverse=True)
    wanted = int(np.ceil(share * len(inside) - 1e-9))
    level = inside[wanted - 1]
    return np.array([[[bool(s and h >= level and h > 0) for h, s in zip(a, b)] for a, b in zip(x, y)]
                     for x, y in zip(heat, seen)])  # fmt: skip


def test_agreement_counts_the_hottest_voxels_of_what_was_seen(maps, seen):
    found = comparison.agreement(maps, ["a", "b", "c"], seen, 0.15)
    hot = [hottestOf(heat, seen, 0.15) for heat in maps]
    np.testing.assert_array_equal(found.counts, np.sum(hot, axis=0))
    total = seen.sum()
    assert found.counts.dtype == np.uint8 and not found.counts[~seen].any()
    np.testing.assert_allclose(found.figures.reached, [one.sum() / total for one in hot])
    np.testing.assert_allclose(
        found.figures.counts, [(found.counts[seen] == n).sum() / total for n in range(4)], atol=1e-12
    )
    assert found.figures.in_all == found.figures.counts[-1]
    assert found.figures.by_chance == pytest.approx(np.prod([one.sum() / total for one in hot]))
    for pair, (one, other) in zip(found.figures.pairs, [(0, 1), (0, 2), (1, 2)], strict=True):
        expected = spearmanr(maps[one][seen], maps[other][seen]).statistic
        assert pair.correlation == pytest.approx(expected, abs=1e-12)
        both = (hot[one] & hot[other]).sum()
        assert pair.overlap == pytest.approx(2 * both / (hot[one].sum() + hot[other].sum()))
    assert found.figures.reached[2] < 0.15  # nothing dark is called hot


def test_the_figures_come_back_from_json(maps):
    figures = comparison.agreement(maps, ["a", "b", "c"]).figures
    assert comparison.AgreementFigures.from_json(figures.to_json()) == figures


def test_a_map_that_is_the_same_everywhere_has_no_rank_correlation(maps):
    flat = np.full_like(maps[0], 0.25)
    assert comparison.rank_correlation(maps[0], flat) is None
    found = comparison.agreement([maps[0], np.zeros_like(flat)], ["a", "dark"])
    assert found.figures.pairs[0].correlation is None and found.figures.pairs[0].overlap == 0
    assert found.figures.in_all == 0 and found.figures.reached[1] == 0


def test_of_many_voxels_a_sample_is_ranked(monkeypatch):
    random = np.random.default_rng(0)
    first = random.random((40, 40, 40))
    second = first + 0.5 * random.random(first.shape)
    exact = spearmanr(first.ravel(), second.ravel()).statistic
    monkeypatch.setattr(comparison, "MOST_RANKED", 8000)
    assert comparison.rank_correlation(first, second) == pytest.approx(exact, abs=0.01)


def test_difference_is_by_heat_or_by_magnitude(maps):
    np.testing.assert_array_equal(comparison.difference(maps[0], maps[1]), maps[0] - maps[1])
    raw = comparison.difference(maps[0], maps[1], (0.02, 0.5))
    np.testing.assert_allclose(raw, 0.02 * maps[0].astype(float) - 0.5 * maps[1].astype(float), atol=1e-7)
    assert raw.dtype == np.float32


def test_what_cannot_be_compared_is_refused_with_what_was_found(maps, seen):
    with pytest.raises(ComparisonError, match="9 × 8 × 7 and 9 × 8 × 8"):
        comparison.difference(maps[0], np.zeros((9, 8, 8)))
    with pytest.raises(ComparisonError, match="at least two maps; there is 1"):
        comparison.agreement(maps[:1], ["a"])
    with pytest.raises(ComparisonError, match="hottest share is 0"):
        comparison.agreement(maps, ["a", "b", "c"], seen, 0.0)
    with pytest.raises(ComparisonError, match="No voxel was seen"):
        comparison.agreement(maps, ["a", "b", "c"], np.zeros_like(seen))
    with pytest.raises(ComparisonError, match="One thing at a time"):
        one_kind({"methods": ["a", "b"], "layers": ["c", "d"]})
    with pytest.raises(ComparisonError, match="needs"):
        one_kind({"methods": ["a"]})
    with pytest.raises(ComparisonError, match="'a' twice"):
        one_kind({"methods": ["a", "a"]})
    with pytest.raises(ComparisonError, match="not a list"):
        one_kind({"methods": "gradcam"})
    assert distinct(["a", "a", "a (2)"]) == ("a", "a (2)", "a (2) (2)")
