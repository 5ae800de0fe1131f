"""Properties that any fit must have, whatever the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.specification import ModelSpecification

MODELS = ["common_effect", "random_effects", "rve"]


@st.composite
def studies(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=4, max_size=12))
    k = sum(sizes)
    number = st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 3))
    y = draw(st.lists(number, min_size=k, max_size=k))
    n = draw(st.lists(st.integers(5, 500), min_size=k, max_size=k))
    return np.array(y), 1 / (np.array(n) - 3.0), np.repeat(np.arange(len(sizes)), sizes)


def fit(y, v, clusters, model, inference=None):
    spec = ModelSpecification(model=model, inference=inference, metric="r")
    return fit_pooled(y, v, np.ones((len(y), 1)), clusters, spec.resolve(dependent=True))


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=40, deadline=None)
@given(data=studies(), shift=st.floats(-2, 2), scale=st.floats(0.1, 10))
def test_fits_are_equivariant(model, data, shift, scale):
    y, v, clusters = data
    one = fit(y, v, clusters, model).contrast(np.ones(1))
    two = fit(scale * y + shift, scale**2 * v, clusters, model).contrast(np.ones(1))
    # the likelihood search of tau² bounds the agreement
    assert two.value == pytest.approx(scale * one.value + shift, abs=1e-5 * scale)
    assert two.se == pytest.approx(scale * one.se, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=40, deadline=None)
@given(data=studies())
def test_mean_lies_within_the_effects_and_the_interval(model, data):
    y, v, clusters = data
    fitted = fit(y, v, clusters, model)
    estimate = fitted.contrast(np.ones(1))
    assert y.min() - 1e-9 <= estimate.value <= y.max() + 1e-9
    assert fitted.tau2 >= 0
    if np.isfinite(estimate.ci_low):
        assert estimate.ci_low <= estimate.value <= estimate.ci_high


@settings(max_examples=40, deadline=None)
@given(data=studies())
def test_prediction_interval_contains_the_confidence_interval(data):
    y, v, clusters = data
    estimate = fit(y, v, clusters, "random_effects", "t").contrast(np.ones(1))
    assert estimate.pi_low <= estimate.ci_low + 1e-12
    assert estimate.pi_high >= estimate.ci_high - 1e-12


@settings(max_examples=40, deadline=None)
@given(data=studies())
def test_robust_df_lie_between_zero_and_the_clusters(data):
    y, v, clusters = data
    estimate = fit(y, v, clusters, "random_effects", "cr2").contrast(np.ones(1))
    if estimate.se > 0:
        assert 0 < estimate.df <= clusters.max() + 1e-6
