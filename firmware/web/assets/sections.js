// Everything in words: mode, alarms, facts, setpoints with their reasons, devices, events.

import { element, isKnown, number, percent, say, setpoint, span } from "./words.js";

const place = (id) => document.getElementById(id);
const MODES = { // class and shape: the shape says it without the colour
  auto: ["is-good", "M12 1a11 11 0 1 0 0 22a11 11 0 1 0 0-22M10.2 16.6l-4.3-4.3 1.7-1.7 2.6 2.6 6.2-6.2 1.7 1.7z"],
  manual: ["is-attention", "M12 1a11 11 0 1 0 0 22a11 11 0 1 0 0-22M8 7h3v10H8zM13 7h3v10h-3z"],
  starting: ["is-attention", "M12 1a11 11 0 1 0 0 22a11 11 0 1 0 0-22M11 6h2v6.4l4.2 2.5-1 1.7L11 13.6z"],
  stopped: ["is-attention", "M12 1a11 11 0 1 0 0 22a11 11 0 1 0 0-22M7.5 7.5h9v9h-9z"],
  degraded: ["is-bad", "M12 1.5L23.5 22H.5zM11 9v6h2V9zM11 17v2.2h2V17z"],
  safe: ["is-bad", "M12 1.5L23.5 22H.5zM11 9v6h2V9zM11 17v2.2h2V17z"],
};
const OBEYED = { obeyed: "is-good", settling: "is-attention", disobeyed: "is-bad", unacknowledged: "is-bad" };
const SIGN = { "is-good": "\u2713", "is-attention": "\u2026", "is-bad": "\u2717" };

/** Replace children only when what they show has changed. */
function fill(id, key, build) {
  const target = place(id);
  if (target.dataset.key === key) return;
  target.dataset.key = key;
  target.replaceChildren(...build());
}

export function showHead(status, clock) {
  const [style, sign] = MODES[status.mode.name] ?? ["is-attention", MODES.starting[1]];
  say("site", status.site);
  say("clock", clock.moment(status.utc));
  say("mode-name", status.mode.name);
  say("mode-reason", `${status.mode.reason}, for ${span(Math.max(10, status.mode.for_s))}`);
  place("mode").className = `mode ${style}`;
  place("mode-sign").setAttribute("d", sign);
  fill("alarms", JSON.stringify(status.alarms), () => status.alarms.map((alarm) => element("li", {}, alarm)));
  const charge = status.battery ? ` \u00b7 ${percent(status.battery.soc_frac)}` : "";
  document.title = `${status.alarms.length ? "\u26a0 " : ""}${status.mode.name}${charge} \u00b7 ${status.site}`;
}

export function showCharge(status, limits) {
  place("charge").hidden = !status.battery;
  if (!status.battery) return;
  const { soc_frac: soc, charge_limit_kw: charge, discharge_limit_kw: discharge } = status.battery;
  say("soc", percent(soc));
  place("soc-level").style.width = `${100 * (soc ?? 0)}%`;
  for (const [id, frac] of [["soc-min", limits.soc_min_frac], ["soc-reserve", limits.reserve_soc_frac], ["soc-max", limits.soc_max_frac]]) {
    place(id).hidden = !isKnown(frac);
    place(id).style.left = `calc(${100 * (frac ?? 0)}% - 1px)`;
  }
  const least = isKnown(limits.soc_min_frac) ? `Kept between ${percent(limits.soc_min_frac)} and ${percent(limits.soc_max_frac)}, reserve ${percent(limits.reserve_soc_frac)}. ` : "";
  say("soc-note", `${least}It takes ${number(charge)} kW and gives ${number(discharge)} kW at most now.`);
}

export function showFacts(status, currency, has) {
  const rows = [];
  const add = (name, value, more = "") => rows.push([name, value, more]);
  const { plan, forecast, price_per_kwh: price } = status;
  if (plan && plan.slot) {
    const wants = [];
    if (has.battery) wants.push(`battery ${setpoint("power_kw", plan.slot.battery_kw)}`);
    if (has.generator) wants.push(`generator ${plan.slot.generator_on ? "on" : "off"}`);
    add("Plan now", wants.join(", ") || "nothing to do", `for ${span(plan.slot.ends_in_s)} more`);
  }
  if (plan) add("Plan", plan.expired ? "expired" : `made ${span(plan.age_s)} ago`, plan.expired ? "rules decide" : `good for ${span(plan.expires_in_s)}`);
  if (!plan) add("Plan", "none", "rules decide");
  if (status.advice_missing) add("Advice", status.advice_missing);
  if (forecast) add("Forecast", `made ${span(forecast.age_s)} ago`, `by ${[...new Set([has.pv ? forecast.pv_source : "", forecast.load_source])].filter(Boolean).join("; ")}`);
  if (has.grid) add("Price now", `${number(price.buy, 3)} buying`, `${number(price.sell, 3)} selling, ${currency} per kWh`);
  if (status.trading) add("Neighbours", ...trade(status.trading));
  if (status.irradiance_w_m2 !== null) add("Sunshine", `${number(status.irradiance_w_m2, 0)} W/m\u00b2`);
  if (status.batteries.length > 1) for (const each of status.batteries) add(each.name, isKnown(each.power_kw) ? setpoint("power_kw", each.power_kw) : number(null), percent(each.soc_frac));
  const several = status.generators.length > 1;
  for (const each of status.generators) if (several || timers(each)) add(several ? each.name : "Generator", each.phase, [several && each.power_kw ? `${number(each.power_kw)} kW` : "", timers(each)].filter(Boolean).join(", "));
  fill("facts", JSON.stringify(rows), () => rows.flatMap(([name, value, more]) => [
    element("dt", {}, name),
    element("dd", {}, value, more ? element("small", {}, ` ${more}`) : null),
  ]));
}

/** What is traded now, else what is done about it; and what else there is to say. */
function trade({ now, doing, problem, last_price_per_kwh: last }) {
  const said = problem || doing || "nothing to trade yet";
  if (!now) return [said, isKnown(last) ? `last price ${number(last, 3)}` : ""];
  const word = now.bought_kw > 0 ? "bought" : "sold";
  return [`${number(Math.abs(now.bought_kw))} kW ${word}`, `at ${number(now.price_per_kwh, 3)}, for ${span(now.left_s)}; ${said}`];
}

function timers(generator) {
  const words = { min_run_left_s: "minimum run", max_run_left_s: "longest run", min_rest_left_s: "minimum rest" };
  const left = Object.entries(words).filter(([key]) => generator[key]).map(([key, word]) => `${word} ${span(60 * Math.ceil(generator[key] / 60))} left`);
  if (generator.locked) left.unshift(`locked: ${generator.locked}`);
  return left.join(", ");
}

// --- why ------------------------------------------------------------------------------------

const ORDER = ["power_kw", "limit_kw", "run"];

export function showWhy(setpoints) {
  const inOrder = [...setpoints].sort((a, b) => ORDER.indexOf(a.quantity) - ORDER.indexOf(b.quantity));
  const rows = inOrder.map((item) => ({ ...item, acknowledged: item.acknowledged && { ...item.acknowledged, age_s: null }, obeyed: item.obeyed && item.obeyed.status }));
  fill("why", JSON.stringify(rows), () => rows.length ? rows.map(card) : [element("p", { class: "note" }, "No setpoints: the devices are left to themselves.")]);
}

function card(item) {
  const facts = [["Decided by", who(item)]];
  if (item.clips.length) {
    facts.push(["It asked for", setpoint(item.quantity, item.wanted)]);
    facts.push(["Changed by", item.clips.join(", then ")]);
  }
  facts.push(["Otherwise", item.otherwise.length ? item.otherwise.join("; then ") : "nobody else asked for anything"]);
  return element("article", { class: "card", "data-device": item.device, "data-quantity": item.quantity },
    element("h3", {}, item.device),
    element("p", { class: "does" }, capital(setpoint(item.quantity, item.commanded))),
    element("dl", {}, ...facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])),
    element("ul", { class: "chain", "aria-label": "What came of it" }, ...chain(item)));
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function who({ source, reason }) {
  if (source === null) return "nobody says why";
  return reason.startsWith(`${source}: `) ? reason : `${source}: ${reason}`;
}

/** Commanded, acknowledged, obeyed: three states, of the cycle before. */
function chain(item) {
  const link = (style, text) => element("li", { class: style }, `${SIGN[style] ?? "\u2013"} ${text}`);
  const links = [link("is-good", "commanded")];
  const ack = item.acknowledged;
  if (ack === null) links.push(link("", "not sent before"));
  else if (ack.value === null || ack.error) links.push(link("is-bad", `not acknowledged: ${ack.error || "not read back"}`));
  else links.push(link("is-good", `acknowledged: ${setpoint(item.quantity, ack.value)}`));
  if (item.obeyed === null || item.obeyed === "not applicable") links.push(link("", "obeyed: cannot be told now"));
  else links.push(link(OBEYED[item.obeyed] ?? "is-attention", item.obeyed));
  return links;
}

export function showOrders(orders) {
  const active = orders?.standing ?? [];
  place("orders-section").hidden = !active.length;
  fill("orders", JSON.stringify(active), () => active.map((text) => element("li", {}, text)));
}

// --- devices, events, machine ---------------------------------------------------------------

export function showDevices(status) {
  const rows = status.devices.map((device) => {
    const style = device.quality === "good" ? "is-good" : "is-bad";
    const identity = device.identity ?? {};
    const kind = [identity.maker, identity.model, identity.version].filter(Boolean).join(" ");
    const failed = device.failed_exchanges ? `${device.failed_exchanges} failed exchanges` : "";
    const age = device.quality === "good" ? "" : device.age_s === null ? "never read" : `last read ${span(device.age_s)} ago`;
    return { name: device.name, style, word: device.online === false ? `offline, ${device.quality}` : device.quality, about: [kind, failed], error: [age, device.error] };
  });
  const { link } = status;
  if (link) rows.push(linkRow(link));
  for (const server of (status.servers ?? []).filter((each) => each.problem)) {
    rows.push({ name: server.name, style: "is-bad", word: "not served", about: [server.url], error: [server.problem] });
  }
  fill("devices", JSON.stringify(rows), () => rows.map((row) => {
    const about = [...row.about, ...row.error].filter(Boolean).join(" \u00b7 ");
    return element("li", {}, element("strong", {}, row.name),
      element("span", { class: `tag ${row.style}` }, `${SIGN[row.style] ?? "\u2013"} ${row.word}`),
      about ? element("p", {}, about) : null);
  }));
}

function linkRow(link) {
  const waiting = isKnown(link.waiting) && link.waiting > 0 ? `${link.waiting} messages wait` : "";
  return {
    name: "MQTT", style: link.connected ? "is-good" : "is-bad", word: link.connected ? "connected" : "no connection",
    about: [link.broker, waiting, link.dropped ? `${link.dropped} dropped` : ""], error: [link.problem],
  };
}

export function showEvents(events, clock, utc) {
  fill("events", JSON.stringify(events), () => events.length
    ? events.slice(0, 14).map((event) => element("li", { class: event.severity },
      element("time", { datetime: event.utc }, clock.when(event.utc, utc)),
      element("span", {}, event.severity === "info" ? null : element("b", {}, `${event.severity}: `), `${event.key}: ${event.text}`)))
    : [element("li", { class: "note" }, "Nothing yet since the program started.")]);
}

export function showMachine(status) {
  const { cycles, cycles_missed: missed, lateness } = status.loop;
  const parts = [
    `nanogrid ${status.version}`,
    `a cycle every ${status.period_s} s`,
    `${cycles} cycles, ${missed} missed`,
    `lateness p99 ${number(1000 * lateness.p99_s, 1)} ms, at most ${number(1000 * lateness.max_s, 1)} ms`,
    "this page shows and changes nothing",
  ];
  say("machine", parts.join(" \u00b7 "));
}

// --- the day in numbers ---------------------------------------------------------------------

export function showTotals(day, has, nowS) {
  const elapsed = (nowS - day.start_s) / 60 - 1;
  const at = (name) => day.minute_columns.indexOf(name);
  const energy = (name, sign = 1) => {
    const values = day.minutes.map((row) => row[at(name)]).filter(isKnown);
    return { kwh: values.reduce((sum, kw) => sum + Math.max(0, sign * kw), 0) / 60, minutes: values.length };
  };
  const tiles = [];
  const add = (kind, name, { kwh, minutes }) => tiles.push([kind, name, minutes ? `${number(kwh, 1)} kWh` : "?", minutes < 0.95 * elapsed ? `in ${span(60 * minutes)} known` : ""]);
  if (has.pv) add("pv", "PV", energy("pv_kw"));
  if (has.wind) add("wind", "Wind", energy("wind_kw"));
  add("load", "House", energy("load_kw"));
  if (has.grid) { add("grid", "Bought", energy("grid_kw")); add("grid", "Sold", energy("grid_kw", -1)); }
  if (has.battery) { add("battery", "Charged", energy("battery_kw", -1)); add("battery", "Discharged", energy("battery_kw")); }
  if (has.generator) add("generator", "Generator", energy("generator_kw"));
  if (has.grid) tiles.push(["", "Grid bill", costs(bill(day, at), day.currency), ""]);
  fill("totals", JSON.stringify(tiles), () => tiles.map(([kind, name, value, below]) => element("li", { class: kind },
    element("span", {}, name), element("strong", {}, value), below ? element("small", {}, below) : null)));
}

const costs = (sum, currency) => (isKnown(sum) ? `${number(sum, 2)} ${currency}` : "?");

function bill(day, at) {
  const [grid, buy, sell] = ["grid_kw", "price_buy_per_kwh", "price_sell_per_kwh"].map(at);
  const known = day.minutes.filter((row) => [row[grid], row[buy], row[sell]].every(isKnown));
  return known.length ? known.reduce((sum, row) => sum + (row[grid] * (row[grid] > 0 ? row[buy] : row[sell])) / 60, 0) : null;
}
