// All snapshots: filters in the address, a list that is drawn in parts, and what events add on top.

import { bind } from '../frame/keys.js';
import * as shell from '../frame/shell.js';
import { get } from '../node/api.js';
import * as live from '../node/live.js';
import { may, processes } from '../node/node.js';
import { withEntry } from '../parts/snapshot_list.js';
import { inFlight, recorded, snapshotId, started, state, took } from '../parts/snapshot_columns.js';
import { LongTable, PAGE } from '../parts/table.js';
import { button, card, fill, h } from '../values/dom.js';
import { bytes, count } from '../values/money.js';
import { takes } from './take.js';

const STATES = [
  ['', 'all'],
  ['complete', 'complete'],
  ['partial', 'partial'],
  ['in_progress', 'in progress'],
];
const PINNED = [
  ['', 'all'],
  ['true', 'pinned'],
  ['false', 'not pinned'],
];

/** Shows the page. */
export async function show({ query, signal, room }) {
  shell.nameWindow('Snapshots');
  shell.top('Snapshots', { actions: takes(signal) });
  const filter = Object.fromEntries(
    ['status', 'initiator', 'from', 'to', 'pinned'].map((name) => [name, query.get(name) ?? '']),
  );
  const sub = h('span');
  const list = new LongTable(
    columns(),
    async (cursor, stop) => {
      const answer = await get('v1/snapshots', { ...filter, limit: PAGE, cursor }, stop);
      fill(sub, counts(answer.counts));
      return { rows: answer.snapshots, next: answer.next_cursor };
    },
    { signal, caption: 'Snapshots, newest first', height: 'calc(100vh - 260px)', empty: emptyState(filter) },
  );
  fill(room, card('History', { name: 'history', sub }, filters(filter, signal), list.element));
  follow(list, filter, signal);
}

function counts(given) {
  if (!given) return null;
  const { complete, partial, in_progress } = given;
  shell.showCount(complete + partial + in_progress);
  return `${count(complete)} complete, ${count(partial)} partial, ${count(in_progress)} in progress`;
}

const emptyState = (filter) => {
  const isFiltered = Object.values(filter).some(Boolean);
  return isFiltered
    ? 'No snapshot fits the filter.'
    : h(
        'span',
        'No snapshots yet. Take the first with ',
        may('operate') && 'the button above, or ',
        h('code', `curl -X POST '${location.origin}/v1/snapshots?wait=10'`),
        '.',
      );
};

function columns() {
  return [
    snapshotId,
    state,
    started(),
    {
      title: 'By',
      wide: true,
      cell: ({ initiator, started_by }) => [
        initiator,
        started_by && h('span.dim', started_by === 'interval' ? ' on schedule' : ' on request'),
      ],
    },
    took,
    recorded,
    {
      title: 'Messages',
      right: true,
      wide: true,
      cell: ({ messages, status }) =>
        status === 'in_progress' || messages === null || messages === undefined ? '–' : count(messages),
    },
    {
      title: 'Written',
      right: true,
      wide: true,
      cell: ({ new_bytes }) => (new_bytes === null || new_bytes === undefined ? '–' : bytes(new_bytes)),
    },
    inFlight,
  ];
}

// A choice changes the address, so a filtered list can be sent and the back button undoes it.
function filters(filter, signal) {
  const choose = (name, label, options) => {
    const select = h(
      'select',
      { id: `by-${name}` },
      options.map(([value, text]) => h('option', { value, selected: filter[name] === value }, text)),
    );
    select.addEventListener('change', () => go({ ...filter, [name]: select.value }));
    return h('label', { for: `by-${name}` }, label, select);
  };
  const instant = (name, label) => {
    const input = h('input', {
      id: `by-${name}`,
      value: filter[name],
      placeholder: '-1h or 2026-01-31T12:00:00Z',
      spellcheck: 'false',
      size: 24,
    });
    input.addEventListener('change', () => go({ ...filter, [name]: input.value.trim() }));
    return h('label', { for: `by-${name}` }, label, input);
  };
  const first = choose('status', 'Status', STATES);
  bind('/', 'To the filter', () => first.querySelector('select').focus(), signal);
  return h(
    'div.filters',
    first,
    choose('initiator', 'Started by', [['', 'all'], ...processes().map((one) => [one, one])]),
    choose('pinned', 'Pinned', PINNED),
    instant('from', 'From'),
    instant('to', 'Until'),
    Object.values(filter).some(Boolean) && button('Clear', () => go({})),
  );
}

function go(filter) {
  const given = Object.entries(filter).filter(([, value]) => value);
  location.hash = given.length ? `#/snapshots?${new URLSearchParams(given)}` : '#/snapshots';
}

// What the filter would show is decided by the node; events are put in only where no filter hides them.
function follow(list, filter, signal) {
  const isFiltered = Object.values(filter).some(Boolean);
  const put = (entry) =>
    list.update((rows) => {
      const isKnown = rows.some(({ snapshot_id }) => snapshot_id === entry.snapshot_id);
      return isKnown || !isFiltered ? withEntry(rows, entry, list.isWhole) : rows;
    });
  live.on('snapshot_begun', (begun) => put({ ...begun, status: 'in_progress' }), signal);
  live.on('snapshot_published', put, signal);
  live.on('snapshot_pinned', put, signal);
  live.on(
    'snapshot_deleted',
    ({ snapshot_id }) => list.update((rows) => rows.filter((one) => one.snapshot_id !== snapshot_id)),
    signal,
  );
  live.on('reset', () => list.reset(), signal);
}
