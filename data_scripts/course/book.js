// Draws every plot of the page; plotly.js is loaded where there is one, from beside this file.
(() => {
  const folder = new URL(".", document.currentScript.src);
  const options = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["sendChartToCloud"],
  };
  const draw = (place) => {
    const figure = JSON.parse(place.querySelector("script").textContent);
    const canvas = document.createElement("div");
    place.append(canvas);
    return Plotly.newPlot(canvas, figure.data, figure.layout, options);
  };
  const start = () => {
    const places = [...document.querySelectorAll("div.plot")];
    if (!places.length) return;
    const library = document.createElement("script");
    library.src = new URL("plotly.min.js", folder);
    library.onload = () => places.forEach(draw);
    document.head.append(library);
  };
  document.addEventListener("DOMContentLoaded", start);
})();
