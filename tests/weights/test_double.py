"""What is fitted to rows counts in their precision."""

from dataclasses import replace

import pytest
import torch

from hyperlab.base import stream
from hyperlab.models import cnn
from hyperlab.weights import (
    context,
    diffusion,
    encoders,
    flow,
    graph,
    head_generators,
    heads,
)
from hyperlab.weights.flow import FlowConfig

NET = cnn.cnn_small()
W = 0.1 * torch.randn(12, NET.n_params, generator=stream(0, "w")).double()
Z = torch.randn(40, 6, generator=stream(0, "z")).double()
VAE = replace(encoders.EncoderConfig.at("smoke"), steps=2, batch=4)
QUICK = FlowConfig(prior="normal", width=8, depth=1, steps=2, batch=8)


def vae(g):
    return encoders.fit_vae(W, VAE, generator=g)


def graph_vae(g):
    shape = graph.GraphConfig(shapes=NET.shapes, width=8, edge=4, heads=2, depth=1)
    return graph.fit_graph_vae(W, VAE, shape, generator=g)


@pytest.mark.parametrize("fit", [vae, graph_vae])
def test_autoencoders_of_rows_in_double_precision(fit):
    fitted = fit(stream(0))
    codes = fitted.encode(W)
    assert fitted.decode(codes).dtype == codes.dtype == torch.float64


@pytest.mark.parametrize("fit", [flow.fit_flow, diffusion.fit_diffusion])
def test_generators_of_points_in_double_precision(fit):
    fitted = fit(Z, QUICK, generator=stream(0), context=Z[:, :2])
    drawn = fitted.sample(3, generator=stream(1), steps=2, context=Z[:3, :2])
    assert drawn.dtype == torch.float64


def test_a_set_encoder_of_features_in_double_precision():
    pool = (torch.randn(60, 16, generator=stream(0, "f")).double(), torch.arange(60) % 6)
    config = context.SetConfig(n_classes=4, label=8, hidden=16, steps=2, batch=2, n_shot=2)
    net = context.fit_sets([pool], config, generator=stream(0))
    assert net.head.weight.dtype == torch.float64
    share = context.right_share(net, [pool], n_sets=2, n_shot=2, generator=stream(1))
    assert 0 <= share <= 1


@pytest.mark.parametrize("encoder", ["pca", "vae"])
def test_heads_of_features_in_double_precision(encoder):
    features = torch.randn(6, 5, 4, 16, generator=stream(0, "f")).double()
    whiten, base = heads.Whitening.fit(features), heads.BaseConfig.at("smoke")
    told, start = heads.tell(whiten(features), base)
    found = heads.HeadSet(told, start, heads.fit_heads(whiten(features)))
    config = replace(head_generators.GeneratorConfig.at("smoke"), flow=QUICK, by="head")
    config = replace(config, encoder=encoder)
    made = head_generators.fit_generator(found, whiten, base, config, generator=stream(0))
    drawn = made.sample(features, 2, generator=stream(1), steps=2)
    assert drawn.dtype == torch.float64 and drawn.isfinite().all()
