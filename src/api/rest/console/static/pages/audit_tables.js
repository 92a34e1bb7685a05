// The figures of an audit: who is missing and why, the totals, what was in flight, the processes at the cut.

import { path } from '../node/api.js';
import { collate } from '../node/node.js';
import { table } from '../parts/table.js';
import { card, figure, h, link } from '../values/dom.js';
import { count, counted, money } from '../values/money.js';
import { color, mark, status, swatch } from '../values/status.js';
import { micros, seconds, time, zoneName } from '../values/time.js';

const CHANNELS_MAX = 100;
const REASONS = {
  down: 'is down',
  never_seen: 'was never seen',
  no_answer: 'did not answer',
  clock_behind: 'has a clock that is behind this instant',
  other_make: 'is of another make, without a journal to ask',
  other_journal: 'has no journal of this instant; it begins later',
};

/** Who is missing, and of when the figures are that stand for it. */
export function missing({ missing: absent, complete, at }) {
  if (complete) return null;
  const sentences = [...Map.groupBy(absent, sameWords).values()].map((alike) => [
    h('b', `${alike.map(({ process }) => process).join(', ')} ${REASONS[alike[0].reason] ?? alike[0].reason}`),
    standIn(alike[0], at),
    alike[0].in_totals === false ? `. ${alike.length > 1 ? 'They are' : 'It is'} in no total here.` : '.',
  ]);
  return h(
    'div.banner',
    { role: 'status' },
    mark('partial', 17),
    h(
      'ul',
      sentences.slice(0, 8).map((one) => h('li', one)),
      sentences.length > 8 && h('li', `and ${sentences.length - 8} more`),
    ),
  );
}

// Processes of which nothing but the same reason is known share a sentence.
const sameWords = ({ process, reason, known_until: until, in_totals: isCounted }) =>
  [reason, isCounted, until ? process : ''].join();

const standIn = ({ known_until: until, snapshot }, at) =>
  until && [
    '. Its figures are those of ',
    snapshot && [link(path`#/snapshots/${snapshot}`, snapshot), ' at '],
    time(until, 3),
    ' ',
    zoneName(),
    earlier(until, at),
  ];

const earlier = (until, at) => `, ${seconds(Math.max(0, (micros(at) - micros(until)) / 1e6))} earlier`;

const NOT_KNOWN = () => h('span.dim', 'not known');

/** The sums. What no process could tell is not known, and never 0. */
export function totals({ totals: sums, channels, complete, processes }) {
  const isKnown = complete || processes.length > 0;
  const amount = (name) => (isKnown ? money(sums[name]) : NOT_KNOWN());
  const out = (sums.left_out ?? []).slice(0, 3).join(', ');
  const older = sums.earlier ?? [];
  const of = complete
    ? 'of all processes'
    : [out && `without ${out}`, older.length > 0 && `${older.slice(0, 3).join(', ')} of an earlier time`]
        .filter(Boolean)
        .join('; ');
  const difference = () =>
    money(BigInt(sums.deposits) - BigInt(sums.withdrawals) - BigInt(sums.balances) - BigInt(sums.in_flight));
  return h(
    'div.stats',
    figure('In accounts', amount('balances'), of),
    figure(
      'In flight',
      sums.channels_left_out?.length
        ? h('span.dim', isKnown ? 'partly known' : 'not known')
        : h('span.flight', money(sums.in_flight)),
      onItsWay(channels),
    ),
    figure('Paid in', amount('deposits'), !complete && of),
    figure('Paid out', amount('withdrawals'), !complete && of),
    figure(
      'Difference',
      complete ? difference() : NOT_KNOWN(),
      complete ? 'paid in less paid out less held' : 'a process is missing',
    ),
  );
}

function onItsWay(channels) {
  const known = channels.filter(({ messages }) => messages !== null);
  if (known.length < channels.length)
    return `${known.length ? 'only ' : ''}${count(known.length)} of ${count(channels.length)} channels are known`;
  return counted(
    known.reduce((all, { messages }) => all + messages, 0),
    'message',
  );
}

/** What was in flight, by channel. */
export function inFlight({ channels }) {
  const used = channels.filter(({ messages }) => messages !== 0);
  const columns = [
    { title: 'Channel', cell: ({ from, to }) => `${from} → ${to}` },
    {
      title: 'Messages',
      right: true,
      cell: ({ messages }) => (messages === null ? NOT_KNOWN() : count(messages)),
    },
    { title: 'Amount', right: true, cell: ({ amount }) => h('span.flight', money(amount)) },
  ];
  return card(
    'In flight by channel',
    { name: 'flight', sub: counted(channels.length, 'channel') },
    used.length
      ? table(columns, used.slice(0, CHANNELS_MAX), { caption: 'In flight by channel' })
      : h('div.empty.small', h('b', 'Every channel was empty'), 'Nothing was on its way at this instant.'),
    used.length > CHANNELS_MAX && h('p.note', `and ${count(used.length - CHANNELS_MAX)} more`),
  );
}

/** The processes at the cut. One that is missing has the figures of an earlier time, and says so. */
export function processesAt({ processes, missing: absent }) {
  const until = new Map(absent.map((one) => [one.process, one.known_until]));
  const rows = [...processes].sort((one, other) => collate(one.process, other.process));
  const columns = [
    {
      title: 'Process',
      cell: ({ process }) => [
        h('span.with-sw', swatch(color(process)), process),
        until.get(process) && h('span.dim', ' as of ', time(until.get(process), 0)),
      ],
    },
    { title: 'Turn', right: true, cell: (one) => count(one.journal_position) },
    {
      title: 'Balance',
      right: true,
      cell: ({ process, balance_total: held }) => h(until.has(process) ? 'span.dim' : 'span', money(held)),
    },
  ];
  return card(
    'Processes at this cut',
    { name: 'cut' },
    rows.length
      ? table(columns, rows, { caption: 'The processes at the cut' })
      : h('div.empty.small', h('b', 'Nothing is known of this instant'), status('unknown')),
  );
}
