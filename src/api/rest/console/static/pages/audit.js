// The whole cluster at any instant that is kept: totals, what was in flight, and whether it adds up.

import { bind } from '../frame/keys.js';
import * as shell from '../frame/shell.js';
import { get, path } from '../node/api.js';
import { collate } from '../node/node.js';
import { certificate } from '../parts/certificate.js';
import { curve, ranges, RANGES } from '../parts/chart.js';
import { table } from '../parts/table.js';
import { button, card, figure, fill, h, link } from '../values/dom.js';
import { count, counted, drawn, money } from '../values/money.js';
import { color, mark, status, swatch } from '../values/status.js';
import { instant, micros, time, zoneName } from '../values/time.js';

const TICKS = 1000;
/** Steps of the slider. */
const STEPS = 1000;

/** Shows `#/audit`, `?at=INSTANT` or `?cut=TOKEN`: the same cut, whoever opens the link. */
export async function show({ query, signal, room }) {
  shell.nameWindow('Audit');
  shell.top('Audit');
  const page = { signal, places: { answer: h('div.stack'), curve: h('div'), slide: h('div') }, ticks: [] };
  const answer = await get('v1/audit', { at: query.get('at'), cut: query.get('cut') }, signal);
  page.until = Math.max(Date.now() * 1000, micros(answer.at));
  page.at = micros(answer.at);
  page.range = RANGES.map(([, size]) => size).find((size) => page.until - page.at < size * 0.98e6) ?? RANGES.at(-1)[1];
  fill(room, page.places.slide, page.places.answer, page.places.curve);
  take(page, answer);
  await around(page);
  bind(']', 'The next snapshot', () => jump(page, 1), signal);
  bind('[', 'The snapshot before', () => jump(page, -1), signal);
}

// The slider, the snapshots in its range, and the curve.
async function around(page) {
  const { places, signal } = page;
  const [from, to] = span(page);
  fill(places.curve, card('Over this time', { name: 'series', sub: 'reading…' }, h('div.curve')));
  slider(page);
  const within = { from: instant(from), to: instant(to) };
  try {
    page.ticks = (await get('v1/snapshots', { ...within, limit: TICKS }, signal)).snapshots;
  } catch (problem) {
    if (signal.aborted) return;
    page.ticks = [];
    shell.note(problem.message);
  }
  slider(page);
  drawSeries(page);
}

const span = ({ until, range }) => [until - range * 1e6, until];

function slider(page) {
  const [from, to] = span(page);
  const part = (at) => (at - from) / (to - from);
  const input = h('input', {
    type: 'range',
    min: 0,
    max: STEPS,
    step: 1,
    value: Math.round(Math.max(0, Math.min(1, part(page.at))) * STEPS),
    id: 'instant',
    'aria-label': 'Instant',
  });
  const shown = h('b.num', time(instant(page.at), 6, 'full'), ' ', zoneName());
  const at = () => Math.min(from + ((to - from) * Number(input.value)) / STEPS, to);
  const say = () => {
    fill(shown, time(instant(at()), 3, 'full'), ' ', zoneName());
    input.setAttribute('aria-valuetext', instant(at()));
  };
  input.addEventListener('input', say);
  // One audit when the slider is let go, none while it moves.
  input.addEventListener('change', () => ask(page, { at: instant(at()) }));
  const again = (size) => {
    page.range = size;
    page.until = Date.now() * 1000;
    around(page);
  };
  const now = button('Now', () => ask(page, {}), { title: 'The newest instant that is final' });
  fill(
    page.places.slide,
    card(
      'At which instant',
      { name: 'slide', sub: shown, right: [ranges(page.range, again), now] },
      h(
        'div.slide',
        input,
        h(
          'div.ticks',
          { 'aria-hidden': 'true' },
          page.ticks.map(({ initiated_at, status: state }) =>
            h(state === 'complete' ? 'i' : 'i.partial', { css: { left: `${part(micros(initiated_at)) * 100}%` } }),
          ),
        ),
        h(
          'div.ends',
          time(instant(from), 0),
          h(
            'span',
            `${counted(page.ticks.length, 'snapshot')}${page.ticks.length === TICKS ? ' or more' : ''} in this time · step with `,
            h('kbd', '['),
            ' ',
            h('kbd', ']'),
          ),
          time(instant(to), 0),
        ),
      ),
    ),
  );
}

async function ask(page, query) {
  const number = (page.asked = (page.asked ?? 0) + 1);
  try {
    const answer = await get('v1/audit', query, page.signal);
    if (number !== page.asked) return;
    page.at = micros(answer.at);
    if (page.at > page.until) page.until = page.at;
    take(page, answer);
    slider(page);
  } catch (problem) {
    if (!page.signal.aborted)
      fill(
        page.places.answer,
        h(
          'section.card',
          h(
            'div.empty',
            { role: 'alert' },
            h('b', problem.title),
            problem.message,
            problem.since && [
              h('br'),
              'The earliest instant that can be asked for: ',
              time(problem.since, 6, 'full'),
              ' ',
              zoneName(),
            ],
          ),
        ),
      );
  }
}

function jump(page, by) {
  const times = page.ticks.map(({ initiated_at }) => micros(initiated_at)).sort((one, other) => one - other);
  const next = by > 0 ? times.find((at) => at > page.at) : times.findLast((at) => at < page.at);
  if (next !== undefined) ask(page, { at: instant(next) });
}

function take(page, answer) {
  const { token } = answer.cut;
  history.replaceState(
    null,
    '',
    token && answer.complete ? `#/audit?cut=${token}` : `#/audit?at=${encodeURIComponent(answer.at)}`,
  );
  fill(
    page.places.answer,
    missing(answer),
    totals(answer),
    h(
      'div.three',
      inFlight(answer),
      processesAt(answer),
      certificate(
        { ...answer, status: answer.complete ? 'complete' : 'partial' },
        { kinds: ['consistent_cut', 'conservation'] },
      ),
    ),
  );
}

const REASONS = {
  down: 'is down',
  never_seen: 'was never seen',
  no_answer: 'did not answer',
  clock_behind: 'has a clock that is behind this instant',
  other_make: 'is of another make, without a journal to ask',
  other_journal: 'kept its journal of then in another store',
};

function missing({ missing: absent, complete }) {
  if (complete) return null;
  return h(
    'div.banner',
    { role: 'status' },
    mark('partial', 17),
    h(
      'ul',
      absent
        .slice(0, 8)
        .map(({ process, reason, known_until, snapshot, in_totals }) =>
          h(
            'li',
            h('b', `${process} ${REASONS[reason] ?? reason}`),
            known_until
              ? [
                  '. Its figures are those of ',
                  snapshot && link(path`#/snapshots/${snapshot}`, snapshot),
                  ' at ',
                  time(known_until, 3),
                  ' ',
                  zoneName(),
                ]
              : null,
            in_totals === false ? '. It is in no total here.' : '.',
          ),
        ),
    ),
  );
}

function onItsWay(channels) {
  const known = channels.filter(({ messages }) => messages !== null);
  if (known.length < channels.length)
    return `only ${count(known.length)} of ${count(channels.length)} channels are known`;
  return counted(
    known.reduce((all, { messages }) => all + messages, 0),
    'message',
  );
}

const totals = ({ totals: sums, channels, complete }) =>
  h(
    'div.stats',
    figure('In accounts', money(sums.balances), complete ? 'of all processes' : 'of those that are known'),
    figure(
      'In flight',
      sums.channels_left_out?.length ? h('span.dim', 'partly known') : h('span.flight', money(sums.in_flight)),
      onItsWay(channels),
    ),
    figure('Paid in', money(sums.deposits)),
    figure('Paid out', money(sums.withdrawals)),
    figure(
      'Difference',
      complete
        ? money(BigInt(sums.deposits) - BigInt(sums.withdrawals) - BigInt(sums.balances) - BigInt(sums.in_flight))
        : h('span.dim', 'not known'),
      complete ? 'paid in less paid out less held' : 'who is missing cannot be compared',
    ),
  );

function inFlight({ channels }) {
  const used = channels.filter(({ messages }) => messages !== 0);
  const columns = [
    { title: 'Channel', cell: ({ from, to }) => `${from} → ${to}` },
    {
      title: 'Messages',
      right: true,
      cell: ({ messages }) => (messages === null ? h('span.dim', 'not known') : count(messages)),
    },
    { title: 'Amount', right: true, cell: ({ amount }) => h('span.flight', money(amount)) },
  ];
  return card(
    'In flight',
    { name: 'flight', sub: `${counted(channels.length, 'channel')}` },
    used.length
      ? table(columns, used.slice(0, 100), { caption: 'In flight by channel' })
      : h('div.empty.small', h('b', 'Every channel was empty'), 'Nothing was on its way at this instant.'),
    used.length > 100 && h('p.note', `and ${count(used.length - 100)} more`),
  );
}

function processesAt({ processes }) {
  const rows = [...processes].sort((one, other) => collate(one.process, other.process));
  const columns = [
    { title: 'Process', cell: ({ process }) => h('span.with-sw', swatch(color(process)), process) },
    { title: 'Turn', right: true, cell: ({ journal_position }) => count(journal_position) },
    { title: 'Balance', right: true, cell: ({ balance_total }) => money(balance_total) },
  ];
  return card(
    'At this cut',
    { name: 'cut' },
    rows.length
      ? table(columns, rows, { caption: 'The processes at the cut' })
      : h('div.empty.small', h('b', 'Nothing is known of this instant'), status('unknown')),
  );
}

// The figures at each complete snapshot of this time: they are stored, so the curve asks no process.
function drawSeries(page) {
  const framed = (sub, ...shown) => fill(page.places.curve, card('Over this time', { name: 'series', sub }, ...shown));
  const complete = page.ticks.filter(({ status: state }) => state === 'complete');
  const points = complete.map(({ initiated_at, totals: sums }) => ({ at: initiated_at, ...sums })).reverse();
  if (!points.length)
    return framed(
      null,
      h('div.empty.small', h('b', 'No complete snapshot in this time'), 'Choose a longer time, or another instant.'),
    );
  const known = (point, name) => (point[name] === null || point[name] === undefined ? null : drawn(point[name]));
  framed(
    'at each complete snapshot · click on the curve to ask for that instant',
    curve({
      label: 'Money in flight and in accounts over this time. The figures of an instant stand above.',
      times: points.map(({ at }) => micros(at) / 1e6),
      within: span(page).map((at) => at / 1e6),
      series: [
        {
          label: 'In flight',
          values: points.map((one) => known(one, 'in_flight')),
          color: 'flight',
          fill: true,
          stepped: true,
        },
        { label: 'In accounts', values: points.map((one) => known(one, 'balances')), color: 'accent', scale: 'held' },
      ],
      value: (v) => v.toLocaleString('en'),
      onPick: (at) => ask(page, { at: instant(Math.round(at * 1e6)) }),
      signal: page.signal,
    }),
  );
}
