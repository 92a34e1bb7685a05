// Amounts: integers in minor units, exact at any size. The currency is shown and never used in arithmetic.

import { h } from './dom.js';

const grouped = new Intl.NumberFormat('en');
let currency = null;

/** Sets what `/v1/cluster` says of the currency: `{label, exponent}`, or null where none is configured. */
export function setCurrency(given) {
  currency = given ?? null;
}

/** The unit of the amounts on the page, in words. */
export const unit = () => (currency ? currency.label : 'minor units');

/** A count with separators; what is not known says so. */
export const count = (value) => (value === null || value === undefined ? 'not known' : grouped.format(value));

/** A count of things, in the right number. */
export const counted = (value, thing) =>
  `${count(value)} ${thing}${value === 1 ? '' : thing.endsWith('s') ? 'es' : 's'}`;

/** An amount as its whole and its minor part: `['1,234', '.56']`. */
export function parts(value) {
  const exact = BigInt(value);
  const size = exact < 0n ? -exact : exact;
  const exponent = currency?.exponent ?? 0;
  const scale = 10n ** BigInt(exponent);
  const whole = (exact < 0n ? '−' : '') + grouped.format(size / scale);
  return [whole, exponent ? `.${String(size % scale).padStart(exponent, '0')}` : ''];
}

/** An amount as text. */
export const moneyText = (value) => (value === null || value === undefined ? 'not known' : parts(value).join(''));

/** An amount as an element, its minor part dimmed. */
export function money(value) {
  if (value === null || value === undefined) return h('span.dim', 'not known');
  const [whole, minor] = parts(value);
  return h('span.num', { 'data-minor': String(value) }, breakable(whole), minor && h('span.minor', minor));
}

// A long one may go on in the next line, behind a separator and nowhere else.
const BREAKS_FROM = 16;
const breakable = (text) =>
  text.length < BREAKS_FROM
    ? text
    : text.split(',').map((group, i, all) => (i < all.length - 1 ? [group, ',', h('wbr')] : group));

/** An amount with its sign, for differences. */
export function change(value) {
  const exact = BigInt(value);
  return h('span.num', exact > 0n ? '+' : '', money(exact));
}

/** The exact sum of amounts. */
export const sum = (values) => values.reduce((total, value) => total + BigInt(value), 0n);

/** An amount as a double in major units: for lengths and curves, never for text. */
export const drawn = (value) => Number(value) / 10 ** (currency?.exponent ?? 0);

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** A number of bytes. */
export function bytes(value) {
  if (value === null || value === undefined) return 'not known';
  let size = Number(value);
  let unit = 0;
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit && size < 100 ? size.toFixed(1) : grouped.format(Math.round(size))} ${UNITS[unit]}`;
}
