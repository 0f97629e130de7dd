// Values in words, and elements with text. Whatever comes from outside is set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const UNKNOWN = "?";

/** An HTML element with attributes and children; strings become text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** An SVG element with attributes and perhaps a text. */
export function drawn(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

/** Set a text only when it is another: screen readers and selections stay where they are. */
export function say(target, text) {
  const place = typeof target === "string" ? document.getElementById(target) : target;
  if (place.textContent !== text) place.textContent = text;
}

export const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

/** A number with as many digits as are worth reading, and a true minus sign. */
export function number(value, digits = null) {
  if (!isKnown(value)) return UNKNOWN;
  const text = value.toFixed(digits ?? (Math.abs(value) < 9.995 ? 2 : 1));
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "\u2212");
}

export const percent = (frac, digits = 0) =>
  isKnown(frac) ? `${number(100 * frac, digits)}\u202f%` : UNKNOWN;

/** A time span as people say it. */
export function span(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = seconds / 60;
  if (minutes < 120) return `${Math.round(minutes)} min`;
  return minutes < 2880 ? `${(minutes / 60).toFixed(1)} h` : `${Math.round(minutes / 1440)} days`;
}

/** A setpoint's value as people say it. */
export function setpoint(quantity, value) {
  if (!isKnown(value)) return "no setpoint";
  if (quantity === "run") return value >= 0.5 ? "run" : "stop";
  if (quantity === "limit_kw") return `at most ${number(value)} kW`;
  if (Math.abs(value) < 0.005) return "idle";
  return `${value > 0 ? "discharge" : "charge"} ${number(Math.abs(value))} kW`;
}

/** The site's clock: moments in UTC seconds or ISO 8601 as times of day. */
export class Clock {
  constructor(zone) {
    const make = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options });
    this.zone = zone;
    this.minutes = make({ hour: "2-digit", minute: "2-digit" });
    this.seconds = make({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.dated = make({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
    this.full = make({ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  }
  minute(utcS) { return this.minutes.format(new Date(1000 * utcS)); }
  /** The time of day of an event, with its date when it is not of the last hours. */
  when(iso, nowIso) {
    if (!iso) return UNKNOWN;
    const isRecent = Math.abs(new Date(nowIso) - new Date(iso)) < 64800000;
    return isRecent ? this.second(iso) : this.dated.format(new Date(iso));
  }
  second(iso) { return iso ? this.seconds.format(new Date(iso)) : UNKNOWN; }
  moment(iso) { return iso ? this.full.format(new Date(iso)) : "time unknown"; }
}
