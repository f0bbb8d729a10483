"""Every data script explains itself, says what it wrote, and fails in one line."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import draw_figures
import psutil
import pytest
import script
from PIL import Image
from typer.testing import CliRunner

from hyperlab.hyperflow.trajectories import TrajectoryStore
from hyperlab.weights import zoo_store
from tests.browser.lab import browser_path
from tests.test_advice import SCRIPTS

ROOT = Path(__file__).parents[1]
OFFLINE = {  # no model hub, no keys, and a server that nobody is
    "HF_HUB_OFFLINE": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
}


def run(name, *arguments):
    command = [sys.executable, str(ROOT / "data_scripts" / name), *map(str, arguments)]
    here = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | OFFLINE
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=here, encoding="utf-8"
    )


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_help_says_what_it_does(name):
    main = importlib.import_module(name.removesuffix(".py")).main
    told = CliRunner().invoke(script.app(main), ["--help"])
    assert told.exit_code == 0 and "--" in told.stdout
    assert main.__doc__.splitlines()[0] in " ".join(told.stdout.split())


def test_collect_train_and_evaluate_at_smoke_scale(tmp_path):
    store = tmp_path / "store"
    said = run(
        "collect_trajectories.py", "--scale", "smoke", "--out", store, "--n-tasks", 4
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1].startswith(f"wrote {store}")
    said = run("inspect_store.py", store, "--check", "--out", tmp_path / "store.html")
    assert said.returncode == 0, said.stderr
    assert "4 sound tasks of 4" in said.stdout and "damaged: none" in said.stdout
    assert "plotly" in (tmp_path / "store.html").read_text(encoding="utf-8").lower()
    learned = tmp_path / "jacobian.safetensors"
    said = run("learn_jacobian.py", store, "--scale", "smoke", "--out", learned)
    assert said.returncode == 0, said.stderr
    assert "(pace " in said.stdout.splitlines()[-1]
    net = tmp_path / "net.safetensors"
    said = run(
        "train_drift.py", store, "--correct", learned, "--scale", "smoke", "--steps", 3,
        "--out", net,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert net.exists() and str(net) in said.stdout.splitlines()[-1]
    rows, few = tmp_path / "rows", ["--scale", "smoke", "--only", "digits,circuits"]
    shared = [*few, "--protocol", "5-way 1-shot", "--store", store, "--rows", rows]
    for k, word in enumerate(("waits", "wrote")):
        part = ["--share", f"{k}/2", "--out", tmp_path / "t"]
        said = run("evaluate.py", *shared, *part)
        assert said.returncode == 0, said.stderr
        assert word in said.stdout.splitlines()[-1]
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    parts = ("HyperFlow-L", "Jacobian flow without feedback")
    for name in (*parts, "LoRA", "own domain's mean", "random direction"):
        assert name in text


def begun(store, *arguments):
    """A collection of two workers that has written its first batch."""
    command = [sys.executable, ROOT / "data_scripts" / "collect_trajectories.py"]
    command += ["--scale", "smoke", "--n-tasks", 4_000, "--workers", 2, "--out", store]
    process = subprocess.Popen(
        list(map(str, [*command, *arguments])),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        encoding="utf-8",
        # A run under nohup ignores it, and so would its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(1_200):
        if (store / "mark" / "c").is_dir():
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError("no batch after two minutes")


def test_ctrl_c_stops_a_collection_in_one_line(tmp_path):
    process = begun(tmp_path / "store")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "what is whole is kept" in said and "Traceback" not in said
    found = TrajectoryStore.open(tmp_path / "store")
    assert found.there and found.damaged() == []


def test_no_worker_outlives_a_collection_that_is_killed(tmp_path):
    process = begun(tmp_path / "store")
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    assert TrajectoryStore.open(tmp_path / "store").damaged() == []


def test_precisions_are_compared_at_smoke_scale(tmp_path):
    said = run("compare_precision.py", "--scale", "smoke", "--out", tmp_path / "t")
    assert said.returncode == 0, said.stderr
    assert "bf16" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_the_plan_of_a_collection_is_made_from_a_bench(tmp_path):
    said = run("plan_collection.py", "--out", tmp_path / "plan.md")
    assert said.returncode == 0, said.stderr
    assert "40,000" in (tmp_path / "plan.md").read_text(encoding="utf-8")
    said = run("plan_collection.py", "--bench", tmp_path / "none.json")
    assert said.returncode == 1 and "bench_collection.py --scale paper" in said.stderr


def test_training_is_fed_from_a_store_at_smoke_scale(tmp_path):
    said = run("bench_feeding.py", "--scale", "smoke", "--out", tmp_path / "t.json")
    assert said.returncode == 0, said.stderr
    assert (
        0
        < json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["streamed"]["busy"]
        <= 1
    )


def test_teachers_are_compared_on_validation_domains(tmp_path):
    plan = ["--scale", "smoke", "--protocol", "5-way 1-shot", "--grid", "1x10,2x5"]
    said = run("compare_teachers.py", *plan, "--out", tmp_path / "t")
    assert said.returncode == 0, said.stderr
    assert "2 steps of 5" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_solvers_are_compared_on_validation_domains(tmp_path):
    plan = ["--scale", "smoke", "--protocol", "5-way 1-shot", "--out", tmp_path / "t"]
    said = run(
        "compare_solvers.py", *plan, "--grid", "jacobian euler 2,jacobian chebyshev 1 x 1.5"
    )
    assert said.returncode == 0, said.stderr
    assert "jacobian chebyshev 1 x 1.5" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_looks_are_compared_on_validation_domains_and_go_on_from_their_rows(tmp_path):
    plan = ["--scale", "smoke", "--protocol", "5-way 5-shot", "--out", tmp_path / "t"]
    for _ in range(2):
        said = run("compare_contexts.py", *plan, "--rows", tmp_path / "rows")
        assert said.returncode == 0, said.stderr
    table = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert "Jacobian flow, quarter, pushed" in table


def test_the_audit_of_costs_writes_its_parts(tmp_path):
    said = run("audit_cost.py", "--scale", "smoke", "--repeats", 1, "--out", tmp_path / "t")
    assert said.returncode == 0, said.stderr
    assert "| class means |" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_a_zoo_is_trained_shipped_and_its_generators_are_compared(tmp_path):
    zoo, few = tmp_path / "zoo", ["--scale", "smoke", "--workers", 1, "--n-networks", 10]
    said = run("train_zoo.py", *few, "--out", zoo, "--ship", tmp_path / "zoo.safetensors")
    assert said.returncode == 0, said.stderr
    assert len(zoo_store.load_zoo(tmp_path / "zoo.safetensors")) == 10
    table = ["--scale", "smoke", "--out", tmp_path / "t.json"]
    said = run("compare_generators.py", "--zoos", zoo, *table)
    assert said.returncode == 0, said.stderr
    assert "| FLoWN, graph | 2 x 4 |" in (tmp_path / "t.md").read_text(encoding="utf-8")
    before = (tmp_path / "t.json").read_text(encoding="utf-8")
    assert run("compare_generators.py", "--zoos", zoo, *table).returncode == 0
    assert (tmp_path / "t.json").read_text(encoding="utf-8") == before  # it was there
    anew = ["--again", "VAE, chunks"]
    assert run("compare_generators.py", "--zoos", zoo, *table, *anew).returncode == 0
    said = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert "\nVAE, chunks, measured again after its rows had been seen: `" in said
    starts = ["--zoos", zoo, "--unseen", "none", "--images", 100, "--last", 2]
    said = run(
        "compare_starts.py", *starts, "--scale", "smoke", "--out", tmp_path / "s.json"
    )
    assert said.returncode == 0, said.stderr
    assert "| digits | FLoWN, 1 | random, 2 |" in (tmp_path / "s.md").read_text(
        encoding="utf-8"
    )


def test_a_generator_is_fine_tuned_on_other_images_at_smoke_scale(tmp_path):
    table = ["--scale", "smoke", "--pairs", "digits:glyphs", "--stops"]
    said = run("finetune_through.py", *table, "--out", tmp_path / "t.json")
    assert said.returncode == 0, said.stderr
    assert "| graph | through the ODE | 2 x 3 |" in (tmp_path / "t.md").read_text(
        encoding="utf-8"
    )


def test_networks_are_retrieved_at_smoke_scale_and_what_is_there_is_kept(tmp_path):
    few = ["--scale", "smoke", "--zoos", "digits,glyphs", "--seeds", 0]
    few += ["--out", tmp_path / "r.json", "--kinds"]
    said = run("retrieve_networks.py", *few, "means")
    assert said.returncode == 0, said.stderr
    assert "## means: support set (row)" in (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "take another --out" in run("retrieve_networks.py", *few, "caml").stderr


def test_a_tail_of_norm_layers_is_recorded(tmp_path):
    path = tmp_path / "tail.safetensors"
    said = run("train_tail.py", "--scale", "smoke", "--out", path)
    assert said.returncode == 0, said.stderr
    assert len(zoo_store.load_zoo(path)) == 1


def test_the_readmes_picture_is_drawn(tmp_path, monkeypatch):
    if not browser_path():
        pytest.skip("needs Chromium or Chrome")
    monkeypatch.setenv("BROWSER_PATH", browser_path())
    said = run("draw_figures.py", "--scale", "smoke", "--out", tmp_path)
    assert said.returncode == 0, said.stderr
    with Image.open(tmp_path / "stepper.gif") as picture:
        assert picture.n_frames == 5 and picture.size == (
            draw_figures.WIDTH,
            draw_figures.HEIGHT,
        )
    found = json.loads((tmp_path / "stepper.json").read_text(encoding="utf-8"))
    assert len(found["accuracy_by_step"]) == 5
    assert found["accuracy_by_step"][-1] == found["after"]


def test_without_a_browser_the_picture_is_not_drawn_and_one_line_says_so(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    said = run("draw_figures.py", "--scale", "smoke", "--out", tmp_path)
    assert said.returncode == 1 and list(tmp_path.iterdir()) == []
    assert "install the browser" in said.stderr.splitlines()[-1]


def test_the_reader_edition_is_written_and_an_old_one_is_kept(tmp_path):
    said = run("write_exercises.py", "--only", "00", "--out", tmp_path / "exercises")
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == f"wrote {tmp_path / 'exercises' / '00_welcome.ipynb'}"
    said = run("write_exercises.py", "--only", "00", "--out", tmp_path / "exercises")
    assert said.returncode == 1 and "may hold your answers" in said.stderr


def test_the_training_of_zoos_is_timed(tmp_path):
    few = ["--scale", "smoke", "--repeats", 1]
    said = run("bench_zoo.py", *few, "--out", tmp_path / "t.json")
    assert said.returncode == 0, said.stderr
    assert "cnn_small" in (tmp_path / "t.json").read_text(encoding="utf-8")


def test_a_book_of_one_notebook_is_built_and_built_again_without_a_run(tmp_path):
    one = ["--scale", "smoke", "--only", "00", "--out", tmp_path / "book"]
    said = run("build_book.py", *one)
    assert said.returncode == 0, said.stderr
    assert "plot" in (tmp_path / "book/notebooks/00_welcome.html").read_text(
        encoding="utf-8"
    )
    kept = {p: p.stat().st_mtime for p in (tmp_path / "book_kept/runs").rglob("*.ipynb")}
    assert run("build_book.py", *one).returncode == 0
    assert len(kept) == 1 and all(p.stat().st_mtime == t for p, t in kept.items())


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("collect_trajectories.py", ["--scale", "tiny"], "smoke"),
        ("collect_trajectories.py", ["--role", "mars"], "held_out"),
        ("learn_jacobian.py", ["nowhere"], "collect_trajectories.py"),
        ("train_drift.py", ["nowhere"], "collect_trajectories.py"),
        ("inspect_store.py", ["nowhere"], "collect_trajectories.py"),
        ("evaluate.py", ["--only", "mars", "--scale", "smoke"], "mars"),
        ("evaluate.py", ["--methods", "voodoo"], "bias-tuning"),
        ("evaluate.py", ["--protocol", "6-way"], "5-way 5-shot"),
        ("evaluate.py", ["--share", "2/2"], "0/2"),
        ("evaluate.py", ["--nets", "cubic"], "HyperFlow-L=linear"),
        ("evaluate.py", ["--device", "abacus"], "have cpu"),
        ("evaluate.py", ["--role", "cdfsl"], "download_data.py"),
        ("collect_trajectories.py", ["--steps", "fifty"], "20x10"),
        ("compare_teachers.py", ["--scale", "smoke", "--grid", "20by10"], "20x10"),
        (
            "compare_solvers.py",
            ["--scale", "smoke", "--grid", "jacobian 20"],
            "jacobian euler 40",
        ),
        ("audit_cost.py", ["--device", "abacus"], "have cpu"),
        ("draw_figures.py", ["--scale", "tiny"], "smoke"),
        ("train_zoo.py", ["--dataset", "mars"], "digits"),
        ("train_zoo.py", ["--epochs", "last"], "6,7,8"),
        ("train_zoo.py", ["--published", "nowhere"], "unpack a raw zoo there"),
        ("train_tail.py", ["--network", "resnet19"], "resnet18"),
        ("compare_generators.py", ["--zoos", "nowhere"], "train_zoo.py"),
        ("finetune_through.py", ["--pairs", "nowhere:mnist"], "train_zoo.py"),
        ("finetune_through.py", ["--pairs", "digits"], "base:target"),
        ("write_exercises.py", ["--only", "99"], "no notebooks"),
        ("compare_starts.py", ["--zoos", "nowhere"], "train_zoo.py"),
        ("compare_starts.py", ["--zoos", "digits", "--last", 3], "the bar's epochs"),
        ("build_book.py", ["--only", "99"], "notebooks 00, 01"),
        ("build_book.py", ["--out", "notebooks"], "is no book"),
    ],
)
def test_an_error_is_one_line_with_what_to_do(
    name, arguments, words, tmp_path, monkeypatch
):
    out = () if "--out" in arguments else ("--out", tmp_path / "x")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", list(map(str, [name, *arguments, *out])))
    with pytest.raises(SystemExit) as raised:
        script.run(importlib.import_module(name.removesuffix(".py")).main)
    line = raised.value.code
    assert line.startswith("error: ") and words in line and "\n" not in line


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("collect_trajectories.py", ["--out", "s3://nobody"], "folder you may write to"),
        ("evaluate.py", ["--backbone", "vit_small_patch16_224.dino"], "no weights of"),
    ],
)  # what must be known before anything is imported: that there is no network
def test_the_line_is_the_last_of_a_process_that_fails(name, arguments, words, tmp_path):
    out = () if "--out" in arguments else ("--out", tmp_path / "x")
    said = run(name, *arguments, *out)
    assert said.returncode == 1
    last = said.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and words in last
    assert "Traceback" not in said.stderr
