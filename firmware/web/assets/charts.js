// Charts of the day over one time axis: what happened, what was planned and forecast.

import { drawn, element, isKnown, number } from "./words.js";

const LEFT = 42, RIGHT = 10, TOP = 18, BOTTOM = 22;
const HOUR_S = 3600, GAP_S = 150;
const AHEAD_S = 6 * HOUR_S; // in the evening the axis goes on beyond midnight

/** One layer: points of [t, value] or, for a band, [t, low, high]. */
function layer(shape, style, label, points) { return { shape, style, label, points }; }

const column = (rows, columns, name) => {
  const index = columns.indexOf(name);
  return rows.map((row) => [row[0], row[index]]);
};

/** All charts for which there is something to show. */
export function chartsOf(day, has, live) {
  const now = live.utcS;
  const minutes = (name) => {
    const points = column(day.minutes, day.minute_columns, name);
    const current = live.values[name];
    return isKnown(current) ? [...points, [now, current]] : points;
  };
  const planned = (name) => column(day.plan, day.plan_columns, name);
  const scaled = (points, factor) => points.map(([t, v]) => [t, isKnown(v) ? factor * v : v]);
  const power = (name, kind) => [
    layer("area", kind, "", minutes(name)),
    layer("line", kind, "actual", minutes(name)),
    layer("steps", "plan", "plan", planned(name)),
  ];
  const forecast = (quantity, kind) => {
    const names = ["p10_kw", "p50_kw", "p90_kw"].map((name) => day.forecast_columns.indexOf(`${quantity}_${name}`));
    const of = (...indexes) => day.forecast.map((row) => [row[0], ...indexes.map((index) => row[index])]);
    return [
      layer("band", "band", "p10\u2013p90", of(names[0], names[2])),
      layer("steps", "median", "forecast", of(names[1])),
      layer("line", kind, "actual", minutes(`${quantity}_kw`)),
    ];
  };
  const limits = [live.limits.soc_min_frac, live.limits.reserve_soc_frac, live.limits.soc_max_frac].filter(isKnown);
  const soc = [
    ...limits.map((limit, index) => layer("line", "limit", index ? "" : "limits, reserve", [[-Infinity, 100 * limit], [Infinity, 100 * limit]])),
    layer("area", "battery", "", scaled(minutes("soc_frac"), 100)),
    layer("line", "battery", "actual", scaled(minutes("soc_frac"), 100)),
    layer("line", "plan", "plan", scaled(planned("soc_frac"), 100).map(([t, v]) => [t + day.slot_s, v])),
  ];
  const price = (index) => {
    const seen = column(day.minutes, day.minute_columns, index === 1 ? "price_buy_per_kwh" : "price_sell_per_kwh");
    const first = seen.length ? seen[0][0] : Infinity, last = seen.length ? seen.at(-1)[0] : -Infinity;
    const known = (part) => day.prices.filter(part).map((row) => [row[0], row[index]]);
    return [...known(([t]) => t < first), ...seen, ...known(([t]) => t >= first && t > last)];
  };
  const traded = (index) => day.trades.flatMap(([from, until, ...values]) => [[from, values[index]], [until, values[index]], [until, null]]);
  const trades = (index) => (day.trades.length ? [layer("line", "trade", "traded", traded(index))] : []);
  const agreed = day.agreed.length ? [layer("steps", "plan", "expected among neighbours", day.agreed)] : [];
  const found = [];
  if (has.battery) found.push({ id: "soc", title: "State of charge", unit: "%", layers: soc, span: [0, 100] });
  if (has.pv) found.push({ id: "pv", title: "PV", unit: "kW", layers: forecast("pv", "pv") });
  found.push({ id: "load", title: "House", unit: "kW", layers: forecast("load", "load") });
  if (has.battery) found.push({ id: "battery", title: "Battery", unit: "kW", layers: power("battery_kw", "battery") });
  if (has.grid) found.push({ id: "grid", title: "Grid", unit: "kW", layers: [...power("grid_kw", "grid"), ...trades(0)] });
  if (has.generator) found.push({ id: "generator", title: "Generator", unit: "kW", layers: power("generator_kw", "generator") });
  if (has.grid) {
    const layers = [layer("steps", "buy", "buying", price(1)), layer("steps", "sell", "selling", price(2)), ...agreed, ...trades(1)];
    found.push({ id: "prices", title: "Prices", unit: `${day.currency} per kWh`, layers });
  }
  return found;
}

/** Draws charts into a place, and reads values out under the pointer in all of them at once. */
export class Charts {
  constructor(place) {
    this.place = place;
    this.figures = new Map();
    this.share = null; // where the pointer is
    new ResizeObserver(() => {
      const isOther = this.width !== place.clientWidth; // a legend that wraps changes the height alone
      this.width = place.clientWidth;
      if (isOther && this.last) this.draw(...this.last);
    }).observe(place);
  }

  draw(charts, day, nowS, clock) {
    this.last = [charts, day, nowS, clock];
    this.axis = { from: day.start_s, to: Math.max(day.end_s, nowS + AHEAD_S), nowS, clock, slotS: day.slot_s };
    for (const [id, figure] of this.figures) {
      if (!charts.some((chart) => chart.id === id)) { figure.root.remove(); this.figures.delete(id); }
    }
    for (const chart of charts) {
      let figure = this.figures.get(chart.id);
      if (!figure) { figure = new Figure(chart, this); this.figures.set(chart.id, figure); this.place.append(figure.root); }
      figure.draw(chart, this.axis);
    }
    this.read(this.share);
  }

  read(share) {
    this.share = share;
    for (const figure of this.figures.values()) figure.read(share);
  }
}

class Figure {
  constructor(chart, all) {
    this.svg = drawn("svg", { class: "plot", role: "img" });
    this.keys = element("ul", { class: "keys" });
    const title = element("h3", {}, chart.title, element("span", { class: "unit" }, chart.unit));
    this.root = element("figure", { id: `chart-${chart.id}` }, element("figcaption", {}, title, this.keys), this.svg);
    const follow = (event) => {
      const box = this.svg.getBoundingClientRect();
      all.read(Math.min(1, Math.max(0, (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT))));
    };
    this.svg.addEventListener("pointermove", follow);
    this.svg.addEventListener("pointerdown", follow);
    this.svg.addEventListener("pointerleave", () => all.read(null));
  }

  draw(chart, axis) {
    const width = Math.max(200, this.root.clientWidth), height = 150;
    this.frame = { width, height, right: width - RIGHT, bottom: TOP + height };
    this.axis = axis;
    this.chart = chart;
    const scale = chart.span ? { low: chart.span[0], high: chart.span[1], step: 25 } : scaleOf(chart.layers, axis);
    const x = (t) => LEFT + ((Math.min(axis.to, Math.max(axis.from, t)) - axis.from) / (axis.to - axis.from)) * (width - LEFT - RIGHT);
    const y = (v) => TOP + (1 - (Math.min(scale.high, Math.max(scale.low, v)) - scale.low) / (scale.high - scale.low)) * height;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${TOP + height + BOTTOM}`);
    this.svg.setAttribute("height", TOP + height + BOTTOM);
    this.svg.replaceChildren(
      drawn("rect", { class: "ahead", x: x(axis.nowS), y: TOP, width: Math.max(0, this.frame.right - x(axis.nowS)), height }),
      ...this._grid(scale, y), ...this._times(x),
      ...chart.layers.map((item) => drawn("path", { class: `${item.shape === "steps" ? "line" : item.shape === "band" ? "area" : item.shape} ${item.style}`, d: path(item, x, y, axis) })),
      ...this._now(x),
    );
    this.svg.setAttribute("aria-label", summary(chart, axis));
    this.cursor = drawn("line", { class: "cursor", y1: TOP, y2: TOP + height, visibility: "hidden" });
    this.svg.append(this.cursor);
    this._legend(chart.layers.filter((item) => item.label && item.points.length));
  }

  read(share) {
    const { from, to, clock } = this.axis;
    const t = share === null ? null : from + share * (to - from);
    this.cursor.setAttribute("visibility", t === null ? "hidden" : "visible");
    if (t !== null) {
      const x = LEFT + share * (this.frame.right - LEFT);
      this.cursor.setAttribute("x1", x);
      this.cursor.setAttribute("x2", x);
    }
    for (const { item, output } of this.outputs) {
      if (item) output.textContent = t === null ? "" : valueAt(item, t);
      else output.textContent = t === null ? "" : clock.minute(t);
    }
  }

  _grid(scale, y) {
    const made = [];
    for (let index = Math.ceil(scale.low / scale.step - 1e-6); index * scale.step <= scale.high * (1 + 1e-9) + 1e-9; index += 1) {
      const value = index * scale.step;
      made.push(drawn("line", { class: index === 0 ? "zero" : "gridline", x1: LEFT, x2: this.frame.right, y1: y(value), y2: y(value) }));
      made.push(drawn("text", { class: "value", x: LEFT - 7, y: y(value) + 4 }, number(value, scale.step < 0.1 ? 2 : scale.step < 1 ? 1 : 0)));
    }
    return made;
  }

  _times(x) {
    const { from, to, clock } = this.axis;
    const every = (this.frame.width > 440 ? 3 : 6) * HOUR_S;
    const made = [];
    for (let t = from; t <= to; t += every) {
      made.push(drawn("line", { class: "gridline", x1: x(t), x2: x(t), y1: TOP, y2: this.frame.bottom + 4 }));
      made.push(drawn("text", { class: "time", x: Math.min(x(t), this.frame.right - 6), y: this.frame.bottom + 17 }, clock.minute(t)));
    }
    return made;
  }

  _now(x) {
    const { nowS } = this.axis;
    return [
      drawn("line", { class: "now-line", x1: x(nowS), x2: x(nowS), y1: TOP - 3, y2: this.frame.bottom }),
      drawn("text", { class: "now-text", x: Math.min(Math.max(x(nowS), LEFT + 12), this.frame.right - 12), y: TOP - 6 }, "now"),
    ];
  }

  _legend(layers) {
    const time = element("output");
    this.outputs = [{ item: null, output: time }];
    const keys = layers.map((item) => {
      const output = element("output");
      if (item.style !== "limit") this.outputs.push({ item, output });
      const swatch = drawn("svg", { width: 22, height: 10, "aria-hidden": "true" });
      swatch.append(item.shape === "band"
        ? drawn("rect", { class: `area ${item.style}`, width: 22, height: 10, rx: 2 })
        : drawn("path", { class: `line ${item.style}`, d: "M0 5H22" }));
      return element("li", {}, swatch, item.label, output);
    });
    this.keys.replaceChildren(element("li", {}, time), ...keys);
  }
}

const SHOWN = { line: polyline, steps: staircase, band: ribbon, area: underline };
const path = (item, x, y, axis) => SHOWN[item.shape](item.points, x, y, axis);
const isIn = (point, axis) => point[0] >= axis.from - axis.slotS && point[0] <= axis.to;

/** Stretches of points without a gap and with everything known. */
function stretches(points, gapS) {
  const made = [];
  let before = null;
  for (const point of points) {
    if (!point.slice(1).every(isKnown)) { before = null; continue; }
    if (before === null || point[0] - before > gapS) made.push([]);
    made.at(-1).push(point);
    before = point[0];
  }
  return made;
}

function gapOf(points, axis) {
  const isCoarse = points.length > 1 && points[1][0] - points[0][0] > GAP_S;
  return isCoarse ? Infinity : Math.max(GAP_S, axis.slotS / 6);
}

function polyline(points, x, y, axis) {
  const shown = points.filter((point) => !Number.isFinite(point[0]) || isIn(point, axis));
  return stretches(shown, gapOf(points, axis)).map((part) => `M${part.map(([t, v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join("L")}${part.length === 1 ? "h0" : ""}`).join("");
}

function underline(points, x, y, axis) {
  return stretches(points.filter((point) => isIn(point, axis)), gapOf(points, axis)).map((part) => {
    const line = part.map(([t, v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join("L");
    return `M${x(part[0][0]).toFixed(1)} ${y(0)}L${line}L${x(part.at(-1)[0]).toFixed(1)} ${y(0)}Z`;
  }).join("");
}

/** Each value holds until the next point, the last one for a slot; a longer gap breaks the curve. */
function corners(part, slotS) {
  const made = [];
  part.forEach((point, index) => {
    const next = index + 1 < part.length ? part[index + 1][0] : point[0] + slotS;
    made.push(point, [next, ...point.slice(1)]);
  });
  return made;
}

function staircase(points, x, y, axis) {
  return stretches(points.filter((point) => isIn(point, axis)), 1.5 * axis.slotS)
    .map((part) => `M${corners(part, axis.slotS).map(([t, v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join("L")}`).join("");
}

function ribbon(points, x, y, axis) {
  return stretches(points.filter((point) => isIn(point, axis)), 1.5 * axis.slotS).map((part) => {
    const found = corners(part, axis.slotS);
    const high = found.map(([t, , v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`);
    const low = found.map(([t, v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`).reverse();
    return `M${high.join("L")}L${low.join("L")}Z`;
  }).join("");
}

/** A scale from round number to round number that holds zero and everything shown. */
function scaleOf(layers, axis) {
  const values = layers.flatMap((item) => item.points.filter((point) => isIn(point, axis)).flatMap((point) => point.slice(1))).filter(isKnown);
  const low = Math.min(0, ...values), high = Math.max(0, ...values);
  const rough = Math.max(high - low, 0.2) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  return { low: Math.floor(low / step + 1e-9) * step, high: Math.max(step, Math.ceil(high / step - 1e-9) * step), step };
}

function valueAt(item, t) {
  let found = null;
  for (const point of item.points) {
    if (point[0] > t) break;
    found = point;
  }
  const isOld = found && item.shape === "line" && t - found[0] > 900;
  if (!found || isOld || !found.slice(1).every(isKnown)) return "\u2013";
  return found.slice(1).map((value) => number(value)).join("\u2013");
}

function summary(chart, axis) {
  const parts = chart.layers.filter((item) => item.label && item.style !== "limit").map((item) => {
    const values = item.points.filter((point) => isIn(point, axis)).flatMap((point) => point.slice(1)).filter(isKnown);
    if (!values.length) return `${item.label}: nothing yet`;
    return `${item.label}: ${number(Math.min(...values))} to ${number(Math.max(...values))}`;
  });
  return `${chart.title} today in ${chart.unit}; ${parts.join("; ")}`;
}
