// The steps of a snapshot, process by process: when its state was recorded, when its channels were closed, when its part was
// fetched, and when the whole was published. Told by the events of the snapshot, while it is taken and ever after.

import { path } from '../node/api.js';
import { events } from '../node/events.js';
import { collate } from '../node/node.js';
import { LongTable, table } from '../parts/table.js';
import { card, fill, h, s, soon } from '../values/dom.js';
import { count } from '../values/money.js';
import { color, status, swatch } from '../values/status.js';
import { micros, offset } from '../values/time.js';

/** Fifty processes have 2,450 channels. What is beyond is not read. */
const STEPS_MAX = 5000;
const WIDE = 240;
const UNKNOWN = () => h('span.dim', 'not known');

/** The card. It follows the events of `page.id` until they end: `read()` resolves then. */
export class Steps {
  constructor({ id, snapshot, signal, steps: followed }, processes) {
    Object.assign(this, { id, snapshot, signal });
    this.start = micros(snapshot.initiated_at);
    const ends = [...snapshot.channels, ...(snapshot.unfinished_channels ?? snapshot.open_channels ?? [])];
    this.incoming = Map.groupBy(ends, ({ to }) => to);
    this.rows = new Map(processes.map((process) => [process, { process, closed: [] }]));
    this.all = [];
    this.lastId = null;
    this.place = h('div');
    this.list = this.everyStep();
    this.element = card(
      'Steps',
      { name: 'steps', sub: 'by the clocks of the processes, from the start on' },
      this.place,
      this.list.element,
    );
    this.redraw = soon(() => this.draw());
    // Only while it collects does a node tell when it had fetched a part: what was told then is kept.
    for (const { type, data } of followed?.all ?? []) if (type === 'collected') this.take({ type, data });
    this.draw();
  }

  /** Reads the steps to their end, or continues after the last one. */
  async read() {
    const stream = events(path`v1/snapshots/${this.id}/events`, { signal: this.signal, after: this.lastId });
    for await (const event of stream) {
      this.lastId = event.id ?? this.lastId;
      this.take(event);
      this.redraw();
      if (this.all.length >= STEPS_MAX) break;
    }
    this.isRead = true;
    this.redraw();
  }

  /** Says why the steps are not known. */
  fail(problem) {
    fill(this.place, h('p.note', { role: 'status' }, problem.message));
  }

  // What a node tells again after a restart replaces what it told before.
  take({ type, data }) {
    if (type === 'begun') return;
    const place = type === 'closed' ? `${data.from} → ${data.to}` : (data.process ?? `revision ${data.revision ?? ''}`);
    const key = `${type} ${place}`;
    const known = {
      recorded: data.recorded_at,
      closed: data.closed_at,
      collected: data.at,
      published: data.finished_at,
    };
    const step = { key, type, place, at: this.since(known[type]), noted: this.since(data.at), data };
    const before = this.all.findIndex((one) => one.key === key);
    if (before >= 0) this.all[before] = step;
    else this.all.push(step);
    const row = this.row(data.process ?? data.to);
    if (type === 'recorded') row.recorded = step;
    else if (type === 'collected') row.collected = step;
    else if (type === 'closed') row.closed = [...row.closed.filter((one) => one.key !== key), step];
    else if (type === 'published') this.published = step;
  }

  // A published revision belongs to no process.
  row(process) {
    if (process === undefined) return null;
    if (!this.rows.has(process)) this.rows.set(process, { process, closed: [] });
    return this.rows.get(process);
  }

  since(iso) {
    return iso ? micros(iso) - this.start : null;
  }

  draw() {
    const rows = [...this.rows.values()].sort((one, other) => collate(one.process, other.process));
    // Publishing takes longer than the rest and would leave it no room.
    const times = this.all.filter(({ type, at }) => at !== null && type !== 'published').map(({ at }) => at);
    const scale = { from: Math.min(0, ...times), to: Math.max(1, ...times) };
    const isFetchKnown = this.all.some(({ type }) => type === 'collected');
    const columns = [
      { title: 'Process', cell: ({ process }) => h('span.with-sw', swatch(color(process)), process) },
      { title: h('span.vh', 'As a line'), wide: true, cell: (row) => lineOf(row, scale) },
      { title: 'State recorded', right: true, cell: (row) => (row.recorded ? offset(row.recorded.at) : this.waits()) },
      { title: 'Channels closed', right: true, cell: (row) => this.closedOf(row) },
      isFetchKnown && {
        title: 'Part fetched',
        right: true,
        wide: true,
        cell: ({ collected }) => (collected ? offset(collected.at) : '–'),
      },
    ].filter(Boolean);
    fill(
      this.place,
      table(columns, rows, { caption: 'The steps by process', foot: this.foot(columns.length) }),
      this.note(isFetchKnown),
    );
    this.list.draw();
  }

  waits() {
    return this.isRead || this.snapshot.status !== 'in_progress'
      ? UNKNOWN()
      : status('in_progress', { word: 'waits for its first marker' });
  }

  // Which markers are awaited is worth a name only while it is a few.
  closedOf({ process, closed, recorded }) {
    const incoming = this.incoming.get(process) ?? [];
    const all = incoming.length;
    if (!all && !closed.length) return '–';
    const times = closed.map(({ at }) => at).filter((at) => at !== null);
    const last = times.length ? offset(Math.max(...times)) : null;
    const shut = new Set(closed.map(({ data }) => data.from));
    const awaited = incoming.map(({ from }) => from).filter((from) => !shut.has(from));
    return [
      h('span.dim', `${count(closed.length)} of ${count(Math.max(all, closed.length))}${last ? ' · ' : ''}`),
      last,
      recorded && !this.published && awaited.length > 0 && h('span.dim', ` · waits for ${shortList(awaited)}`),
    ];
  }

  foot(columns) {
    const { published } = this;
    if (!published) return null;
    const { status: is, revision } = published.data;
    const cells = [
      'Published',
      published.at === null ? '' : offset(published.at),
      is ? status(is) : UNKNOWN(),
      revision ? h('span.dim', `revision ${revision}`) : '',
      '',
    ];
    return cells.slice(0, columns);
  }

  note(isFetchKnown) {
    return h(
      'p.note',
      'A process records its state when the first marker reaches it, and is done when a marker came on every channel. ',
      !isFetchKnown &&
        this.isRead &&
        'When a part was fetched is told by the node that collects, as long as it remembers. ',
      this.all.length >= STEPS_MAX && `The first ${count(STEPS_MAX)} steps are shown. `,
    );
  }

  // One line per step, drawn in parts, when it is asked for.
  everyStep() {
    const words = {
      recorded: 'state recorded',
      closed: 'channel closed',
      collected: 'part fetched',
      published: 'published',
    };
    const columns = [
      { title: 'At', right: true, cell: ({ at }) => (at === null ? UNKNOWN() : offset(at)) },
      { title: 'Step', cell: ({ type }) => words[type] ?? type },
      { title: 'Of', cell: ({ place }) => place },
      { title: 'Noted', right: true, wide: true, cell: ({ noted }) => (noted === null ? '–' : offset(noted)) },
    ];
    const place = h('div');
    const summary = h('summary');
    let list = null;
    const sorted = () => this.all.toSorted((one, other) => (one.at ?? Infinity) - (other.at ?? Infinity));
    const element = h('details.every', summary, place);
    element.addEventListener('toggle', () => {
      if (list || !element.open) return;
      const options = { signal: this.signal, caption: 'Every step', height: '320px', empty: 'No step is known.' };
      list = new LongTable(columns, async () => ({ rows: sorted(), next: null }), options);
      fill(place, list.element);
    });
    const draw = () => {
      fill(summary, `Every step (${count(this.all.length)})`);
      list?.update(sorted);
    };
    return { element, draw };
  }
}

const shortList = (ids) => ids.slice(0, 3).join(', ') + (ids.length > 3 ? ` and ${ids.length - 3} more` : '');

// From the recording to the last channel, a stroke for each channel that was closed, a dot for the part.
function lineOf({ process, recorded, closed, collected }, { from, to }) {
  const x = (at) => 6 + ((at - from) / (to - from)) * (WIDE - 12);
  const known = closed.filter(({ at }) => at !== null).map(({ at }) => at);
  const svg = s('svg', { width: WIDE, height: 18, viewBox: `0 0 ${WIDE} 18`, 'aria-hidden': 'true' });
  const add = (...shapes) => svg.append(...shapes);
  add(s('line.grid', { x1: 6, x2: WIDE - 6, y1: 9, y2: 9 }));
  if (!recorded) return svg;
  const begin = x(recorded.at);
  const end = known.length ? x(Math.max(...known)) : begin;
  add(s('line', { x1: begin, x2: end, y1: 9, y2: 9, stroke: color(process), 'stroke-width': 2.2 }));
  for (const at of new Set(known.map((one) => Math.round(x(one)))))
    add(s('line', { x1: at, x2: at, y1: 4, y2: 14, stroke: color(process), 'stroke-width': 1.5 }));
  add(s('path', { d: `M${begin} 4l5 5-5 5-5-5z`, fill: 'var(--complete)' }));
  if (collected) add(s('circle', { cx: x(collected.at), cy: 9, r: 3, fill: 'var(--ink-2)' }));
  return svg;
}
