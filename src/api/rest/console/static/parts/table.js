// Tables. A long one keeps the rows that were read and draws those in sight; the next page is read when its end comes near.

import { fill, h, soon } from '../values/dom.js';

/** Rows of one request. */
export const PAGE = 200;
/** Rows that a list keeps. Behind them the reader narrows the filter. */
export const ROWS_MAX = 20_000;
const MARGIN = 12;

/** A column: `title`, `right` for figures, `narrow` = shown below 560 px, and `cell(row)`, what stands in it. */
const headCell = ({ title, right, wide }) => h(classes('th', right, wide), { scope: 'col' }, title);
const cellOf =
  (row) =>
  ({ right, wide, cell }) =>
    h(classes('td', right, wide), cell(row));
const classes = (tag, right, wide) => tag + (right ? '.r' : '') + (wide ? '.wide' : '');

/** What may be wider than its place. It is a stop of the keyboard where there is something to scroll to. */
export function scrolling(child) {
  const box = h('div.scroll', child);
  new ResizeObserver(() => {
    if (box.scrollWidth > box.clientWidth) box.setAttribute('tabindex', 0);
    else box.removeAttribute('tabindex');
  }).observe(box);
  return box;
}

/** A short table, drawn at once. `foot` is a row of cells below it. */
export function table(columns, rows, { caption, foot } = {}) {
  const footCell = (cell, i) => h(classes('td', columns[i].right, columns[i].wide), cell);
  return scrolling(
    h(
      'table',
      caption && h('caption.vh', caption),
      h('thead', h('tr', columns.map(headCell))),
      h(
        'tbody',
        rows.map((row) => h('tr.row', columns.map(cellOf(row)))),
      ),
      foot && h('tfoot', h('tr', foot.map(footCell))),
    ),
  );
}

/**
 * A long list. `read(cursor, signal)` gives `{rows, next}`; `next` is null at the end. `total` may be unknown (null).
 * The rows are of one height, `rowHeight` px. Gives the element, `reset()` to begin again, and the rows that are known.
 */
export class LongTable {
  constructor(columns, read, { signal, caption, rowHeight = 34, height = '60vh', empty, onError, onRows }) {
    Object.assign(this, { columns, read, signal, rowHeight, empty, onError, onRows });
    this.rows = [];
    this.body = h('tbody');
    this.note = h('p.note', { role: 'status' });
    this.grid = h(
      'table.long',
      { 'aria-rowcount': -1 },
      caption && h('caption.vh', caption),
      h('thead', h('tr', columns.map(headCell))),
      this.body,
    );
    this.box = h(
      'div.scroll.box',
      { tabindex: 0, role: 'region', 'aria-label': caption && `${caption}, scrolls`, css: { 'max-height': height } },
      this.grid,
    );
    this.element = h('div', this.box, this.note);
    this.redraw = soon(() => this.draw());
    this.box.addEventListener('scroll', () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.reset();
  }

  /** Forgets the rows and reads the first page. */
  reset() {
    this.generation = (this.generation ?? 0) + 1;
    this.cursor = undefined;
    this.rows = [];
    this.reading = false;
    this.box.scrollTop = 0;
    this.note.textContent = 'Reading…';
    return this.more();
  }

  /** Whether all rows were read. */
  get isWhole() {
    return this.cursor === null && !this.isCut;
  }

  /** Puts rows in or changes them: what an event brought. */
  update(change) {
    this.rows = change(this.rows).slice(0, ROWS_MAX);
    this.redraw();
  }

  async more() {
    if (this.reading || this.cursor === null) return;
    const { generation } = this;
    this.reading = true;
    try {
      const { rows, next } = await this.read(this.cursor, this.signal);
      if (generation !== this.generation) return;
      this.rows.push(...rows);
      this.cursor = this.rows.length >= ROWS_MAX ? null : next;
      this.isCut = this.rows.length >= ROWS_MAX && next !== null;
      this.reading = false;
      this.onRows?.(this.rows);
      this.draw();
    } catch (error) {
      if (generation !== this.generation || this.signal?.aborted) return;
      this.reading = false;
      this.cursor = null;
      this.note.textContent = error.message;
      this.onError?.(error);
    }
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.rowHeight) - MARGIN);
    const inSight = Math.ceil((this.box.clientHeight || 600) / this.rowHeight) + 2 * MARGIN;
    const last = Math.min(this.rows.length, first + inSight);
    const gap = (rows) =>
      rows > 0 &&
      h(
        'tr.gap',
        { 'aria-hidden': 'true' },
        h('td', { colspan: this.columns.length, css: { height: `${rows * this.rowHeight}px` } }),
      );
    const lines = this.rows
      .slice(first, last)
      .map((row, i) =>
        h(
          'tr.row',
          { 'aria-rowindex': first + i + 2, css: { height: `${this.rowHeight}px` } },
          this.columns.map(cellOf(row)),
        ),
      );
    const focused = this.focusedLink();
    fill(this.body, gap(first), lines, gap(this.rows.length - last));
    this.keepFocus(focused);
    this.grid.setAttribute('aria-rowcount', this.cursor === null ? this.rows.length + 1 : -1);
    this.say();
    if (last > this.rows.length - inSight) this.more();
  }

  // Drawing again must not lose the place of a reader who goes through the links by keyboard.
  focusedLink() {
    const active = document.activeElement;
    return this.body.contains(active) ? active.getAttribute('href') : null;
  }

  keepFocus(target) {
    if (target === null) return;
    const again = [...this.body.querySelectorAll('a')].find((one) => one.getAttribute('href') === target);
    (again ?? this.box).focus({ preventScroll: true });
  }

  say() {
    const { length } = this.rows;
    if (length === 0 && this.cursor === null) fill(this.note, this.empty ?? 'Nothing to show.');
    else if (this.isCut)
      this.note.textContent = `The first ${length.toLocaleString('en')} are shown. Narrow the filter to see others.`;
    else if (this.cursor === null) this.note.textContent = `${length.toLocaleString('en')} in all.`;
    else this.note.textContent = `${length.toLocaleString('en')} read; more follow as you scroll.`;
  }
}
