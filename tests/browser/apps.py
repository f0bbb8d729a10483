"""Every control of an app by mouse and by keyboard: what is drawn is what the model says.

with lab.open("01_gradient_descent_is_an_ode.ipynb") as page:
    page.run_all()
    Driven(page, "gradient_flow").use_every_control()
"""

import json
import time

SETTLE_MS = 150
DIGEST = """
def _digest(figure):
    def total(values):
        numbers = [] if values is None else list(values)
        if any(isinstance(v, str) for v in numbers):
            return len(numbers)
        finite = [float(v) for v in numbers if v is not None and abs(float(v)) < 1e30]
        return sum(finite)
    flat = [t for t in figure.data if t.type != "heatmap" and t["y"] is not None and len(t["y"])]
    return [[t.name or "", total(t["x"]), total(t["y"])] for t in flat]
"""
DRAWN = """app => {
    const plot = app.querySelector('.js-plotly-plot');
    const total = values => {
        const numbers = Array.from(values ?? []);
        if (numbers.some(v => typeof v === 'string')) return numbers.length;
        return numbers.filter(v => v !== null && Math.abs(v) < 1e30).reduce((a, b) => a + b, 0);
    };
    return plot.data.map((t, i) => [t, plot._fullData[i] ?? t])
        .filter(([t, f]) => t.type !== 'heatmap' && (f.y ?? t.y ?? []).length)
        .map(([t, f]) => [t.name ?? '', total(f.x ?? t.x), total(f.y ?? t.y)]);
}"""
UNNAMED = """app => [...app.querySelectorAll('input, select, button, [role=slider]')]
    .filter(e => e.offsetParent !== null && !e.closest('.js-plotly-plot'))
    .filter(e => !(e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent
        || e.title).trim())
    .map(e => e.outerHTML.slice(0, 200))"""
COVERED = """app => [...app.querySelectorAll('.js-plotly-plot')]
    .map(plot => [plot.querySelector('.legend .bg')?.getBoundingClientRect().bottom ?? 0,
        plot.getBoundingClientRect().top + plot._fullLayout._size.t])
    .filter(([legend, top]) => legend > top + 1)"""  # by a legend: a plot's upper edge
OVER = "app => app.scrollWidth - app.clientWidth"
DARK = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"


class Driven:
    """One app of an open notebook, and what its model says.

    Args:
        name: the word that its line begins with.
        state: the notebook's name for the state.
        seconds: that an answer may take.
    """

    def __init__(self, page, name, *, state="state", seconds=30):
        self.page, self.name, self.state, self.seconds = page, name, state, seconds
        every = page.tab.locator(".hyperlab-app")
        shown = [
            i for i in range(every.count()) if self._line_in(every.nth(i)).startswith(name)
        ]
        assert len(shown) == 1, f"{len(shown)} apps called {name}"
        self.app = every.nth(shown[0])
        page.tell(DIGEST)

    def _line_in(self, app):
        return app.locator("input[type=text]").last.input_value()

    def line(self):
        """The state on one line, as the kernel has it."""
        app = "__import__('hyperlab.apps.app', fromlist=['x'])"
        return json.loads(self.page.said(f"{app}.line_of({self.state}, seed)"))

    def differs(self):
        """What on the page is not what the model says; empty when they agree."""
        if (line := self.line()) != (shown := self._line_in(self.app)):
            return f"line {shown!r}, model {line!r}"
        if "figure" not in self.page.kernel(f"{self.state}.views"):
            return ""
        model = json.loads(self.page.said(f"_digest({self.state}.drawn())"))
        drawn = self.app.evaluate(DRAWN)
        if len(model) != len(drawn):
            return f"{len(drawn)} traces are drawn, the model has {len(model)}"
        for mine, theirs in zip(model, drawn, strict=True):
            if mine[0] != theirs[0] or any(map(_apart, mine[1:], theirs[1:])):
                return f"drawn {theirs}, model {mine}"
        return ""

    def agrees(self):
        """Wait until they do."""
        self.page.tab.wait_for_timeout(SETTLE_MS)
        deadline = time.monotonic() + self.seconds
        while fault := self.differs():
            assert time.monotonic() < deadline, fault
            self.page.tab.wait_for_timeout(100)

    def changes(self, act):
        """`act` changes the state, and the page follows."""
        before = self.line()
        act()
        self.page.until(lambda: self.line() != before, self.seconds)
        self.agrees()

    def use_every_control(self):
        """All of them, in both ways; then names, widths, themes, errors and requests."""
        self.app.scroll_into_view_if_needed()
        self.agrees()
        self.uncovered()
        self.buttons()
        self.choices()
        self.numbers()
        self.sliders()
        assert self.app.evaluate(UNNAMED) == []
        self.look()
        assert self.page.console_errors == []
        assert self.page.external == []

    def buttons(self):
        found = self.app.locator(".jupyter-button:not(.widget-toggle-button)")
        for i in range(found.count()):
            button, words = found.nth(i), found.nth(i).inner_text().strip()
            if words in ("Copy", "Go there"):
                continue
            for act in (button.click, lambda b=button: self._keys(b, "Space")):
                if button.is_enabled():
                    act()
                    if words == "Run":
                        self.page.tab.wait_for_timeout(400)
                        self._pause()
                    self.agrees()

    def _pause(self):
        pause = self.app.get_by_role("button", name="Pause", exact=True)
        if pause.count():
            pause.click()
            self.page.tab.wait_for_timeout(700)

    def _keys(self, control, *keys):
        control.focus()
        for key in keys:
            self.page.tab.keyboard.press(key)

    def _typed(self, box, words):
        """Choose by the first letters, as a reader does who knows the words."""
        box.focus()
        self.page.tab.keyboard.type(words)

    def choices(self):
        """Drop-downs and rows of toggle buttons."""
        found = self.app.locator("select")
        for i in range(found.count()):
            box = found.nth(i)
            options = box.locator("option").count()
            place = box.evaluate("box => box.selectedIndex")
            if options < 2:
                continue
            self.changes(
                lambda b=box, p=place, n=options: b.select_option(index=(p + 1) % n)
            )
            words = box.locator("option").nth(place).inner_text()
            self.changes(lambda b=box, w=words: self._typed(b, w))  # to where it was
        rows = self.app.locator(".widget-toggle-buttons")
        for i in range(rows.count()):
            for act in ("mouse", "key"):
                other = rows.nth(i).locator(".widget-toggle-button:not(.mod-active)").first
                if act == "mouse":
                    self.changes(other.click)
                else:
                    self.changes(lambda b=other: self._keys(b, "Space"))

    def numbers(self):
        found = self.app.locator("input[type=number]")
        for i in range(found.count()):
            box = found.nth(i)
            if not box.is_enabled():
                continue
            value, least, most = (
                box.evaluate(f"box => box.{name}") for name in ("value", "min", "max")
            )
            one = float(value) * (1.5 if "." in value else 1) + ("." not in value)
            new = one if not most or one <= float(most) else float(least)
            self.changes(lambda b=box, v=new: (b.fill(f"{v:g}"), b.press("Enter")))
            keys = ("ArrowDown" if most and new == float(most) else "ArrowUp", "Enter")
            self.changes(lambda b=box, k=keys: self._keys(b, *k))

    def sliders(self):
        found = self.app.locator("[role=slider]")
        step = self.app.get_by_role("button", name="Step", exact=True)
        for i in range(found.count()):
            for _ in range(2 * step.count()):
                if step.is_enabled():
                    self.changes(step.click)
            handle = found.nth(i)
            assert handle.get_attribute("aria-label")
            now, least = (
                float(handle.get_attribute(f"aria-value{end}")) for end in ("now", "min")
            )
            key = "ArrowRight" if now == least else "ArrowLeft"
            self.changes(lambda h=handle, k=key: self._keys(h, k))
            bar = handle.locator("xpath=ancestor::*[contains(@class,'noUi-target')]")
            box, at = bar.bounding_box(), handle.bounding_box()
            left = at["x"] - box["x"] > box["width"] / 2
            spot = {"x": box["width"] * (0.2 if left else 0.8), "y": box["height"] / 2}
            self.changes(lambda b=bar, p=spot: b.click(position=p, force=True))

    def look(self):
        """A screenshot in the light and one in a narrow dark window; nothing is cut off."""
        self.uncovered()
        self.page.screenshot(self.name, self.app)
        self.page.tab.evaluate(DARK, "JupyterLab Dark")
        self.page.tab.set_viewport_size({"width": 900, "height": 1600})
        self.page.tab.wait_for_timeout(800)
        assert self.app.evaluate(OVER) <= 1
        self.uncovered()
        self.page.screenshot(f"{self.name}_dark_900", self.app)
        self.page.tab.evaluate(DARK, "JupyterLab Light")
        self.page.tab.set_viewport_size({"width": 1280, "height": 1600})
        self.page.tab.wait_for_timeout(500)
        self.uncovered()

    def uncovered(self):
        """No legend lies over a plot."""
        self.page.until(lambda: self.app.evaluate(COVERED) == [])


def _apart(a, b):
    return abs(a - b) > 1e-3 * max(1.0, abs(a), abs(b))
