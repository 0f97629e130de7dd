// Asks the service once a second, shows what it says, and says when it says nothing.

import { Charts, chartsOf } from "./charts.js";
import { Flow } from "./flow.js";
import { showCharge, showDevices, showEvents, showFacts, showHead, showMachine, showOrders, showTotals, showWhy } from "./sections.js";
import { Clock, say, span } from "./words.js";

const POLL_MS = 1000, PATIENCE_MS = 4000, SILENCE_S = 3, DAY_MS = 20000;
const LATE_PERIODS = 3, LATE_S = 2;

const flow = new Flow(document.getElementById("flow"));
const charts = new Charts(document.getElementById("charts"));
let clock = null, live = null, day = null;
let heardMs = performance.now(), dayMs = -Infinity;

/** No answer, or one that is cut short: no news for the console, the banner says so. */
class Away extends Error {}

async function ask(path) {
  const abort = new AbortController();
  const patience = setTimeout(() => abort.abort(), PATIENCE_MS);
  try {
    const answer = await fetch(path, { cache: "no-store", signal: abort.signal });
    return await answer.json();
  } catch (error) {
    throw new Away(`${path}: ${error.message}`);
  } finally {
    clearTimeout(patience);
  }
}

async function poll() {
  try {
    const answer = await ask("api/live");
    const wasAway = silenceS() > SILENCE_S;
    heardMs = performance.now();
    if (answer.status) show(answer);
    else live = null;
    if (answer.status && (wasAway || performance.now() - dayMs > DAY_MS)) await pollDay();
  } catch (error) {
    if (!(error instanceof Away)) console.error(error);
  }
  contact();
  setTimeout(poll, POLL_MS);
}

async function pollDay() {
  const answer = await ask("api/today");
  if (!answer.minutes) return;
  day = answer;
  dayMs = performance.now();
  showDay();
}

function show(answer) {
  live = answer;
  const { status, has } = answer;
  if (clock?.zone !== answer.zone) clock = new Clock(answer.zone);
  showHead(status, clock);
  showCharge(status, answer.limits);
  showFacts(status, answer.currency, has);
  flow.show(status, has, answer.kinds);
  showWhy(status.setpoints);
  showOrders(status.orders);
  showDevices(status);
  showEvents(answer.events, clock, status.utc);
  showMachine(status);
  document.body.dataset.cycle = status.cycle;
}

function showDay() {
  const { status, has } = live;
  const utcS = Date.parse(status.utc) / 1000;
  const values = Object.fromEntries(Object.entries(status.power_kw).map(([name, kw]) => [`${name}_kw`, kw]));
  values.soc_frac = status.battery?.soc_frac ?? null;
  showTotals(day, has, utcS);
  charts.draw(chartsOf(day, has, { utcS, values, limits: live.limits }), day, utcS, clock);
}

const silenceS = () => (performance.now() - heardMs) / 1000;

/** Tell what is heard of the controller; numbers that grow stay out of what is read aloud. */
function contact() {
  const silent = silenceS();
  const cycleS = live ? live.age_s + silent : null;
  const isLate = live && live.age_s > LATE_PERIODS * live.status.period_s + LATE_S;
  let what = "", since = "";
  if (silent > SILENCE_S) {
    what = "No contact with the controller";
    since = `No contact for ${Math.round(silent)} s.${live ? ` What you see is from ${clock.second(live.status.utc)}.` : ""} This page comes back by itself.`;
  } else if (!live) {
    what = "The controller is starting";
    since = "No cycle has been completed yet.";
  } else if (isLate) {
    what = "The control loop stands still";
    since = `Its last cycle was ${span(cycleS)} ago.`;
  }
  document.getElementById("contact").hidden = !what;
  document.body.classList.toggle("old", Boolean(what));
  say("contact-what", what);
  say("contact-since", since);
}

setInterval(contact, 500);
poll();
