// The power flow: sources above a busbar, grid, house and battery below it, arrows between.

import { drawn, isKnown, number, percent, say } from "./words.js";

const IDLE_KW = 0.02;
const ABOVE = ["pv", "wind", "generator"];
const BELOW = ["grid", "load", "battery"];
const NAMES = { pv: "PV", wind: "Wind", generator: "Generator", grid: "Grid", load: "House", battery: "Battery" };
const ICONS = {
  pv: "M12 7.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M12 1.5v2.6M12 19.9v2.6M1.5 12h2.6M19.9 12h2.6M4.6 4.6l1.8 1.8M17.6 17.6l1.8 1.8M4.6 19.4l1.8-1.8M17.6 6.4l1.8-1.8",
  wind: "M12 10.5v12M9.5 22.5h5M12 9V1.5M13.4 11.2l6.5 3.8M10.6 11.2l-6.5 3.8M12 8.6a1.7 1.7 0 1 0 0 3.4a1.7 1.7 0 1 0 0-3.4",
  generator: "M2.5 6.5h19v12h-19zM6 18.5v3M18 18.5v3M13 8.5l-3.5 4.3h4L11 16.6M6 6.5v-3h4",
  grid: "M8 22.5l4-20l4 20M9.2 16.5h5.6M6 8.5h12M4.5 12.5h15M10 12.5l6 10M14 12.5l-6 10",
  load: "M2.5 11.5L12 3l9.5 8.5M5 9.8v11.7h14V9.8M10 21.5v-6.5h4v6.5",
  battery: "M4.5 5.5h15v16h-15zM9 5.5v-3h6v3",
};

/** What a device is doing, in one or two words. */
function doing(kind, kw, status, isGuess) {
  if (isGuess && isKnown(kw)) return "estimated";
  if (kind === "grid" && status.grid && !status.grid.present) return "absent";
  if (kind === "generator" && status.generator && status.generator.phase !== "unknown") return status.generator.phase;
  if (!isKnown(kw)) return "unknown";
  if (kind === "load") return "in use";
  if (Math.abs(kw) <= IDLE_KW) return "idle";
  if (kind === "grid") return kw > 0 ? "importing" : "exporting";
  if (kind === "battery") return kw > 0 ? "discharging" : "charging";
  return "producing";
}

class Node {
  constructor(svg, kind, x, box, busY, size) {
    this.kind = kind;
    this.isAbove = box.y < busY;
    this.group = drawn("g", { class: `node ${kind}` });
    const from = this.isAbove ? box.y + box.height : busY;
    const to = this.isAbove ? busY : box.y;
    const line = (style) => drawn("line", { class: style, x1: x, x2: x, y1: from, y2: to });
    this.track = line("track");
    this.stream = line("stream");
    this.pulse = line("pulse");
    this.arrow = drawn("path", { class: "arrow" });
    this.at = { x, y: (from + to) / 2, size };
    const left = x - box.width / 2;
    const pad = size > 0.8 ? 14 : 8;
    const scale = (size > 0.8 ? 24 : 17) / 24;
    const icon = drawn("g", { class: "icon", transform: `translate(${left + pad} ${box.y + pad}) scale(${scale})` });
    if (kind === "battery") {
      this.full = drawn("rect", { class: "full", x: 6.5, width: 11, y: 20, height: 0 });
      icon.append(this.full);
    }
    icon.append(drawn("path", { d: ICONS[kind] }));
    const font = (part) => Math.round(part * (size > 0.8 ? 1 : 0.72) * 10) / 10;
    this.name = drawn("text", { class: "name", x: left + pad + 24 * scale + 6, y: box.y + pad + 17 * scale, "font-size": font(17) }, NAMES[kind]);
    this.number = drawn("text", { class: "number", x: left + pad, y: box.y + box.height * 0.69, "font-size": font(38) });
    this.value = drawn("tspan", {});
    this.number.append(this.value, drawn("tspan", { class: "unit", "font-size": font(17), "font-weight": 400, dx: 4 }, "kW"));
    if (kind === "battery" && size > 0.8) {
      this.soc = drawn("text", { class: "unit", x: left + box.width - pad, y: box.y + pad + 17 * scale, "font-size": font(17), "text-anchor": "end" });
    }
    this.word = drawn("text", { class: "word", x: left + pad, y: box.y + box.height - pad, "font-size": font(17) });
    const card = drawn("rect", { class: "card", x: left, y: box.y, width: box.width, height: box.height, rx: 12 });
    this.group.append(this.track, this.stream, this.pulse, this.arrow, card, icon, this.name, this.number, this.word);
    if (this.soc) this.group.append(this.soc);
    svg.append(this.group);
  }

  /** Show a power; returns the sentence for those who cannot see it. */
  show(kw, status, mostKw, isGuess) {
    const isAbsent = this.kind === "grid" && status.grid && !status.grid.present;
    const isUnknown = !isKnown(kw) && !isAbsent;
    const flows = isKnown(kw) && Math.abs(kw) > IDLE_KW;
    const word = doing(this.kind, kw, status, isGuess);
    this.group.setAttribute("class", `node ${this.kind}${isUnknown || isGuess ? " unknown" : ""}`);
    say(this.value, isKnown(kw) ? number(Math.abs(kw)) : isAbsent ? "\u2013" : "?");
    say(this.word, word);
    this.group.dataset.kw = isKnown(kw) ? String(kw) : "";
    for (const part of [this.stream, this.pulse, this.arrow]) part.setAttribute("visibility", flows ? "visible" : "hidden");
    if (flows) this._stream(kw, mostKw);
    if (this.soc) say(this.soc, percent(status.battery?.soc_frac));
    if (this.full) {
      const level = 13 * Math.min(1, Math.max(0, status.battery?.soc_frac ?? 0));
      this.full.setAttribute("y", 20 - level);
      this.full.setAttribute("height", level);
    }
    return `${NAMES[this.kind]} ${isKnown(kw) ? `${number(Math.abs(kw))} kW, ` : ""}${word}`;
  }

  _stream(kw, mostKw) {
    const share = Math.sqrt(Math.abs(kw) / mostKw);
    const width = 3 + 9 * share;
    const intoBus = this.kind === "load" ? kw < 0 : kw > 0;
    const isDown = intoBus === this.isAbove;
    this.stream.setAttribute("stroke-width", width);
    this.pulse.setAttribute("stroke-width", Math.max(2, width * 0.45));
    this.pulse.setAttribute("class", isDown ? "pulse" : "pulse up");
    const pace = `${Math.round(10 * (3 - 2.2 * share)) / 10}s`;
    if (this.pulse.style.getPropertyValue("--pace") !== pace) this.pulse.style.setProperty("--pace", pace);
    const { x, y } = this.at;
    const half = 7 + 6 * share, tip = isDown ? half : -half;
    this.arrow.setAttribute("d", `M${x - half} ${y - tip * 0.7}H${x + half}L${x} ${y + tip}Z`);
    this.arrow.setAttribute("data-direction", intoBus ? "in" : "out");
  }
}

/** Keeps the drawing as wide as its place and up to date. */
export class Flow {
  constructor(svg) {
    this.svg = svg;
    this.nodes = [];
    this.layout = "";
    new ResizeObserver(() => this.last && this.show(...this.last)).observe(svg.parentElement);
  }

  show(status, has, kinds) {
    this.last = [status, has, kinds];
    this._show(status, has, new Set(status.missing.map((name) => kinds[name])));
  }

  _show(status, has, missing) {
    const kinds = [...ABOVE, ...BELOW].filter((kind) => kind === "load" || has[kind]);
    const width = Math.round(this.svg.parentElement.clientWidth);
    const layout = `${kinds} ${width}`;
    if (layout !== this.layout) this._draw(kinds, width);
    this.layout = layout;
    const powers = kinds.map((kind) => status.power_kw[kind]);
    const mostKw = Math.max(1, ...powers.filter(isKnown).map(Math.abs));
    const said = this.nodes.map((node, index) => node.show(powers[index], status, mostKw, missing.has(kinds[index])));
    this.svg.setAttribute("aria-label", `Power flow: ${said.join("; ")}`);
  }

  _draw(kinds, width) {
    const size = Math.min(1, Math.max(0.6, width / 620));
    const height = size > 0.8 ? 124 : 92, wire = size > 0.8 ? 62 : 46;
    const busY = height + wire;
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${2 * busY}`);
    this.svg.setAttribute("height", 2 * busY);
    const rows = [kinds.filter((kind) => ABOVE.includes(kind)), kinds.filter((kind) => BELOW.includes(kind))];
    const places = rows.map((row) => row.map((_, index) => (width * (2 * index + 1)) / (2 * row.length)));
    const xs = places.flat();
    this.svg.append(drawn("rect", { class: "bus", x: Math.min(...xs) - 16, width: Math.max(...xs) - Math.min(...xs) + 32, y: busY - 4, height: 8, rx: 4 }));
    this.nodes = rows.flatMap((row, below) => row.map((kind, index) => {
      const box = { width: Math.min(width / 3 - 8, 214), height, y: below ? busY + wire : 0 };
      return new Node(this.svg, kind, places[below][index], box, busY, size);
    }));
  }
}
