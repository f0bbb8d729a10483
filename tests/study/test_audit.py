"""The audit counts parts that make the whole, and its committed table says what it shows."""

import json
from pathlib import Path

import pytest
import torch

from hyperlab import params
from hyperlab.hyperflow import adapt
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.study import audit, cost, ledger
from tests import tiny

RESULT = Path(__file__).parents[2] / "results/cost.json"
SUPPORT = tiny.support(n_shot=4)


@pytest.mark.parametrize("match", [params.everything, params.qkv_biases, params.lora])
def test_what_is_counted_without_memory_is_what_is_counted_with_it(match):
    rank, config = 2 if match is params.lora else 0, TeacherConfig(steps=2, views=2)
    method = adapt.FineTuning(name="", match=match, config=config, rank=rank)
    here, nowhere = (method.view(tiny.tiny_target()).to(d) for d in ("cpu", "meta"))
    real = cost.count(lambda: method(here, SUPPORT), here.model)
    meta = cost.count(lambda: method(nowhere, SUPPORT), nowhere.model)
    assert (meta.flops, meta.saved_bytes) == (real.flops, real.saved_bytes)
    assert meta.peak_bytes == pytest.approx(real.peak_bytes, rel=0.1)


@pytest.mark.parametrize("push", [True, False])
def test_the_parts_of_hyperflow_make_the_whole(push):
    target = tiny.tiny_target()
    flow = adapt.HyperFlow(net=tiny.tiny_net(target, seed=0), steps=2, chunk=5, push=push)
    found = audit.parts(flow, target, SUPPORT)
    real = cost.count(lambda: flow.classifier(target, SUPPORT), target.model)
    assert list(found) == ["context", "drift", "class means"]
    assert audit.whole(found).flops == real.flops
    nowhere = audit.parts(flow, tiny.tiny_target().to("meta"), SUPPORT)
    assert audit.whole(nowhere).flops == real.flops


def test_memory_that_was_given_back_is_not_counted_twice():
    def call(x):
        for _ in range(3):
            y = x * 2
            del y

    x = torch.ones(1000)
    with cost.AliveBytes() as alive:
        call(x)
    assert (alive.now, alive.peak) == (0, 4000)


def test_chunks_bound_the_memory_of_a_look():
    target = tiny.tiny_target().to("meta")
    many = tiny.support(n_shot=32)
    images = many.images.to("meta")
    at_once = cost.count(lambda: target.block_features(images), target.model)
    parts = [images[:8], images[8:16]]
    chunks = cost.count(lambda: [target.block_features(p) for p in parts], target.model)
    assert chunks.peak_bytes < at_once.peak_bytes / 4


def test_a_job_is_measured_in_a_process_of_its_own():
    job = audit.Job(
        backbone="vit_micro", method="HyperFlow, spare", n_way=5, n_shot=1, repeats=1
    )
    (found,) = audit.apart(audit.measure, [job])
    assert found.seconds > 0 and found.repeats == 1 and found.peak_bytes >= 0


@pytest.mark.skipif(not RESULT.exists(), reason="run: python data_scripts/audit_cost.py")
def test_the_committed_bars_follow_from_the_committed_rows():
    found = json.loads(RESULT.read_text())
    rows = found["rows"]
    assert ledger.bars(rows, found["device"]) == found["bars"]
    full = ledger.find(rows, "ViT-S/16", 400, "full fine-tuning")
    spare = ledger.find(rows, "ViT-S/16", 400, audit.SPARE)
    flops, memory, _, drift = found["bars"]
    assert flops["found_pct"] == pytest.approx(100 * spare["flops"] / full["flops"])
    assert memory["found_pct"] == pytest.approx(
        100 * spare["peak_bytes"] / full["peak_bytes"]
    )
    assert flops["met"] and memory["met"] and drift["met"]
    parts = [r["flops"] for r in rows if r["backbone"] == "ViT-S/16" and r["n_images"] == 400
             and r["method"] == audit.SPARE and r["part"] != ledger.ALL]  # fmt: skip
    assert sum(parts) == spare["flops"]
