// Sums that add up, written as an equation: amounts with their names, and the signs between them.

import { h } from '../values/dom.js';
import { money } from '../values/money.js';

/** The amount `value` under its name. */
export const term = (name, value, selector = 'span.dd') =>
  h('span.term', h('span.dt', name), h(selector, money(value)));

/** A sign between two terms. A screen reader has the names. */
export const sign = (text) => h('span.op', { 'aria-hidden': 'true' }, text);
