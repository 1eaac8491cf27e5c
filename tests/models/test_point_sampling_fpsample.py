"""Farthest point sampling beside fpsample's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clouds_to_sample import KINDS, cloud

from mrd_hf.models.point_sampling import farthest_point_sampling


fpsample = pytest.importorskip("fpsample")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 100), st.integers(0, 10**6), st.data())
def test_the_sampler_equals_fpsamples_plain_loop(kind, num_points, seed, data):
    """The plain loop takes the last of equals, so it is shown the cloud from its end."""
    num_samples = data.draw(st.integers(1, num_points))
    points = np.round(cloud(kind, num_points, seed) * 64) / 64  # squares without rounding, fused or not
    reverse = fpsample.fps_sampling(points[::-1], num_samples, start_idx=num_points - 1)
    picked = farthest_point_sampling(torch.from_numpy(points)[None], num_samples)
    assert picked[0].tolist() == (num_points - 1 - reverse.astype(int)).tolist()
