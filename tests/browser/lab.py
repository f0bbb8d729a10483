"""JupyterLab and a browser, driven as a person would: open, run, press, look.

def test_step(lab):
    with lab.open("07_step_the_solver.ipynb") as page:   # at smoke scale, in a copy
        page.run_all()                                   # fails if a cell raises
        before = page.points()                           # of the first plot's first trace
        page.press("Step")
        page.until(lambda: page.points() == before + 1)
        assert page.kernel("len(state.path)") == str(before + 1)
        page.screenshot("stepper")                       # artifacts/browser/stepper.png
"""

import ast
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from course import runner

from tests.notebooks.files import ROOT, SMOKE

SHOTS = ROOT / "artifacts" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
CURRENT = "window.jupyterapp.shell.currentWidget"


def browser_path() -> str | None:
    """The machine's browser: $CHROMIUM, or the first of the usual names on the PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def jupyterlab(root: Path, timeout_s: float = 90):
    """(address, token) of a JupyterLab on `root`, set as `make lab` sets it, not as the user."""
    port, token = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="lab_", ignore_cleanup_errors=True) as state:
        log = Path(state, "log")
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
                *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
                *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"),
                *("--LabApp.expose_app_in_browser=True",),
            ],
            env={
                **os.environ,
                "JUPYTER_CONFIG_DIR": f"{state}/config",
                "JUPYTER_CONFIG_PATH": str(ROOT / "notebooks" / ".jupyter"),
                "JUPYTERLAB_SETTINGS_DIR": f"{state}/settings",
                "JUPYTERLAB_WORKSPACES_DIR": f"{state}/workspaces",
                "JUPYTER_RUNTIME_DIR": f"{state}/runtime",
                "IPYTHONDIR": f"{state}/ipython",
                "HF_HUB_OFFLINE": "1",
            },
            stdout=log.open("w", encoding="utf-8"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_up(server, f"{address}/api?token={token}", log, timeout_s)
            yield address, token
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # the group made here, nothing else
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def wait_until_up(server, url, log, timeout_s):
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return urllib.request.urlopen(url, timeout=2).read()
        except OSError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8")[-2000:]
                raise RuntimeError(f"jupyter lab did not start: {said}") from error
            time.sleep(0.2)


class Lab:
    """One server, one browser; `open` gives a page of the folder `root`/notebooks."""

    def __init__(self, browser, address, token, root):
        self.browser, self.address, self.token = browser, address, token
        self.notebooks = root / "notebooks"

    @contextmanager
    def open(self, name, parameters=SMOKE):
        """A notebook of the course at smoke scale; its kernel ends with the block."""
        path = self.notebooks / name
        runner.prepare(path, path, parameters)
        tab = self.browser.new_page(viewport={"width": 1280, "height": 1600})
        page = Page(tab, self.address)
        try:
            tab.goto(f"{self.address}/doc/tree/notebooks/{name}?token={self.token}&reset")
            ready = f"() => window.jupyterapp && {CURRENT}?.sessionContext?.isReady"
            tab.wait_for_function(ready, timeout=90_000)
            yield page
        finally:
            tab.evaluate(f"() => {CURRENT}?.sessionContext?.shutdown()")
            tab.close()


class Page:
    """One open notebook. `tab` is Playwright's page, for all that is not here."""

    def __init__(self, tab, address):
        self.tab, self.external, self.console_errors = tab, [], []
        tab.on("request", lambda request: self._note(urlsplit(request.url), address))
        tab.on(
            "console", lambda m: m.type == "error" and self.console_errors.append(m.text)
        )

    def _note(self, url, address):
        """Remember requests that leave the machine."""
        if url.scheme in ("http", "https", "ws", "wss") and url.netloc not in address:
            self.external.append(url.geturl())

    def run_all(self, timeout_s=180):
        """Run every cell and wait until the kernel is idle; an error in a cell raises."""
        self.tab.evaluate(
            "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
        )
        done = f"""() => {{
            const lab = {CURRENT}, cells = [...lab.content.model.cells];
            const code = cells.filter(c => c.type === 'code' && c.sharedModel.getSource().trim());
            const said = code.flatMap(c => c.sharedModel.getOutputs());
            const stopped = said.some(o => o.output_type === 'error');
            const ran = code.every(c => c.executionCount);
            return (ran || stopped) && lab.sessionContext.session.kernel.status === 'idle';
        }}"""
        self.tab.wait_for_function(done, timeout=timeout_s * 1000)
        assert not self.errors(), self.errors()

    def errors(self):
        """'Name: message' of every exception shown in the notebook."""
        return self.tab.evaluate(f"""() => [...{CURRENT}.content.model.cells]
            .filter(c => c.type === 'code').flatMap(c => c.sharedModel.getOutputs())
            .filter(o => o.output_type === 'error').map(o => `${{o.ename}}: ${{o.evalue}}`)""")

    def kernel(self, expression):
        """repr of an expression in the notebook's kernel: what Python believes."""
        return self.tab.evaluate(
            f"""async (expression) => {{
                const kernel = {CURRENT}.sessionContext.session.kernel;
                const future = kernel.requestExecute({{code: '', silent: true,
                    store_history: false, user_expressions: {{v: expression}}}});
                const v = (await future.done).content.user_expressions.v;
                if (v.status !== 'ok') throw new Error(v.ename + ': ' + v.evalue);
                return v.data['text/plain'];
            }}""",
            expression,
        )

    def said(self, expression):
        """A JSON-able value of the kernel, as JSON."""
        return ast.literal_eval(self.kernel(f"__import__('json').dumps({expression})"))

    def tell(self, code):
        """Run statements in the kernel, unseen."""
        self.tab.evaluate(
            f"""async (code) => {{
                const kernel = {CURRENT}.sessionContext.session.kernel;
                const future = kernel.requestExecute({{code, silent: true, store_history: false}});
                const said = await future.done;
                if (said.content.status !== 'ok') throw new Error(said.content.evalue);
            }}""",
            code,
        )

    def button(self, name):
        """A button by its words; an icon's glyph may stand before them."""
        return self.tab.get_by_role("button", name=re.compile(rf"(^|\s|\W){name}$")).first

    def press(self, name):
        self.button(name).click()

    def choose(self, label, option):
        """Set the drop-down with this label."""
        self.tab.get_by_label(label, exact=True).first.select_option(option)

    def n_plots(self):
        return self.tab.locator(".js-plotly-plot").count()

    def points(self, plot=0, trace=0):
        """How many points plotly.js draws in a trace; -1 when there is no such trace."""
        return self.tab.evaluate(
            """([plot, trace]) => {
                const found = document.querySelectorAll('.js-plotly-plot')[plot]?.data?.[trace];
                return found ? (found.x ?? found.y ?? []).length : -1;
            }""",
            [plot, trace],
        )

    def traces(self, plot=0):
        """Names of the traces that plotly.js holds, in order: for `points(trace=...)`."""
        return self.tab.evaluate(
            """plot => (document.querySelectorAll('.js-plotly-plot')[plot]?.data ?? [])
                .map(trace => trace.name ?? '')""",
            plot,
        )

    def text(self):
        """All text that the page shows."""
        return self.tab.locator(".jp-Notebook").inner_text()

    def until(self, condition, timeout_s=20):
        """Wait for `condition()`; the last thing it returned is in the message."""
        deadline = time.monotonic() + timeout_s
        while not (last := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not so after {timeout_s} s; last: {last!r}")
            self.tab.wait_for_timeout(100)

    def still(self, where):
        """What `where()` says when it says it twice: a page that grows moves what is in it."""
        seen = [None]

        def twice():
            seen.append(where())
            return seen[-1] is not None and seen[-1] == seen[-2]

        self.until(twice)
        return seen[-1]

    def screenshot(self, name, part=None):
        """Write artifacts/browser/NAME.png, of the page or a part, and return its path."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        (part or self.tab).screenshot(path=path)
        return path
