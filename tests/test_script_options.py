"""Data scripts refuse what cannot work, or would change nothing, before they work."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import script

from hyperlab.base import ConfigError
from hyperlab.evaluation import experiments, methods
from hyperlab.hyperflow import collect
from hyperlab.weights import encoders, zoo_store
from hyperlab.weights.zoo import ZooConfig

SCRIPTS = Path(__file__).parents[1] / "data_scripts"


@pytest.fixture
def said(monkeypatch, tmp_path, capsys):
    """Runs a script in this process, where no work may begin: the sentence that it ends with."""

    def work(*args, **kwargs):
        raise AssertionError("the work began")

    for module, name in (
        (experiments, "evaluate"),
        (experiments, "own_means"),
        (collect, "collect"),
        (encoders, "fit_vae"),
    ):
        monkeypatch.setattr(module, name, work)
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        path = str(SCRIPTS / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(path, run_name="__main__")
        return f"{caught.value.code} {capsys.readouterr().err}"

    return run


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("evaluate.py", ["--methods", "bias-tuning"], "over 'no adaptation': name it too"),
        ("evaluate.py", ["--methods", "no adaptation,LoRA,LoRA"], "named twice: ['LoRA']"),
        ("evaluate.py", ["--nets", "LoRA=cubic"], "['LoRA'] are taken"),
        ("evaluate.py", ["--scale", "labtop"], "did you mean 'laptop'"),
        ("evaluate.py", ["--n-tasks", "-1"], "--n-tasks is 0 or more"),
        ("bench_adaptation.py", ["--scale", "tiny"], "smoke"),
        ("bench_adaptation.py", ["--repeats", "0"], "--repeats is 1 or more"),
        ("bench_interpolants.py", ["--device", "abacus"], "have cpu"),
        ("collect_trajectories.py", ["--tf32", "--device", "cpu"], "--tf32 would change"),
        (
            "collect_trajectories.py",
            ["--scheduler", "x", "--workers", "2"],
            "--workers would",
        ),
        ("train_zoo.py", ["--scheduler", "x", "--device", "cpu"], "--device would change"),
        ("train_zoo.py", ["--single-run", "5", "--n-networks", "9"], "--n-networks would"),
        ("train_zoo.py", ["--epochs", "6,6"], "different numbers such as 6,7,8"),
        ("retrieve_networks.py", ["--seeds", "0,one"], "--seeds takes different numbers"),
        ("retrieve_networks.py", ["--steps", "300"], "--steps takes 2 numbers"),
        ("compare_contexts.py", ["--protocol", "5-way 1-shot"], "take two shots or more"),
        ("download_data.py", ["--all", "dtd"], "one of these"),
        ("audit_cost.py", ["--again", "a.json", "--scale", "smoke"], "--scale would"),
        ("audit_cost.py", ["--again", "a.json", "--device=cpu"], "--device would"),
        ("audit_cost.py", ["--again", "a.json", "--repeats", "2"], "--repeats would"),
        ("audit_cost.py", ["--again", "a.json", "--workers", "2"], "--workers would"),
        ("bench_threads.py", ["--scale", "laptop", "--seed", "1"], "--scale, --seed would"),
        (
            "evaluate.py",
            ["--nets", "Jacobian flow=jacobian", "--methods", "no adaptation,LoRA"],
            "--nets would change nothing",
        ),
        ("compare_generators.py", ["--zoos", "zoo", "--again", "graph"], "no rows of zoo"),
        ("finetune_through.py", ["--pairs", "digits:glyphs,digits:mars"], "'mars'"),
        ("finetune_through.py", ["--pairs", "digits:digits"], "name another data set"),
        ("finetune_through.py", ["--pairs", "digits:glyphs,digits:glyphs"], "come twice"),
        ("compare_generators.py", ["--zoos", "a/zoo,b/zoo"], "['zoo'] come twice"),
        ("compare_starts.py", ["--zoos", "digits,a/digits"], "['digits'] come twice"),
    ],
)
def test_it_is_refused_before_the_work(said, name, arguments, words):
    assert words in said(name, *arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("compare_generators.py", ["--zoos", "digits,other"]),
        ("compare_starts.py", ["--zoos", "digits,other"]),
        ("finetune_through.py", ["--pairs", "digits:glyphs,other:glyphs"]),
    ],
)
def test_images_of_all_zoos_are_there_before_the_first_is_measured(
    said, monkeypatch, tmp_path, name, arguments
):
    def opened(path):
        zoo = zoo_store.shipped("digits")
        zoo = replace(zoo, dataset="mnist") if path == "other" else zoo
        return zoo, ZooConfig.at("laptop", "digits")

    monkeypatch.setattr(zoo_store, "open_zoo", opened)
    words = said(name, *arguments, "--scale", "smoke", "--data", tmp_path)
    assert "mnist" in words and "download_data.py" in words


@pytest.mark.parametrize(
    "name",
    ["compare_contexts.py", "compare_solvers.py", "compare_teachers.py", "evaluate.py"],
)
def test_a_scale_that_has_no_tasks_of_its_own_is_refused(said, name):
    assert "--scale would change nothing" in said(name, "--scale", "paper")


@pytest.mark.parametrize(
    "name", ["evaluate.py", "collect_trajectories.py", "audit_cost.py"]
)
def test_an_output_that_cannot_be_written_is_named_before_the_work(said, name, tmp_path):
    (tmp_path / "file").touch()
    words = said(name, "--scale", "smoke", "--out", tmp_path / "file" / "table")
    assert f"--out {tmp_path}/file/table cannot be written to" in words
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_in_place_of_a_file_is_named_before_the_work(said, tmp_path):
    words = said("plan_collection.py", "--out", tmp_path)
    assert f"--out {tmp_path} is a folder" in words
    assert "is a directory" in said("train_zoo.py", "--ship", tmp_path)


def test_a_table_of_another_script_is_no_place_for_rows(said, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"zoos": {}}), encoding="utf-8")
    words = said("finetune_through.py", "--scale", "smoke", "--out", path)
    assert "another script wrote it; take another --out" in words


@pytest.mark.parametrize(
    ("given", "scale", "n"), [(0, "smoke", 2), (5, "smoke", 5), (0, "laptop", 40)]
)
def test_a_number_of_tasks_counts_at_every_scale(given, scale, n):
    assert script.n_tasks(given, scale, 40) == n


def test_trajectories_that_no_method_uses_are_refused(monkeypatch):
    learned = methods.Learned()
    object.__setattr__(learned, "data", "anything recorded")
    monkeypatch.setattr(methods, "replace", lambda learned, own: learned)
    monkeypatch.setattr(methods, "named", lambda names, learned: [])
    with pytest.raises(ConfigError, match="for none of"):
        methods.checked(["no adaptation", "LoRA"], learned)
