// The time that a curve covers: a choice of ranges up to now, and zooming in and moving within. Each change asks again, so that the
// curve is as fine as its time is short.

import { h } from '../values/dom.js';
import { instant } from '../values/time.js';

/** The ranges that can be chosen, in seconds. */
export const RANGES = [
  ['15 min', 900],
  ['1 h', 3600],
  ['24 h', 86_400],
  ['7 d', 604_800],
  ['30 d', 2_592_000],
];
/** The shortest time, in microseconds. */
const SHORTEST = 200_000;
const LONGEST = RANGES.at(-1)[1] * 1e6;
const ZOOM = 2;
/** Changes within this time are one question. */
const SETTLES_MS = 150;

/**
 * A time up to now, `range` seconds long. `onChange()` is called after a choice. The element `controls` has the choices.
 * `from` and `to` are microseconds since 1970.
 */
export class Timespan {
  constructor({ range, until, signal, onChange }) {
    Object.assign(this, { signal, onChange });
    this.controls = h('span.controls');
    this.choose(range, until);
  }

  /** The last `range` seconds. */
  choose(range, until = this.now()) {
    this.range = range;
    [this.from, this.to] = [until - range * 1e6, until];
    this.draw();
  }

  /** How long it is, in microseconds. */
  get length() {
    return this.to - this.from;
  }

  /** Whether it ends now: the node says when that is. */
  get isUntilNow() {
    return this.range !== null;
  }

  /** Its ends as the API takes them. */
  query() {
    return this.isUntilNow ? { from: `-${this.range}s` } : { from: instant(this.from), to: instant(this.to) };
  }

  /** Takes over what the node understood, by its own clock. */
  settle([from, to]) {
    if (this.isUntilNow) this.known = { at: to, since: performance.now() };
    [this.from, this.to] = [from, to];
  }

  // The present by the clock of the node, which refuses what is later.
  now() {
    const { known } = this;
    return known ? known.at + (performance.now() - known.since) * 1000 : Date.now() * 1000;
  }

  /** Shows a part of it. */
  look(from, to) {
    const length = Math.max(SHORTEST, Math.min(to - from, LONGEST));
    const middle = (from + to) / 2;
    // Nothing is known of the future.
    const end = Math.min(middle + length / 2, Math.max(this.to, this.now()));
    [this.from, this.to] = [end - length, end];
    this.range = null;
    this.changed();
  }

  /** Shows the time around a place, as long as it is. */
  center(at) {
    this.look(at - this.length / 2, at + this.length / 2);
  }

  /** Makes it shorter (or longer, below 1) around a place. */
  zoom(factor, at = (this.from + this.to) / 2) {
    const part = (at - this.from) / this.length;
    const length = this.length / factor;
    const isInside = part >= 0 && part <= 1;
    const from = isInside ? at - length * part : (this.from + this.to - length) / 2;
    this.look(from, from + length);
  }

  /** Moves it by a part of its length. */
  pan(part) {
    this.look(this.from + this.length * part, this.to + this.length * part);
  }

  changed() {
    this.draw();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => !this.signal.aborted && this.onChange(), SETTLES_MS);
  }

  draw() {
    const range = ([name, size]) =>
      h(
        'button',
        {
          type: 'button',
          'aria-pressed': String(size === this.range),
          'data-act': name,
          onclick: () => this.pick(size),
        },
        name,
      );
    const act = (label, name, run) =>
      h('button', { type: 'button', 'aria-label': name, title: name, 'data-act': name, onclick: run }, label);
    const held = this.controls.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    this.controls.replaceChildren(
      h('span.seg.small', { role: 'group', 'aria-label': 'Range' }, RANGES.map(range)),
      h(
        'span.seg.small',
        { role: 'group', 'aria-label': 'Zoom' },
        act('‹', 'Earlier', () => this.pan(-0.5)),
        act('−', 'Zoom out', () => this.zoom(1 / ZOOM)),
        act('+', 'Zoom in', () => this.zoom(ZOOM)),
        act('›', 'Later', () => this.pan(0.5)),
      ),
    );
    if (held) this.controls.querySelector(`[data-act="${held}"]`)?.focus();
  }

  pick(range) {
    this.choose(range);
    this.changed();
  }
}
