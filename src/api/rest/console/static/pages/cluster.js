// The cluster: every process and channel, how far behind each is, and what is stopped and why.

import * as shell from '../frame/shell.js';
import { collate } from '../node/node.js';
import { Watch } from '../node/watch.js';
import { banner } from '../parts/health.js';
import { LongTable, table } from '../parts/table.js';
import { card, figure, fill, h } from '../values/dom.js';
import { bytes, count, money } from '../values/money.js';
import { color, status, swatch } from '../values/status.js';
import { micros, seconds, time, zoneName } from '../values/time.js';

/** Shows the page. */
export async function show({ signal, room }) {
  shell.nameWindow('Cluster');
  shell.top('Cluster');
  const places = { banner: h('div'), stats: h('div.stats'), processes: h('div') };
  const links = channelList(signal);
  fill(room, h('div', places.banner), places.stats, places.processes, links.element);
  new Watch(signal, (cluster, rates) => {
    fill(places.banner, banner(cluster, { more: false }));
    fill(places.stats, figures(cluster));
    fill(places.processes, processes(cluster, rates));
    links.take(cluster);
  });
}

const older = (one, other) => (one === null || (other !== null && other < one) ? other : one);

function figures({ processes: all, channels, asked_at: asked }) {
  const up = all.filter(({ state }) => state === 'up').length;
  const known = channels.filter(({ waiting }) => waiting !== null);
  const waiting = known.reduce((sum, one) => sum + one.waiting, 0);
  const oldest = channels.map(({ oldest_at }) => oldest_at).reduce(older, null);
  const open = channels.filter(({ state }) => state === 'open' || state === 'unary').length;
  return [
    figure(
      'Processes up',
      `${count(up)} of ${count(all.length)}`,
      up === all.length ? 'all answer' : 'the others do not answer',
    ),
    figure(
      'Channels open',
      `${count(open)} of ${count(channels.length)}`,
      channels.some(({ state }) => state === 'stopped')
        ? 'some are stopped'
        : open < channels.length
          ? 'the others are not connected'
          : 'none is stopped',
    ),
    figure(
      'Messages waiting',
      count(waiting),
      known.length < channels.length ? `of ${count(known.length)} channels that are known` : 'sent, not acknowledged',
    ),
    figure(
      'The oldest waits',
      oldest
        ? seconds(Math.max(0, (micros(asked) - micros(oldest)) / 1e6))
        : waiting || known.length < channels.length
          ? unknown()
          : '–',
      oldest ? 'since it was sent' : waiting ? 'its time could not be read' : 'nothing that is known waits',
    ),
  ];
}

const unknown = () => h('span.dim', 'not known');
const or = (value, shown) => (value === null || value === undefined ? unknown() : shown(value));

function processes({ processes: all }, rates) {
  const rows = [...all].sort(
    (one, other) => (one.state === 'up') - (other.state === 'up') || collate(one.process, other.process),
  );
  const columns = [
    { title: 'Process', cell: ({ process }) => h('span.with-sw', swatch(color(process)), h('span.strong', process)) },
    { title: 'State', cell: ({ state, error }) => h('span', { title: error ?? null }, status(state)) },
    {
      title: ['Since, ', zoneName()],
      cell: (one) =>
        one.state === 'up'
          ? or(one.since ?? one.boot, (at) => time(at))
          : one.last_seen
            ? ['heard ', time(one.last_seen)]
            : unknown(),
    },
    {
      title: 'Program',
      wide: true,
      cell: ({ version, boot }) => or(version, () => h('span', { title: boot ? `started ${boot}` : null }, version)),
    },
    {
      title: 'Records/s',
      right: true,
      wide: true,
      cell: ({ process }) => (rates.get(process)?.length ? count(Math.round(rates.get(process).at(-1))) : '–'),
    },
    { title: 'Turn', right: true, wide: true, cell: ({ journal_position: at }) => or(at, count) },
    { title: 'Accounts', right: true, wide: true, cell: ({ accounts }) => or(accounts, count) },
    {
      title: 'Clock',
      right: true,
      wide: true,
      cell: ({ clock_skew_seconds: skew }) =>
        or(skew, (value) => `${value < 0 ? '−' : '+'}${(Math.abs(value) * 1000).toFixed(1)} ms`),
    },
    { title: 'Store', right: true, wide: true, cell: ({ store }) => or(store, () => bytes(store.disk_bytes)) },
    { title: 'Free', right: true, cell: ({ store }) => or(store, () => bytes(store.free_bytes)) },
    {
      title: 'Address',
      wide: true,
      cell: ({ grpc, rest, transport }) =>
        h('span.mono', { title: `gRPC ${grpc}${rest ? `, REST ${rest}` : ''}, ${transport}` }, grpc),
    },
  ];
  const why = rows.filter(({ error, warnings }) => error || warnings?.length);
  return card(
    'Processes',
    { name: 'processes', sub: 'those that are not up come first' },
    table(columns, rows, { caption: 'Processes' }),
    why.length > 0 &&
      h(
        'p.note',
        why.map(({ process, error, warnings = [] }) =>
          h('span', h('b.strong', process), `: ${[error, ...warnings].filter(Boolean).join('; ')} `),
        ),
      ),
  );
}

// Fifty processes have 2,450 channels: drawn in parts, and those that are not well come first.
function channelList(signal) {
  let rows = [];
  let isAll = true;
  const columns = [
    { title: 'Channel', cell: ({ from, to }) => h('span.strong', `${from} → ${to}`) },
    { title: 'State', cell: ({ state, error }) => h('span', { title: error ?? null }, status(state)) },
    { title: 'Waiting', right: true, cell: ({ waiting }) => or(waiting, count) },
    { title: 'Amount', right: true, cell: ({ waiting_amount }) => or(waiting_amount, money) },
    {
      title: ['Oldest, ', zoneName()],
      right: true,
      wide: true,
      cell: ({ oldest_at, waiting }) => (oldest_at ? time(oldest_at, 1) : waiting === null ? unknown() : '–'),
    },
    { title: 'Sent', right: true, wide: true, cell: ({ sent }) => or(sent, count) },
    { title: 'Acknowledged', right: true, wide: true, cell: ({ acknowledged }) => or(acknowledged, count) },
    { title: 'Delivered', right: true, wide: true, cell: ({ delivered }) => or(delivered, count) },
    {
      title: 'Recording',
      wide: true,
      cell: ({ recording }) => (recording ? status('in_progress', { word: 'recording' }) : '–'),
    },
  ];
  const list = new LongTable(columns, async () => ({ rows: shown(), next: null }), {
    signal,
    caption: 'All channels',
    height: '520px',
    empty: 'Every channel is open and nothing waits.',
  });
  const rank = ({ state, waiting }) => ({ stopped: 0, closed: 1 })[state] ?? (waiting ? 2 : 3);
  const shown = () => rows.filter((one) => isAll || rank(one) < 3);
  const only = h('input', { type: 'checkbox', id: 'only-unwell' });
  only.addEventListener('change', () => {
    isAll = !only.checked;
    list.update(shown);
  });
  const unwell = h('p.note');
  return {
    element: card(
      'Channels',
      {
        name: 'channels',
        sub: 'messages sent, not acknowledged',
        right: h('label.key', only, 'Only what waits or is stopped'),
      },
      unwell,
      list.element,
    ),
    take({ channels }) {
      rows = [...channels].sort(
        (one, other) =>
          rank(one) - rank(other) ||
          (other.waiting ?? 0) - (one.waiting ?? 0) ||
          collate(one.from, other.from) ||
          collate(one.to, other.to),
      );
      list.update(shown);
      const stopped = rows.filter(({ state }) => state === 'stopped');
      fill(
        unwell,
        stopped
          .slice(0, 5)
          .map(({ from, to, error }) =>
            h('span', h('b.strong', `${from} → ${to} is stopped`), error ? `: ${error}. ` : '. '),
          ),
        stopped.length > 0 && [
          'What an operator does then: ',
          h('code', 'docs/operations.md'),
          ', “When stores contradict each other”.',
        ],
      );
    },
  };
}
