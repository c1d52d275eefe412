// Renders the specifications of the page in its colours; joins form, boxes in charts and table.
(function () {
  "use strict";
  var content = JSON.parse(document.getElementById("content").textContent);
  var form = document.getElementById("limits");
  var boxed = null; // the intervals dragged: field -> [low, high]

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }
  function config() {
    var ink = colour("ink"), line = colour("line");
    return {
      background: "transparent", font: "system-ui, sans-serif",
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: ink,
        tickColor: ink, labelFontSize: 12, titleFontSize: 13 },
      legend: { labelColor: ink, titleColor: ink }, header: { labelColor: ink, titleColor: ink },
      title: { color: ink }, view: { stroke: line }, text: { color: ink },
      range: { category: [colour("main"), colour("other"), colour("link"), colour("muted")] }
    };
  }
  function limits() {
    var out = {};
    if (form) Array.prototype.forEach.call(form.elements, function (e) {
      if (e.name && e.value !== "") out[e.name] = [e.dataset.way, Number(e.value)];
    });
    return out;
  }
  function inside(point) {
    var given = limits();
    var kept = Object.keys(given).every(function (name) {
      var v = point[name];
      return v == null || (given[name][0] === "most" ? v <= given[name][1] : v >= given[name][1]);
    });
    return kept && (!boxed || Object.keys(boxed).every(function (name) {
      var v = point[name];
      return v == null || (v >= boxed[name][0] && v <= boxed[name][1]);
    }));
  }
  function table() {
    var points = content.points || [], there = {}, count = 0;
    points.forEach(function (p) {
      there[p.number] = inside(p);
      if (there[p.number]) count += 1;
    });
    Array.prototype.forEach.call(document.querySelectorAll("tr[data-point]"), function (row) {
      row.classList.toggle("outside", there[row.dataset.point] === false);
    });
    var said = document.getElementById("count");
    if (said) said.textContent = count + " of " + points.length + " points are within the box.";
  }
  function draw() {
    content.charts.forEach(function (chart, i) {
      var place = document.getElementById("chart-" + (i + 1));
      var spec = JSON.parse(JSON.stringify(chart));
      spec.config = config();
      Object.keys(spec.datasets || {}).forEach(function (name) {
        spec.datasets[name].forEach(function (row) { row.inside = inside(row); });
      });
      var view = new vega.View(vega.parse(vegaLite.compile(spec).spec),
        { renderer: "svg", container: place, hover: true });
      view.runAsync().then(function () {
        if (!chart.usermeta || !chart.usermeta.boxes) return;
        view.addDataListener("box_store", function (_name, store) {
          boxed = null;
          store.forEach(function (one) {
            one.fields.forEach(function (f, k) {
              var span = [Math.min.apply(null, one.values[k]), Math.max.apply(null, one.values[k])];
              boxed = boxed || {};
              var old = boxed[f.field];
              boxed[f.field] = old ? [Math.max(old[0], span[0]), Math.min(old[1], span[1])] : span;
            });
          });
          table();
        });
      });
    });
    table();
  }
  if (form) {
    form.addEventListener("submit", function (e) { e.preventDefault(); });
    form.addEventListener("change", draw);
    form.addEventListener("reset", function () { boxed = null; setTimeout(draw, 0); });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("beforeprint", function () {
    Array.prototype.forEach.call(document.querySelectorAll("details"), function (d) {
      d.open = true;
    });
  });
  draw();
})();
