"""The distance to the prior's features and latent codes."""

import torch

from memgan.training.losses.deep_features import prior_distance


def test_prior_distance_is_the_missed_share_of_the_variance() -> None:
    true = {8: torch.randn(4, 16, 8, 8)}
    latent = torch.randn(4, 32)
    assert prior_distance(true, true, latent, latent) == 0
    mean = {8: true[8].mean().expand_as(true[8])}
    torch.testing.assert_close(prior_distance(mean, true, latent, latent), torch.tensor(0.5), atol=0.01, rtol=0)
