"""What encoders keep of networks, and what they must not touch."""

from dataclasses import replace

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.weights import encoders, padding
from hyperlab.weights.encoders import EncoderConfig

NET = cnn.cnn_small()
SMALL = EncoderConfig(latent=8, width=64, steps=250, batch=8, noise_latent=0.05, beta=1e-5)
KINDS = {"flat": SMALL, "chunks": replace(SMALL, chunk=500, steps=500, width=128)}
each = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


@pytest.fixture(scope="module")
def w():
    return 0.3 * torch.randn(8, NET.n_params, generator=stream(0))


def error(encoder, w):
    return float((encoder.decode(encoder.encode(w)) - w).norm() / (w - w.mean(0)).norm())


def test_the_identity_keeps_everything(w):
    encoder = encoders.Encoder(w)
    assert encoder.latent == NET.n_params and error(encoder, w) < 1e-5
    assert encoder.encode(w).std(0, correction=0).mean() == pytest.approx(1, rel=1e-3)


def test_all_components_keep_the_networks_they_were_fitted_to_and_fewer_lose_some(w):
    errors = [error(encoders.PCA(w, k), w) for k in (1, 4, 7)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-4
    other = 0.3 * torch.randn(8, NET.n_params, generator=stream(1))
    assert error(encoders.PCA(w, 7), other) > 0.9


@each
def test_an_autoencoder_learns_some_networks_by_heart(w, config):
    vae = encoders.fit_vae(w, config, generator=stream(2))
    assert vae.encode(w).shape == (8, vae.latent)
    assert error(vae, w) < 0.2
    assert (
        error(encoders.fit_vae(w, replace(config, steps=1), generator=stream(2)), w) > 0.9
    )


def test_the_filling_of_the_last_chunk_is_no_weight(w):
    vae = encoders.VAE(w, KINDS["chunks"])
    assert (vae.chunks, vae.padding) == (5, 36)
    assert vae.decode(torch.zeros(2, vae.latent)).shape == (2, NET.n_params)


def test_the_loss_is_the_error_plus_the_divergence(w):
    vae = encoders.VAE(w, replace(SMALL, beta=2.0, noise_in=0.0, noise_latent=0.0))
    x = (w - vae.mean) / vae.std
    noise = (torch.zeros_like(x), torch.zeros(8, vae.latent))
    loss, rows = encoders.vae_loss(vae, x, noise)
    mean, log_var = vae.posterior(x)
    q = torch.distributions.Normal(mean, (log_var / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    wanted = (rows - x).square().mean() + 2 * kl.sum((1, 2)).mean()
    torch.testing.assert_close(loss, wanted)


def test_the_same_stream_gives_the_same_bits(w):
    config = replace(SMALL, steps=3)
    first, second = (encoders.fit_vae(w, config, generator=stream(3)) for _ in range(2))
    assert torch.equal(first.encode(w), second.encode(w))


def test_behaviour_is_nothing_for_the_same_network_and_pulls_towards_it(w):
    images = torch.randn(20, 1, 28, 28, generator=stream(4))
    behave = encoders.behaviour(NET, images, generator=stream(5))
    assert behave(w, w) == 0
    off = (w + 0.1).requires_grad_()
    behave(off, w).backward()
    assert off.grad.norm() > 0
    fitted = encoders.fit_vae(
        w, replace(SMALL, steps=3), behave=behave, generator=stream(6)
    )
    plain = encoders.fit_vae(w, replace(SMALL, steps=3), generator=stream(6))
    assert not torch.equal(fitted.encode(w), plain.encode(w))


def test_the_ceiling_of_the_identity_is_the_networks_own_accuracy(w):
    data = torch.randn(40, 1, 28, 28, generator=stream(7)), torch.arange(40) % 10
    found = encoders.ceiling(NET, encoders.Encoder(w), w, data)
    assert torch.equal(found.before, found.after) and found.drop == 0


GREY, COLOURED = cnn.cnn_small(), cnn.cnn_small(channels=3)


def test_zero_channels_keep_the_function(w):
    padded = padding.pad_rows(GREY, COLOURED, w, "channels")
    images = torch.randn(6, 3, 28, 28, generator=stream(9))
    said, wanted = COLOURED.logits(padded, images), GREY.logits(w, images[:, :1])
    torch.testing.assert_close(said, wanted, rtol=1e-4, atol=1e-4)


def test_zeros_at_the_tail_do_not(w):
    padded = padding.pad_rows(GREY, COLOURED, w, "tail")
    assert torch.equal(padded[:, : GREY.n_params], w) and not padded[:, 2464:].any()
    images = torch.randn(6, 3, 28, 28, generator=stream(9))
    said, wanted = COLOURED.logits(padded, images), GREY.logits(w, images[:, :1])
    assert (said - wanted).norm() > wanted.norm() / 2


@pytest.mark.parametrize("mode", ["channels", "tail"])
def test_padded_rows_are_cut_back(w, mode):
    padded = padding.pad_rows(GREY, COLOURED, w, mode)
    assert padded.shape == (8, COLOURED.n_params)
    assert torch.equal(padding.cut_rows(COLOURED, GREY, padded, mode), w)


def test_the_last_chunk_code_writes_only_the_end_of_the_row(w):
    vae = encoders.VAE(w, KINDS["chunks"])
    z = torch.randn(2, vae.latent, generator=stream(10))
    before = vae.decode(z)
    last = vae.chunks - 1
    moved = vae.decode(
        z.unflatten(1, (vae.chunks, -1)).index_fill(1, torch.tensor(last), 9).flatten(1)
    )
    changed = (before != moved).any(0)
    assert changed[2000:].all() and not changed[:2000].any()


def test_what_does_not_fit_is_named(w):
    with pytest.raises(ConfigError, match="networks of 2464 weights, got 2463"):
        encoders.Encoder(w).encode(w[:, 1:])
    with pytest.raises(ConfigError, match="8 of 8 training networks"):
        encoders.Encoder(w * float("nan"))
    with pytest.raises(ConfigError, match="8 networks have 1 to 7 components: 8"):
        encoders.PCA(w, 8)
    with pytest.raises(ConfigError, match="latent"):
        EncoderConfig(latent=0)
    broken = w.index_fill(0, torch.tensor(3), float("nan"))
    with pytest.raises(ConfigError, match=r"1 of 8 encoded networks .* rows \[3\]"):
        encoders.PCA(w, 2).encode(broken)
    with pytest.raises(ConfigError, match="codes of 2 numbers, got 3"):
        encoders.PCA(w, 2).decode(torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="unknown option 'front'"):
        padding.pad_rows(GREY, COLOURED, w, "front")
    with pytest.raises(ConfigError, match="input channels alone"):
        padding.pad_rows(COLOURED, GREY, torch.zeros(1, COLOURED.n_params), "tail")
    with pytest.raises(ConfigError, match="input channels alone"):
        padding.pad_rows(GREY, cnn.cnn_small(channels=3, n_classes=5), w, "channels")
