"""Diffusions of points whose distribution is known."""

from dataclasses import replace

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.weights import diffusion
from hyperlab.weights.flow import FlowConfig

QUICK = FlowConfig(width=64, depth=2, steps=800, batch=128, lr=3e-3)


def points(n, dim=2, seed=0):
    return torch.randn(n, dim, generator=stream(seed, "points"))


@pytest.fixture(scope="module")
def blobs():
    """A third of the points around (3, 0), the others around (-3, 1)."""
    first = (torch.arange(600) % 3 == 0)[:, None]
    centre = torch.where(first, torch.tensor([3.0, 0.0]), torch.tensor([-3.0, 1.0]))
    return centre + 0.2 * points(600)


def test_a_diffusion_fills_both_blobs_in_proportion(blobs):
    found = diffusion.fit_diffusion(blobs, QUICK, generator=stream(9))
    x, again = (found.sample(600, generator=stream(10), steps=50) for _ in range(2))
    assert float((x[:, 0] > 0).float().mean()) == pytest.approx(1 / 3, abs=0.1)
    assert torch.cdist(x, blobs).amin(1).median() < 0.3
    assert torch.equal(x, again)
    with pytest.raises(ConfigError, match="1 to 1000 steps"):
        found.sample(2, generator=stream(0), steps=0)


def test_who_guesses_the_noise_exactly_samples_the_gaussian_itself():
    """Of N(m, s^2) the best guess at share a is sqrt(1 - a) (y - sqrt(a) m) / (a s^2 + 1 - a)."""
    m, s = 0.4, 0.5
    model = diffusion.Diffusion(torch.tensor([[-1.0], [1.0]]), FlowConfig(width=8, depth=1))

    def guess(t, y, context=None):
        a = diffusion.signal()[(t * diffusion.LEVELS).round().long(), None]
        return (1 - a).sqrt() * (y - a.sqrt() * m) / (a * s**2 + 1 - a)

    del model.field
    model.field = guess
    x = model.sample(8_000, generator=stream(1), steps=diffusion.LEVELS // 2)
    assert x.mean() == pytest.approx(m, abs=0.03)
    assert x.std() == pytest.approx(s, rel=0.04)


def test_what_the_diffusion_is_told_decides_where_it_goes(blobs):
    told = torch.nn.functional.one_hot((blobs[:, 0] > 0).long(), 2).float()
    quick = replace(QUICK, steps=400)
    found = diffusion.fit_diffusion(blobs, quick, context=told, generator=stream(2))
    for label in (0, 1):
        how = {"steps": 30, "context": torch.eye(2)[label]}
        x = found.sample(200, generator=stream(3), **how)
        assert float((x[:, 0] > 0).float().mean()) == pytest.approx(label, abs=0.05)
    with pytest.raises(ConfigError, match="2 numbers of context, got none"):
        found.sample(2, generator=stream(3))


def test_every_point_wants_a_context(unchecked_shapes):
    with pytest.raises(ConfigError, match="8 points want a context each, got 7"):
        diffusion.fit_diffusion(points(8), QUICK, context=points(7), generator=stream(2))


def test_the_noise_loss_vanishes_for_who_knows_the_noise():
    x, noise = points(8), points(8, seed=1)
    level = torch.arange(8) * 100
    assert diffusion.noise_loss(lambda t, mixed: noise, x, noise, level) == 0
    assert diffusion.signal()[-1] < 1e-4
