// Instants: RFC 3339 in UTC with microseconds, shown in UTC or in the zone of the reader, the exact text in the title.

import { h } from './dom.js';
import { settings, onSetting } from './settings.js';

const formats = new Map();

// `Intl` formats are costly to make and cheap to use.
function format(options) {
  const timeZone = settings.zone === 'UTC' ? 'UTC' : undefined;
  const key = JSON.stringify([timeZone, options]);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat('en-GB', { ...options, timeZone }));
  return formats.get(key);
}

/** The zone of the times on the page, as it is written behind them. */
export function zone() {
  if (settings.zone === 'UTC') return 'UTC';
  const named = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' }).formatToParts();
  return named.find((part) => part.type === 'timeZoneName').value;
}

/** Microseconds since 1970. The browser's own parser keeps milliseconds. */
export function micros(iso) {
  const fraction = (/\.(\d+)/.exec(iso)?.[1] ?? '').padEnd(6, '0').slice(0, 6);
  return Math.floor(Date.parse(iso) / 1000) * 1e6 + Number(fraction);
}

/** The instant of a number of microseconds, as the API takes it. */
export function instant(value) {
  const seconds = Math.floor(value / 1e6);
  const fraction = String(Math.floor(value - seconds * 1e6)).padStart(6, '0');
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}

const DAY = /^\d{4}-\d\d-\d\d$/;
const MOMENT = /^(\d{4}-\d\d-\d\d[T ])?\d{1,2}:\d\d(:\d\d(\.\d{1,6})?)?$/;

/** What a reader typed, as the API takes it: a date and time in the zone of the page, or a time of today; all else as it is. */
export function instantOf(typed) {
  const text = typed.trim();
  const isUtc = settings.zone === 'UTC';
  if (!DAY.test(text) && !MOMENT.test(text)) return text;
  const now = new Date();
  const local = new Date(now - now.getTimezoneOffset() * 60_000);
  const today = (isUtc ? now : local).toISOString().slice(0, 10);
  const whole = DAY.test(text)
    ? `${text}T00:00`
    : text.length < 11 || text[4] !== '-'
      ? `${today}T${text.padStart(5, '0')}`
      : text;
  const at = new Date(`${whole.replace(' ', 'T').replace(/T(\d):/, 'T0$1:')}${isUtc ? 'Z' : ''}`);
  return Number.isNaN(at.getTime()) ? text : at.toISOString();
}

/** The time of the day, with some digits of the second. */
export function clock(iso, digits = 0) {
  const text = format({ hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(new Date(iso));
  if (!digits) return text;
  return `${text}.${String(micros(iso) % 1e6)
    .padStart(6, '0')
    .slice(0, digits)}`;
}

/** The date. */
export const day = (iso) => format({ day: 'numeric', month: 'short', year: 'numeric' }).format(new Date(iso));

const isToday = (iso) => day(iso) === day(new Date().toISOString());

// Each form of a time, by the name that the element keeps.
const FORMS = {
  clock: clock,
  full: (iso, digits) => `${day(iso)}, ${clock(iso, digits)}`,
  near: (iso, digits) => (isToday(iso) ? clock(iso, digits) : `${day(iso)}, ${clock(iso)}`),
};

/** A time: `near` leaves out the date of today, `full` never, `clock` always. It follows the zone of the page. */
export function time(iso, digits = 0, form = 'near') {
  if (!iso) return h('span.dim', 'not known');
  return h('time', { datetime: iso, title: iso, 'data-form': form, 'data-digits': digits }, FORMS[form](iso, digits));
}

/** The zone in words, which follows the switch. */
export const zoneName = () => h('span.zone', zone());

onSetting('zone', () => {
  for (const element of document.querySelectorAll('time[data-form]')) {
    element.textContent = FORMS[element.dataset.form](element.dateTime, Number(element.dataset.digits));
  }
  for (const element of document.querySelectorAll('.zone')) element.textContent = zone();
});

/** A duration in milliseconds. */
export function ms(value) {
  if (value === null || value === undefined) return '–';
  if (value < 100) return `${value.toFixed(1)} ms`;
  if (value < 10_000) return `${Math.round(value).toLocaleString('en')} ms`;
  return `${(value / 1000).toFixed(1)} s`;
}

const STEPS = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/** A duration in seconds, in its largest unit. */
export function seconds(value) {
  const [size, name] = STEPS.find(([size]) => Math.abs(value) >= size) ?? [1, 's'];
  const amount = value / size;
  return `${Math.abs(amount) < 10 && size > 1 ? amount.toFixed(1) : Math.round(amount)} ${name}`;
}

const ago = (iso) => {
  const since = (Date.now() - Date.parse(iso)) / 1000;
  return since < 1 ? 'just now' : `${seconds(since)} ago`;
};

/** How long ago an instant is, by the browser's clock. It goes on. */
export const age = (iso) => h('span', { 'data-age': iso }, ago(iso));

setInterval(() => {
  for (const element of document.querySelectorAll('[data-age]')) element.textContent = ago(element.dataset.age);
}, 5000);

/** A signed distance in microseconds from the start of a snapshot. */
export function offset(value) {
  if (value === null) return 'not known';
  const size = Math.abs(value);
  const sign = value < 0 ? '−' : '+';
  if (size < 1e6) return `${sign}${(size / 1e3).toFixed(1)} ms`;
  return `${sign}${(size / 1e6).toFixed(size < 1e7 ? 2 : 1)} s`;
}
