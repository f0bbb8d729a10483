"""Plots and widgets of an executed notebook as HTML that needs no kernel.

A plot is its JSON in the page, drawn by book.js. A widget is what it showed when the run ended:
its controls with their values, its plot (alive), its words and pictures.
"""

import html
import itertools
import json
from collections.abc import Iterator, Mapping

from nbformat import NotebookNode

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
PLOT = "application/vnd.plotly.v1+json"
NOTE = "The widget as the run left it; in JupyterLab (<code>make lab</code>) it answers."

Models = Mapping[str, Mapping]  # id -> model_name, state, buffers
State = Mapping[str, object]


def freeze(notebook: NotebookNode) -> None:
    """Turn plots and widgets into `text/html`, in place, and drop what a browser would fetch."""
    widgets = notebook.metadata.pop("widgets", {})
    models = widgets.get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                kept for output in cell.outputs for kept in frozen(output, models)
            ]


def frozen(output: NotebookNode, models: Models) -> Iterator[NotebookNode]:
    """The output as it stands in the book; nothing for a library and for an empty widget."""
    data = output.get("data", {})
    if PLOT in data:
        output.data = NotebookNode({"text/html": plot(data[PLOT])})
    elif VIEW in data:
        shown = widget(data[VIEW]["model_id"], models)
        if not shown:
            return
        output.data = NotebookNode(
            {"text/html": app(shown, data[VIEW]["model_id"], models)}
        )
    elif "window.PlotlyConfig" in data.get("text/html", ""):
        return
    yield output


def plot(figure: Mapping) -> str:
    """A place for a figure and its JSON, `data` and `layout`; no wider than it was made."""
    layout = {k: v for k, v in figure["layout"].items() if k != "width"}
    wide = figure["layout"].get("width")
    text = json.dumps({"data": figure["data"], "layout": layout}, separators=(",", ":"))
    limit = f' style="max-width:{wide}px"' if wide else ""
    script = text.replace("<", "\\u003c")  # no </script> inside
    return (
        f'<div class="plot"{limit}><script type="application/json">{script}</script></div>'
    )


def app(shown: str, model_id: str, models: Models) -> str:
    """A frame around a widget, with a note where it has anything to operate."""
    if models[model_id]["model_name"] in QUIET or "<progress" in shown:
        return f'<div class="recorded">{shown}</div>'
    return f'<div class="recorded app">{shown}<p class="note">{NOTE}</p></div>'


def widget(reference: str, models: Models) -> str:
    """HTML of a model and all that is in it; "" for what has nothing to show."""
    model = models.get(reference.removeprefix("IPY_MODEL_"))
    if model is None:
        return ""
    state, name = with_bytes(model), model["model_name"].removesuffix("Model")
    layout = models.get(str(state.get("layout")).removeprefix("IPY_MODEL_"), {"state": {}})
    hidden = layout["state"].get("display") == "none"
    hidden |= layout["state"].get("visibility") == "hidden"
    if hidden:
        return ""
    if "_widget_data" in state:
        return plot({"data": state["_widget_data"], "layout": state["_widget_layout"]})
    if "_esm" in state:
        return ""  # works behind the others
    if "children" in state:
        return box(name, state, models)
    if name in PARTS:
        return PARTS[name](state)
    return f'<p class="unknown">{_text(state, "description")} (a control: {name})</p>'


def with_bytes(model: Mapping) -> dict:
    """The state with its binary values as base64."""
    found = {
        b["path"][0]: b["data"] for b in model.get("buffers", ()) if len(b["path"]) == 1
    }
    return {**model["state"], **found}


def box(name: str, state: State, models: Models) -> str:
    """The children below or beside each other; titles of tabs and accordions above them."""
    inside = [widget(child, models) for child in state["children"]]
    titles = itertools.chain(state.get("titles") or (), itertools.repeat(""))
    heads = (f"<h5>{html.escape(title)}</h5>" if title else "" for title in titles)
    parts = "".join(head + part for head, part in zip(heads, inside, strict=False))
    kind = "across" if name == "HBox" else "down"
    return f'<div class="{kind}">{parts}</div>' if any(inside) else ""


def _text(state: State, name: str) -> str:
    value = state.get(name)
    return "" if value is None else html.escape(str(value))


def _labelled(state: State, control: str) -> str:
    words = _text(state, "description")
    return f"<label><span>{words}</span>{control}</label>" if words else control


def button(state: State) -> str:
    tip = _text(state, "tooltip")
    pressed = ' aria-pressed="true"' if state.get("value") else ""
    words = _text(state, "description") or tip
    return f'<button type="button" disabled title="{tip}"{pressed}>{words}</button>'


def options(state: State) -> Iterator[tuple[str, bool]]:
    """Each option's label, and whether it is chosen."""
    index = state.get("index")
    chosen = index if isinstance(index, list | tuple) else [index]
    for number, label in enumerate(state.get("_options_labels", ())):
        yield html.escape(str(label)), number in chosen


def dropdown(state: State) -> str:
    inside = "".join(
        f"<option{' selected' if chosen else ''}>{label}</option>"
        for label, chosen in options(state)
    )
    return _labelled(state, f"<select disabled>{inside}</select>")


def listed(state: State) -> str:
    """A list of which one or several are chosen."""
    inside = dropdown({**state, "description": ""}).replace("<select", "<select multiple")
    return _labelled(state, inside)


def toggles(state: State) -> str:
    inside = "".join(
        f'<button type="button" disabled aria-pressed="{str(chosen).lower()}">{label}</button>'
        for label, chosen in options(state)
    )
    words = _text(state, "description")
    return (
        f'<span class="toggles" role="group" aria-label="{words}">{words} {inside}</span>'
    )


def slider(state: State) -> str:
    value = state.get("value")
    spots = value if isinstance(value, list | tuple) else [value]
    given = "".join(f' {k}="{_text(state, k)}"' for k in ("min", "max", "step"))
    inside = "".join(f'<input type="range" disabled{given} value="{v}">' for v in spots)
    shown = " to ".join(f"{v:g}" for v in spots) if state.get("readout", True) else ""
    return _labelled(state, f"{inside}<output>{shown}</output>")


def chosen_slider(state: State) -> str:
    """A slider over options."""
    labels = list(options(state))
    places = [str(i) for i, (_, chosen) in enumerate(labels) if chosen]
    top = max(len(labels) - 1, 0)
    inside = "".join(
        f'<input type="range" disabled min="0" max="{top}" value="{i}">' for i in places
    )
    shown = " to ".join(label for label, chosen in labels if chosen)
    return _labelled(state, f"{inside}<output>{shown}</output>")


def field(state: State) -> str:
    value = _text(state, "value")
    size = max(len(value), 4)
    return _labelled(state, f'<input type="text" disabled size="{size}" value="{value}">')


def area(state: State) -> str:
    return _labelled(state, f"<textarea disabled>{_text(state, 'value')}</textarea>")


def box_to_tick(state: State) -> str:
    ticked = " checked" if state.get("value") else ""
    return _labelled(state, f'<input type="checkbox" disabled{ticked}>')


def markup(state: State) -> str:
    words, value = _text(state, "description"), state.get("value") or ""
    return f"<div>{words} {value}</div>" if words or str(value).strip() else ""


def label(state: State) -> str:
    return markup({"value": _text(state, "value")})


def picture(state: State) -> str:
    kind, inside = state.get("format", "png"), state.get("value") or ""
    return f'<img alt="" src="data:image/{kind};base64,{inside}">'


def progress(state: State) -> str:
    given = f'max="{_text(state, "max")}" value="{_text(state, "value")}"'
    return _labelled(state, f"<progress {given}></progress>")


def printed(state: State) -> str:
    """What an Output widget holds."""
    outputs = list(state.get("outputs", ()))
    texts = (o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)
    shown = "".join(html.escape(text) for text in texts)
    plots = "".join(plot(o["data"][PLOT]) for o in outputs if PLOT in o.get("data", {}))
    return (f"<pre>{shown}</pre>" if shown else "") + plots


QUIET = {"HTMLModel", "LabelModel", "OutputModel"}
PARTS = {
    **dict.fromkeys(("Button", "ToggleButton"), button),
    "Dropdown": dropdown,
    **dict.fromkeys(("Select", "SelectMultiple"), listed),
    **dict.fromkeys(("ToggleButtons", "RadioButtons"), toggles),
    **dict.fromkeys(("IntSlider", "FloatSlider", "IntRangeSlider"), slider),
    **dict.fromkeys(("FloatRangeSlider", "FloatLogSlider"), slider),
    **dict.fromkeys(("SelectionSlider", "SelectionRangeSlider"), chosen_slider),
    **dict.fromkeys(("Text", "IntText", "FloatText", "Combobox"), field),
    **dict.fromkeys(("BoundedIntText", "BoundedFloatText"), field),
    "Textarea": area,
    **dict.fromkeys(("Checkbox", "Valid"), box_to_tick),
    **dict.fromkeys(("HTML", "HTMLMath"), markup),
    "Label": label,
    "Image": picture,
    **dict.fromkeys(("IntProgress", "FloatProgress"), progress),
    "Output": printed,
}
