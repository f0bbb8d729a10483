"""Serve the Euler stepper of notebook 07 as a page of its own, with voila."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

from hyperlab.tasks import domains

import nbformat
import typer
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from voila.app import Voila

import script

TITLE = """# One step of the learned flow
What does **Step** do to a task that neither the network nor its learned flow has seen?"""
CODE = """from hyperlab import params
from hyperlab.hyperflow import drift, jacobian_flow
from hyperlab.models import targets
from hyperlab.apps import app, bench, stepper

target = targets.load("vit_micro", subset=params.qkv_biases)
nets = {{"Jacobian flow": jacobian_flow.load(), "HyperFlow-L": drift.load("linear")}}
domains = bench.unseen()
tried = bench.Bench(target=target, nets=nets, domains=domains, seed={seed})
app.App(stepper.Stepper(tried))"""
TEMPLATE = "voila/templates/offline"  # voila's page, less what it loads from other hosts
PAGE = """{%- extends "voila/templates/lab/index.html.j2" -%}
{% import "spinner.macro.html.j2" as spinner %}
{%- block notebook_css -%}
{{ resources.include_js("static/voila-style.js") }}
{{ spinner.css() }}
{{ super.super() }}
{%- endblock notebook_css -%}"""


def main(
    port: Annotated[int, typer.Option(help="the next free one, if it is taken")] = 8866,
    browser: Annotated[bool, typer.Option(help="open the page")] = True,
    data: script.Data = None,
    seed: script.Seed = 0,
) -> None:
    """Print an address of this machine, token included, and serve until Ctrl-C."""
    if (root := domains.data_root(data)).is_dir():
        os.environ["HYPERLAB_DATA"] = str(root.absolute())
    with tempfile.TemporaryDirectory(prefix="stepper_") as folder:
        notebook, template = Path(folder, "stepper.ipynb"), Path(folder, TEMPLATE)
        template.mkdir(parents=True)
        cells = [new_markdown_cell(TITLE), new_code_cell(CODE.format(seed=seed))]
        nbformat.write(new_notebook(cells=cells), notebook)
        (template / "index.html.j2").write_text(PAGE, encoding="utf-8")
        (template / "conf.json").write_text('{"base_template": "lab"}', encoding="utf-8")
        os.environ["JUPYTER_PATH"] = folder
        fixed = [str(notebook), "--Voila.ip=127.0.0.1", "--template=offline", "--token"]
        Voila.launch_instance([*fixed, f"--port={port}", f"--Voila.open_browser={browser}"])


if __name__ == "__main__":
    script.run(main)
