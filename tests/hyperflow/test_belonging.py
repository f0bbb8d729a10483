"""What was trained for one backbone and subset refuses every other, of whatever size."""

import copy
from dataclasses import replace

import pytest
import torch

from hyperlab import params
from hyperlab.apps.bench import Bench
from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import diagnostics, experiments
from hyperlab.hyperflow import adapt, controls, jacobian, jacobian_flow
from hyperlab.hyperflow.jacobian import JacobianConfig
from hyperlab.hyperflow.training import DriftConfig, fit_drift
from hyperlab.models import belonging, targets
from tests.tiny import noise_domain, recorded, support, tiny_flow, tiny_net, tiny_target

TARGET = tiny_target()


def other_weights():
    """The same qkv biases on a backbone whose other weights differ."""
    model = copy.deepcopy(TARGET.model)
    model.blocks[0].mlp.fc1.weight.data += 0.1
    return replace(TARGET, model=model).moving(params.qkv_biases)


def other_subset():
    """As many numbers as the qkv biases: three vectors of norms in each block."""
    names = ("norm1.weight", "norm1.bias", "norm2.weight")
    return TARGET.moving(lambda name: name.startswith("blocks") and name.endswith(names))


def other_start():
    """The same backbone and subset from another theta0."""
    base = {name: x + 0.1 for name, x in TARGET.subset.base.items()}
    return replace(TARGET, subset=replace(TARGET.subset, base=base))


FOREIGN = {
    "other start": other_start(),
    "other biases": tiny_target(seed=1),
    "other weights": other_weights(),
    "other subset of the same size": other_subset(),
}
each_foreign = pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)


def net(target=TARGET):
    made = tiny_net(target, seed=0)
    made.target = belonging.described(target)
    return made


MADE = {
    "network": adapt.LearnedFlow(net=net(), steps=2),
    "its control": controls.WrongSupport(
        method=adapt.LearnedFlow(net=net()), support=support(seed=9)
    ),
    "table of domains": controls.NearestDomain.fit(recorded(TARGET)),
    "displacement": controls.Displacement(
        delta=recorded(TARGET).displacement[0], made_for=recorded(TARGET).target
    ),
    "own domain's mean": controls.OwnDomain(
        deltas={"sand": recorded(TARGET).displacement[0]},
        domain="sand",
        made_for=recorded(TARGET).target,
    ),
}


@each_foreign
@pytest.mark.parametrize("method", MADE.values(), ids=MADE)
def test_what_was_made_for_another_target_names_both_and_runs_on_its_own(method, foreign):
    assert foreign.subset.n_params == TARGET.subset.n_params
    both = f"{belonging.weights_fingerprint(TARGET)}.*{foreign.subset.names[0]}"
    for refused in (lambda: method(foreign, support()), lambda: method.view(foreign)):
        with pytest.raises(ConfigError, match=both):
            refused()
    assert len(method(TARGET, support())) == TARGET.subset.n_params


def test_a_network_that_does_not_know_its_target_still_knows_where_it_starts():
    unknown = adapt.LearnedFlow(net=tiny_net(TARGET, seed=0), steps=2)
    for foreign in (FOREIGN["other biases"], FOREIGN["other subset of the same size"]):
        with pytest.raises(ConfigError, match="192 numbers that starts elsewhere"):
            unknown(foreign, support())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_same_target_in_another_precision_is_the_same(dtype):
    other = replace(TARGET, model=copy.deepcopy(TARGET.model).to(dtype))
    net().require(other.moving(params.qkv_biases))
    worse = replace(other, model=copy.deepcopy(FOREIGN["other biases"].model).to(dtype))
    with pytest.raises(ConfigError, match="was made for"):
        net().require(worse.moving(params.qkv_biases))


@pytest.mark.parametrize(
    ("dtype", "refused"),
    [(torch.float64, FOREIGN), (torch.float16, ["other subset of the same size"])],
)
def test_a_displacement_belongs_to_its_target_in_every_precision(dtype, refused):
    for name, foreign in {"own": TARGET, **FOREIGN}.items():
        model = copy.deepcopy(foreign.model).to(dtype)
        base = {k: x.to(dtype) for k, x in foreign.subset.base.items()}
        other = replace(foreign, model=model, subset=replace(foreign.subset, base=base))
        if name in refused:
            with pytest.raises(ConfigError, match="was made for"):
                MADE["displacement"].view(other)
        else:
            MADE["displacement"].view(other)


def test_the_shipped_networks_belong_to_the_shipped_backbone(tmp_path):
    micro = targets.load("vit_micro")
    shipped = jacobian_flow.load()
    for part in (shipped, shipped.jacobian):
        assert part.target == belonging.described(micro)
    shipped.require(micro)
    with pytest.raises(ConfigError, match="for vit_micro-.*, .* the target is vit_micro-"):
        shipped.require(targets.load("vit_micro", pretrained=False))
    jacobian_flow.save(shipped, tmp_path / "again.safetensors", {})
    assert jacobian_flow.load(tmp_path / "again.safetensors").target == shipped.target


def test_a_fingerprint_changes_with_weights_subset_and_inputs():
    inputs = replace(TARGET, inputs=targets.Inputs(interpolation="bicubic"))
    all_of_them = [TARGET, inputs, *FOREIGN.values()]
    assert len({belonging.described(t) for t in all_of_them}) == len(all_of_them)


def test_a_weight_that_changes_in_place_changes_the_description():
    changed = other_weights()
    before = belonging.described(changed)
    with torch.no_grad():
        changed.model.norm.weight.add_(1)
    assert belonging.described(changed) != before


def test_rows_know_where_a_trajectory_starts():
    method = adapt.NoAdaptation()
    assert experiments.parts(TARGET, method) != experiments.parts(other_start(), method)
    other = other_start()
    before = belonging.described(other)
    other.subset.base[other.subset.names[0]].add_(1)
    assert belonging.described(other) != before


def test_a_drift_network_belongs_to_the_target_of_its_trajectories():
    data, config = recorded(TARGET), replace(DriftConfig.at("smoke"), steps=2)
    fitted, _ = fit_drift(data, config, generator=stream(0))
    assert fitted.target == data.target
    flow = tiny_flow(TARGET)
    flow.target = belonging.described(FOREIGN["other weights"])
    with pytest.raises(ConfigError, match="do not belong together: .*tiny-.*tiny-"):
        fit_drift(data, config, correcting=flow, generator=stream(0))
    fitted.target = flow.target
    with pytest.raises(ConfigError, match="network and trajectories differ"):
        diagnostics.bound(fitted, data)


def test_a_jacobian_names_the_target_of_the_images_that_it_learned_from():
    config = JacobianConfig(n_tasks=1, looks=1, steps=1, batch=2, width=8)
    tasks = [(support(), recorded(TARGET).thetas[0])]
    seen = jacobian.gather(TARGET, tasks, config, generator=stream(0))
    size = TARGET.model.num_features
    learned = jacobian.fit_jacobian(seen, config, token_size=size, generator=stream(0))
    assert learned.target == belonging.described(TARGET)
    with pytest.raises(ConfigError, match="do not belong together"):
        jacobian_flow.fit_pace(recorded(FOREIGN["other weights"]), learned)


def test_a_bench_and_a_table_refuse_before_any_work(monkeypatch):
    foreign = FOREIGN["other weights"]
    with pytest.raises(ConfigError, match="was made for"):
        Bench(
            target=foreign, nets={"C": net()}, domains={"x": lambda: noise_domain("x", [9])}
        )
    drawn = []
    monkeypatch.setattr(experiments, "trials", lambda *a, **k: drawn.append(1) or iter(()))
    methods = [adapt.NoAdaptation(), adapt.LearnedFlow(net=net())]
    with pytest.raises(ConfigError, match="was made for"):
        experiments.evaluate(foreign, methods, experiments.EvalConfig(n_tasks=1))
    assert not drawn
