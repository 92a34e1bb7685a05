// The state of the cluster as cards: what is wrong now, the channels, the processes.

import { collate } from '../node/node.js';
import { card, h, link } from '../values/dom.js';
import { bytes, count } from '../values/money.js';
import { color, mark, status } from '../values/status.js';
import { age, time, zoneName } from '../values/time.js';
import { spark } from './strip.js';
import { scrolling, table } from './table.js';

/** Up to here each channel has a cell. Beyond, those that are not well are listed. */
const MATRIX_MAX = 8;

/** What is wrong now, and what it means. */
export function banner({ processes: all, channels: links }, { more = true } = {}) {
  const sentences = [];
  for (const one of all.filter(({ state }) => state !== 'up')) {
    const touching = links.filter(({ from, to }) => from === one.process || to === one.process).length;
    const waiting = links
      .filter(({ to, waiting: some }) => to === one.process && some !== null)
      .reduce((n, { waiting: some }) => n + some, 0);
    sentences.push([
      h('b', `${one.process} is ${one.state === 'down' ? 'down' : 'not seen yet'}`),
      one.last_seen && [', last heard ', age(one.last_seen), ', at ', time(one.last_seen, 1), ' ', zoneName()],
      `. New snapshots are partial: its accounts, and what is on the ${touching} channels from and to it, are not in their totals. `,
      waiting > 0 && [
        h('b', count(waiting)),
        ` ${waiting === 1 ? 'message waits' : 'messages wait'} for it and will arrive once it is back.`,
      ],
      ' See whether its program runs and its machine answers; ',
      h('code', 'snapledger node'),
      ' with its id starts it again.',
    ]);
  }
  for (const one of links.filter(({ state }) => state === 'stopped')) {
    sentences.push([
      h('b', `The channel ${one.from} → ${one.to} is stopped`),
      one.error && `: ${one.error}`,
      '. It stays so until an operator decides.',
    ]);
  }
  for (const one of all)
    for (const warning of one.warnings ?? []) sentences.push([h('b', one.process), `: ${warning}`]);
  if (!sentences.length) return null;
  const isBad = links.some(({ state }) => state === 'stopped');
  return h(
    isBad ? 'div.banner.broken' : 'div.banner',
    { role: 'status' },
    mark(isBad ? 'broken' : 'partial', 17),
    h(
      'ul',
      sentences.slice(0, 6).map((sentence) => h('li', sentence)),
      sentences.length > 6 && h('li', `and ${sentences.length - 6} more`),
    ),
    h('span.spacer'),
    more && link('#/cluster', 'Show the cluster'),
  );
}

/** The messages that wait on each channel. */
export function channels({ processes: all, channels: links }) {
  const ids = all.map(({ process }) => process).sort(collate);
  const sub = 'messages sent, not acknowledged';
  if (!links.length) return null;
  if (ids.length > MATRIX_MAX) return card('Channels', { name: 'channels', sub }, worst(links));
  const found = new Map(links.map((one) => [`${one.from}\n${one.to}`, one]));
  return card(
    'Channels',
    { name: 'channels', sub },
    scrolling(
      h(
        'table.matrix',
        h(
          'thead',
          h(
            'tr',
            h('th', { scope: 'col' }, 'from \\ to'),
            ids.map((id) => h('th.r', { scope: 'col' }, id)),
          ),
        ),
        h(
          'tbody',
          ids.map((from) =>
            h(
              'tr',
              h('th', { scope: 'row' }, from),
              ids.map((to) => channelCell(from === to ? null : found.get(`${from}\n${to}`), all)),
            ),
          ),
        ),
      ),
    ),
  );
}

function channelCell(one, all) {
  if (one === null) return h('td.self', { 'aria-label': 'none' });
  if (one === undefined) return h('td.self', h('small', 'no channel'));
  const isDown = (id) => all.some(({ process, state }) => process === id && state !== 'up');
  const isStuck = one.state === 'closed' || isDown(one.to);
  const word =
    one.waiting === null ? (isDown(one.from) ? `${one.from} is down` : 'no answer') : isStuck ? 'waiting' : one.state;
  const selector = one.state === 'stopped' ? 'td.bad' : isStuck && one.waiting !== null ? 'td.waits' : 'td';
  return h(
    selector,
    { title: one.error ?? null },
    h(one.waiting ? 'div.num.n' : 'div.num.n.dim', one.waiting === null ? 'not known' : count(one.waiting)),
    h('small', word),
  );
}

// Of many channels those that are not open, then the fullest.
function worst(links) {
  const rank = ({ state, waiting }) => [state === 'stopped' ? 0 : state === 'closed' ? 1 : 2, -(waiting ?? 0)];
  const sorted = [...links].sort((one, other) => rank(one)[0] - rank(other)[0] || rank(one)[1] - rank(other)[1]);
  const columns = [
    { title: 'Channel', cell: ({ from, to }) => `${from} → ${to}` },
    { title: 'State', cell: ({ state }) => status(state) },
    { title: 'Waiting', right: true, cell: ({ waiting }) => count(waiting) },
  ];
  return [table(columns, sorted.slice(0, 8)), h('p.note', link('#/cluster', `All ${count(links.length)} channels`))];
}

/** Each process with its rate and its store. */
export function processes({ processes: all }, rates) {
  const inOrder = [...all].sort((one, other) => collate(one.process, other.process));
  const unwell = inOrder.filter(({ state }) => state !== 'up');
  const shown =
    inOrder.length > MATRIX_MAX
      ? [...unwell, ...inOrder.filter(({ state }) => state === 'up')].slice(0, MATRIX_MAX)
      : inOrder;
  return card(
    'Processes',
    { name: 'processes', sub: 'records per second' },
    h(
      'div',
      shown.map((one) => processRow(one, rates.get(one.process) ?? [])),
    ),
    inOrder.length > shown.length && h('p.note', link('#/cluster', `All ${inOrder.length} processes`)),
  );
}

function processRow(one, rates) {
  const isUp = one.state === 'up';
  const now = rates.at(-1);
  return h(
    'div.process',
    h('div', h('b', one.process), h('div', status(one.state))),
    spark(rates, isUp ? color(one.process) : 'var(--ink-3)'),
    h(
      'div.num.figures',
      isUp
        ? h(
            'div',
            now === undefined
              ? h('span.dim', 'measuring')
              : [h('span.strong', count(Math.round(now))), h('span.dim', ' /s')],
          )
        : h('div', 'heard ', time(one.last_seen, 1)),
      one.store
        ? [h('small', `store ${bytes(one.store.disk_bytes)}`), h('small', `${bytes(one.store.free_bytes)} free`)]
        : h('small', 'store not known'),
    ),
  );
}
