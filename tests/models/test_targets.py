import pytest
import timm
import torch
from torch.nn import functional as F

from hyperlab import checkpoint, params
from hyperlab.base import ArtifactError, ConfigError, DataMissingError, stream
from hyperlab.hyperflow import adapt
from hyperlab.models import backbones, targets
from hyperlab.tasks.episodes import Episode
from tests.tiny import support, tiny_target


def images(n=4, seed=0):
    return torch.rand(n, 3, 16, 16, generator=stream(seed, "images"))


def test_the_course_backbone_has_1728_qkv_biases():
    target = targets.load("vit_micro", pretrained=False)
    assert len(target.theta0) == target.subset.n_params == 6 * 3 * 96


@pytest.mark.parametrize("name", ["vit_micro", "vit_tiny_patch16_224"])
def test_a_backbone_with_random_weights_needs_no_network(name):
    size = None if name == "vit_micro" else 32
    target = targets.load(name, pretrained=False, image_size=size)
    pictures = torch.rand(2, 3, 32, 32, generator=stream(0, "x"))
    assert target.features(target.theta0, pictures).isfinite().all()


def test_at_theta0_the_features_are_those_of_the_plain_model():
    target = tiny_target()
    plain = target.model((images() - 0.5) / 0.25)
    assert torch.equal(target.features(target.theta0, images()), plain)


@pytest.mark.parametrize("match", [params.qkv_biases, params.qv_biases, params.norms])
def test_rows_of_many_tasks_are_the_features_of_each_task_by_itself(match):
    target = tiny_target(match)
    noise = torch.randn(3, target.subset.n_params, generator=stream(0, "rows"))
    thetas = target.theta0 + 0.1 * noise
    task = torch.tensor([2, 0, 0, 1, 2])
    rows = target.features(thetas, images(5), task)
    for i in range(5):
        alone = target.features(thetas[task[i]], images(5)[i : i + 1])[0]
        torch.testing.assert_close(rows[i], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("match", [params.all_biases, params.head, params.everything])
def test_what_cannot_differ_within_a_batch_is_named(match):
    target = tiny_target(match)
    with pytest.raises(ConfigError, match="fine-tune such a subset one task at a time"):
        target.features(target.theta0.expand(2, -1), images(), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ConfigError, match="many thetas need `task`"):
        target.features(target.theta0.expand(2, -1), images())


def test_low_rank_factors_start_as_the_same_function():
    target = tiny_target()
    adapted = adapt.FineTuning(name="LoRA", match=params.lora, rank=2).view(target)
    assert all(name.endswith((".lora_a", ".lora_b")) for name in adapted.subset.names)
    torch.testing.assert_close(
        adapted.features(adapted.theta0, images()), target.features(target.theta0, images())
    )


def test_block_features_are_the_tokens_after_every_block():
    target = tiny_target()
    tokens, last = target.block_features(images())
    found = []
    hooks = [
        b.register_forward_hook(lambda *a: found.append(a[2])) for b in target.model.blocks
    ]
    features = target.features(target.theta0, images())
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(last, features)
    for i, x in enumerate(found):
        torch.testing.assert_close(tokens[:, i, 0], x[:, 0])
        torch.testing.assert_close(tokens[:, i, 1], x[:, 1:].mean(1))


def test_prototypes_are_class_means():
    features, labels = torch.rand(4, 3, generator=stream(0)), torch.tensor([1, 0, 1, 1])
    found = targets.prototypes(features, labels, 2)
    torch.testing.assert_close(found[0], features[1])
    torch.testing.assert_close(found[1], features[[0, 2, 3]].mean(0))


def test_logits_are_cosines_times_ten():
    target, task = tiny_target(), support()
    features = target.features(target.theta0, task.images)
    centres = targets.prototypes(features, task.labels, 3)
    each = F.cosine_similarity(features[:, None], centres, dim=2)
    found = target.logits(target.theta0, task, task.images)
    torch.testing.assert_close(found, 10 * each, rtol=1e-4, atol=1e-5)


def test_queries_that_are_the_support_of_one_shot_are_all_right():
    task = support(n_way=4, n_shot=1)
    episode = Episode(task, task, "made up", tuple("abcd"))
    target = tiny_target()
    assert target.accuracy(target.theta0, episode) == 1.0


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="no target 'vit_mirco'; have 'vit_micro' and t"):
        targets.load("vit_mirco")


LOADS = {
    "vit_small_patch16_224.dino": targets.load,
    "resnet18": lambda n: backbones.build_norm_network(
        n, 9, pretrained=True, generator=stream(0)
    ),
}


@pytest.mark.parametrize(("name", "load"), LOADS.items(), ids=LOADS)
def test_without_network_and_cache_the_error_says_what_to_do(name, load, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", offline)
    says = f"no weights of '{name}'.*run once with a network, or pass pretrained"
    with pytest.raises(DataMissingError, match=says):
        load(name)


def test_another_backbone_of_the_same_build_is_loaded_from_its_file(tmp_path):
    model, path = targets.build("vit_micro"), tmp_path / "weights.safetensors"
    checkpoint.save(path, targets.KIND, model, {})
    found = targets.load("vit_micro", weights=path).model
    assert torch.equal(found.norm.weight, model.norm.weight)
    assert torch.equal(found.blocks[0].attn.qkv.weight, model.blocks[0].attn.qkv.weight)


def test_weights_of_another_model_are_an_artifact_error(tmp_path):
    model, path = tiny_target().model, tmp_path / "weights.safetensors"
    state = model.state_dict() | {"cls_token": torch.zeros(1, 1, 33)}
    checkpoint.save(path, targets.KIND, state, {})
    with pytest.raises(
        ArtifactError, match="no whole backbone .*size mismatch for cls_token"
    ):
        targets.read_weights(path, model)


def test_the_short_last_block_changes_no_number():
    model = tiny_target().model
    whole = model.forward_head(model.forward_features(images()))
    assert type(model) is targets.ClassTokenViT
    torch.testing.assert_close(model(images()), whole, rtol=1e-5, atol=1e-5)


def test_a_backbone_that_reads_all_tokens_keeps_its_own_forward():
    model = targets.build("vit_micro", global_pool="avg")
    assert type(model) is timm.models.VisionTransformer
