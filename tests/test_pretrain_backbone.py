"""The script that pre-trains the backbone of the course."""

from dataclasses import replace

import pretrain_backbone as pretrain
import pytest
import torch
from pretrain_backbone import PretrainConfig

from hyperlab.base import ConfigError, stream
from hyperlab.models import targets
from hyperlab.tasks.domains import Domain

CONFIG = PretrainConfig(steps=2, rehearsals=2, batch=24, n_way=3, n_shot=4)


def domain(name, n_classes, *, size=32):
    pixels = torch.randint(
        0, 256, (3 * n_classes, 1, size, size), generator=stream(0, name)
    )
    labels = torch.arange(n_classes).repeat_interleave(3)
    return Domain(
        name, pixels.byte(), labels, tuple(f"class {k}" for k in range(n_classes))
    )


def trained(config=CONFIG):
    domains = [domain("letters", 4), domain("leaves", 3)]
    generator = stream(0, "pretrain")
    return pretrain.pretrain(domains, [1.0, 2.0], config, generator=generator)


def test_the_same_seed_gives_the_same_backbone_and_it_is_frozen():
    one, two = trained().state_dict(), trained().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(x.isfinite().all() for x in one.values())
    assert not any(p.requires_grad for p in trained().parameters())


def test_without_rehearsals_no_bias_is_tuned_in_phase_two(monkeypatch):
    tuned = []
    one_step = pretrain._one_step
    monkeypatch.setattr(pretrain, "_one_step", lambda *a: tuned.append(1) or one_step(*a))
    trained()
    assert len(tuned) == CONFIG.rehearsals
    trained(replace(CONFIG, rehearse=False))
    assert len(tuned) == CONFIG.rehearsals


def test_the_head_map_scales_and_shifts_each_feature_by_itself():
    head = trained().head
    assert torch.equal(head.weight, torch.diag(head.weight.diag()))
    assert (head.weight.diag() > 0).all()


def test_smoothing_spreads_over_the_classes_of_the_same_domain_alone():
    owner, labels = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 4])
    logits = torch.randn(2, 5, generator=stream(0, "logits"))
    logits = logits.masked_fill(owner != owner[labels][:, None], -1e4)
    parts = [
        torch.nn.functional.cross_entropy(logits[:1, :3], labels[:1], label_smoothing=0.1),
        torch.nn.functional.cross_entropy(
            logits[1:, 3:], labels[1:] - 3, label_smoothing=0.1
        ),
    ]
    found = pretrain._smoothed(logits, labels, owner, 0.1)
    torch.testing.assert_close(found, torch.stack(parts).mean())


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_scale_has_whole_groups(scale):
    config = PretrainConfig.at(scale)
    assert config.batch >= config.n_way * config.n_shot


def test_a_rehearsed_step_has_the_length_asked_for_and_can_be_differentiated():
    model = targets.build("vit_micro").requires_grad_(True)
    config = replace(CONFIG, stride=(0.2, 0.2))
    images = torch.randn(24, 3, 32, 32, generator=stream(0, "images"))
    labels = torch.arange(3).repeat(4).repeat(2)
    norm = torch.nn.BatchNorm1d(model.num_features, affine=False)
    rows = pretrain._one_step(model, norm, images, labels, config, stream(0, "step"))
    biases = torch.cat([block.attn.qkv.bias for block in model.blocks])
    moved = (rows - biases).detach().unflatten(1, (-1, model.num_features))
    rms = moved.square().mean(-1).sqrt()
    assert rms.amax() <= 0.2
    assert (rms.amax(1) > 0.95 * 0.2).all()  # the token with the largest gradient
    rows.square().sum().backward()
    assert model.blocks[0].mlp.fc1.weight.grad.abs().sum() > 0


def test_groups_too_small_to_rehearse_are_refused():
    with pytest.raises(ConfigError, match="n_shot must be >= 4"):
        PretrainConfig(n_shot=2)


def test_an_unknown_scale_is_refused():
    with pytest.raises(ConfigError, match="have"):
        PretrainConfig.at("huge")
