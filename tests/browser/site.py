"""A folder of pages, served to a browser and read as a visitor would: what is wrong with it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = "() => [...document.querySelectorAll('a[href]')].map(a => a.href)"
PLOTS = """() => [...document.querySelectorAll('div.plot')].map(
    plot => plot.querySelectorAll('.main-svg .trace, .main-svg image, .main-svg .shapelayer path, '
        + '.main-svg .plot > *, .js-plotly-plot canvas').length)"""
IDS = "() => [...document.querySelectorAll('[id]')].map(one => one.id)"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Tests print what is wrong, not what was asked."""


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The address of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Visit:
    """All pages of a site, opened one after the other.

    `faults` are sentences; `plots` counts the plots of each page; `tab` is Playwright's page.
    """

    def __init__(self, browser, address: str, root: Path) -> None:
        self.tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        self.address, self.root, self.page = address, root, ""
        self.faults, self.plots, self.ids, self.links = [], {}, {}, {}
        self.tab.on("console", lambda m: m.type == "error" and self.fault(m.text))
        self.tab.on("pageerror", lambda error: self.fault(str(error)))
        self.tab.on("request", lambda request: self.asked(request.url))
        self.tab.on(
            "response", lambda r: r.status >= 400 and self.fault(f"{r.status} {r.url}")
        )

    def fault(self, words: str) -> None:
        self.faults.append(f"{self.page}: {words}")

    def asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and not self.ours(url):
            self.fault(f"asks another host: {url}")

    def ours(self, url: str) -> bool:
        return url.startswith((f"{self.address}/", "file:"))

    def open(self, page: str) -> None:
        """Open one page and wait until something stands in each of its plots."""
        self.page = page
        self.tab.goto(f"{self.address}/{page}")
        for _ in range(200):
            counts = self.tab.evaluate(PLOTS)
            if all(counts):
                break
            self.tab.wait_for_timeout(100)
        self.plots[page] = len(counts)
        if not all(counts):
            self.fault(f"empty plots: {counts}")
        self.ids[page] = set(self.tab.evaluate(IDS))
        self.links[page] = set(self.tab.evaluate(LINKS))

    def all(self) -> "Visit":
        """Every page of the site; then every link between them is followed."""
        for path in sorted(self.root.rglob("*.html")):
            self.open(path.relative_to(self.root).as_posix())
        for page, links in self.links.items():
            self.page = page
            for link in filter(self.ours, links):
                self.follow(link)
        return self

    def follow(self, link: str) -> None:
        parts = urlsplit(link)
        name = unquote(parts.path).lstrip("/") or "index.html"
        if not (self.root / name).is_file():
            self.fault(f"broken link: {link}")
        elif parts.fragment and unquote(parts.fragment) not in self.ids.get(name, {"_"}):
            self.fault(f"no such place: {link}")
