// The side of page.Page that runs in a browser. No control is drawn here but a line for messages.
const PATIENCE_MS = 2000;
const BUSY =
  "No answer from the kernel yet. If a cell is running, this app goes on when it ends; " +
  "if the kernel was restarted, run this cell again.";
const GONE =
  "This app has lost its kernel (it was restarted or shut down). Run the cells again; " +
  "then paste the line of this one into the new app and press Go there.";

// Else JupyterLab takes an arrow for a move to the next cell, 0 0 for a restart of the kernel.
function keepKeys(app) {
  for (const control of app.querySelectorAll("select, button, [tabindex]")) {
    if (!control.dataset.lmSuppressShortcuts) control.dataset.lmSuppressShortcuts = "true";
  }
}

function names(app) {
  for (const box of app.querySelectorAll(".widget-hslider, .widget-vslider, .widget-slider")) {
    const words = box.querySelector(".widget-label")?.textContent?.trim();
    if (!words) continue;
    for (const handle of box.querySelectorAll(".noUi-handle, [role=slider]")) {
      if (handle.getAttribute("aria-label") !== words) handle.setAttribute("aria-label", words);
    }
  }
  for (const group of app.querySelectorAll(".widget-toggle-buttons")) {
    const words = group.querySelector(".widget-label")?.textContent?.trim();
    if (words && group.getAttribute("aria-label") !== words) {
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", words);
    }
  }
}

async function copy(app) {
  const field = [...app.querySelectorAll("input[type=text]")].pop();
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    document.execCommand("copy");
  }
}

// Plotly may leave a legend over the plot, where the margin was before it shrank (its issue 6492).
function lift(plot) {
  const legend = plot.querySelector(".legend");
  const placed = legend?.transform.baseVal.consolidate();
  if (!placed) return;
  const { legend: look, _size: size } = plot._fullLayout;
  const y = size.t + size.h * (1 - look.y) - look._effHeight; // of its upper edge: y is its lower
  legend.setAttribute("transform", `translate(${placed.matrix.e},${Math.max(y, 0)})`);
}

function legends(app) {
  for (const plot of app.querySelectorAll(".js-plotly-plot:not([data-lifts])")) {
    plot.dataset.lifts = "";
    plot.on("plotly_afterplot", () => lift(plot));
    lift(plot);
  }
}

// What ipywidgets and plotly leave undone, for all that is in the app by now.
function tend(app) {
  names(app);
  keepKeys(app);
  legends(app);
}

// Other points for some scatter traces, [number, x, y, perhaps colours] each, on the axes that are
// there. Plotly's own update lays the whole figure out anew. False: an axis that follows its points
// would have to move.
function paint(plot, traces) {
  const { calcdata, _fullData, _fullLayout } = plot;
  const placeOf = (trace) => _fullLayout._plots[trace.xaxis + trace.yaxis];
  const places = new Map(); // each with the module that draws there
  let fits = true;
  for (const [number, x, y, color] of traces) {
    const trace = _fullData[number];
    const place = placeOf(trace);
    Object.assign(plot.data[number], { x, y });
    Object.assign(trace, { x, y, _length: x.length });
    if (color) trace.marker.color = plot.data[number].marker.color = color;
    const before = calcdata[number][0];
    calcdata[number] = trace._module.calc(plot, trace);
    Object.assign(calcdata[number][0], { t: before.t, trace });
    fits &&= holds(place.xaxis, x) && holds(place.yaxis, y);
    places.set(place, trace._module);
  }
  for (const [place, module] of places) {
    const here = ([{ trace }]) =>
      trace.visible === true && trace._module === module && placeOf(trace) === place;
    module.plot(plot, place, calcdata.filter(here), place.plot.select(".scatterlayer"));
  }
  plot.emit("plotly_afterplot");
  return fits;
}

// Whether the axis can stay; a point that is no number is not drawn.
function holds(axis, values) {
  if (!axis.autorange) return true;
  const [low, high] = axis.range.map((end) => axis.r2l(end));
  return !values.some((value) => axis.d2l(value) < low || axis.d2l(value) > high);
}

function painted(app, traces) {
  try {
    return paint(app.querySelector(".js-plotly-plot"), traces);
  } catch (error) {
    console.warn("drawing by plotly's own update instead:", error);
    return false;
  }
}

// A hidden page has no frames.
function shown(then) {
  if (document.hidden) then();
  else requestAnimationFrame(then);
}

function watch(model, app, note) {
  let asked = 0;
  let timer = null;
  let fits = true; // of what was painted last
  const lost = () =>
    app.classList.contains("jupyter-widgets-disconnected") ||
    app.querySelector(".jupyter-widgets-disconnected") !== null;
  const ask = () => {
    if (timer !== null) return;
    asked += 1;
    timer = setTimeout(() => {
      note.textContent = lost() ? GONE : BUSY;
      timer = null;
    }, PATIENCE_MS);
    model.send({ asked });
  };
  model.on("msg:custom", (answer) => {
    if (answer.paint) fits = painted(app, answer.paint);
    if (answer.draw) {
      const seen = { drawn: answer.draw, fits };
      fits = true;
      shown(() => model.send(seen));
    }
    if (answer.asked !== asked) return;
    clearTimeout(timer);
    timer = null;
    note.textContent = "";
  });
  app.addEventListener("click", (event) => {
    if (event.target.closest(".hyperlab-copy")) copy(app);
    ask();
  });
  app.addEventListener("change", ask);
  const seen = new MutationObserver(() => {
    tend(app);
    if (lost() && note.textContent !== GONE) note.textContent = GONE;
  });
  seen.observe(app, { childList: true, subtree: true, attributeFilter: ["class"] });
  // A plot that was made before its place was in the page is as wide as plotly's default. A few
  // pixels are left alone: a scroll bar that comes and goes would call for ever.
  let width = 0;
  new ResizeObserver(() => {
    if (Math.abs(app.clientWidth - width) < 30) return;
    width = app.clientWidth;
    window.dispatchEvent(new Event("resize"));
  }).observe(app);
  tend(app);
  model.send({ hello: true });
}

function render({ model, el }) {
  const note = document.createElement("div");
  note.setAttribute("role", "alert");
  el.append(note);
  const find = () => {
    const app = el.closest(".hyperlab-app");
    if (app) watch(model, app, note);
    else requestAnimationFrame(find);
  };
  find();
}

export default { render };
