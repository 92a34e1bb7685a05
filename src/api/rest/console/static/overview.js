// Overview: where the money is, the newest snapshots, and what is wrong now.

import { get, path } from './api.js';
import { button, card, fill, h, link } from './dom.js';
import { bind } from './keys.js';
import { banner, channels, processes } from './health.js';
import * as live from './live.js';
import { counted, money, moneyText, unit } from './money.js';
import { collate, may } from './node.js';
import * as shell from './shell.js';
import { color, status, swatch } from './status.js';
import { strip } from './strip.js';
import { table } from './table.js';
import { ms, time, zoneName } from './time.js';
import { take } from './take.js';
import { Watch } from './watch.js';

const SHOWN = 26;
const LISTED = 8;

/** Shows the page. */
export async function show({ signal, room }) {
  shell.nameWindow('Overview');
  const actions = may('audit') ? [button('Take snapshot', take, { primary: true, key: 's' })] : [];
  shell.top('Overview', { actions });
  if (actions.length) bind('s', 'Take snapshot', take, signal);
  const [list, newest] = await Promise.all([get('v1/snapshots', { limit: SHOWN }, signal), newestComplete(signal)]);
  const places = { banner: h('div'), money: h('div'), strip: h('div'), list: h('div'), side: h('div.stack') };
  const state = { list: list.snapshots, newest, places, signal, isEmpty: null };
  shell.showCount(total(list.counts));
  drawAll(state, room);
  live.on('snapshot_begun', (begun) => changed(state, room, { ...begun, status: 'in_progress' }), signal);
  live.on('snapshot_published', (entry) => changed(state, room, entry), signal);
  live.on(
    'snapshot_deleted',
    ({ snapshot_id }) => {
      state.list = state.list.filter((one) => one.snapshot_id !== snapshot_id);
      drawAll(state, room);
    },
    signal,
  );
  live.on('reset', () => reread(state, room), signal);
  new Watch(signal, (cluster, rates) => drawCluster(state, cluster, rates));
}

// By its id, since a complete revision never changes and the browser keeps it.
async function newestComplete(signal) {
  const { snapshots } = await get('v1/snapshots', { status: 'complete', limit: 1 }, signal);
  return snapshots.length ? get(path`v1/snapshots/${snapshots[0].snapshot_id}`, {}, signal) : null;
}

const total = (counts) => (counts ? counts.complete + counts.partial + counts.in_progress : null);

async function reread(state, room) {
  const list = await get('v1/snapshots', { limit: SHOWN }, state.signal);
  state.list = list.snapshots;
  shell.showCount(total(list.counts));
  drawAll(state, room);
}

function changed(state, room, entry) {
  const at = state.list.findIndex((one) => one.snapshot_id === entry.snapshot_id);
  if (at >= 0) state.list[at] = { ...state.list[at], ...entry };
  else state.list = [entry, ...state.list].slice(0, SHOWN);
  drawAll(state, room);
  const isNewer = entry.status === 'complete' && (!state.newest || entry.initiated_at > state.newest.initiated_at);
  if (isNewer) follow(state, room);
}

// The entry of the list has no figures per process. Many snapshots in a row cost one request each second.
function follow(state, room) {
  state.following ??= setTimeout(async () => {
    state.following = null;
    if (state.signal.aborted) return;
    try {
      state.newest = await newestComplete(state.signal);
      drawAll(state, room);
    } catch {
      // The older one stays, with its name and time.
    }
  }, 1000);
}

function drawAll(state, room) {
  const { places, list, newest } = state;
  const isEmpty = list.length === 0;
  if (state.isEmpty !== isEmpty) {
    state.isEmpty = isEmpty;
    fill(
      room,
      places.banner,
      isEmpty
        ? [empty(), places.side]
        : [places.money, h('div.two', h('div.stack', places.strip, places.list), places.side)],
    );
  }
  if (isEmpty) return;
  fill(places.money, newest ? whereTheMoneyIs(newest) : noneComplete());
  fill(places.strip, strip([...list].reverse()));
  fill(places.list, newestFirst(list));
}

const empty = () =>
  h(
    'section.card',
    h(
      'div.empty',
      h('b', 'No snapshots yet'),
      'A snapshot shows what every account held at one consistent cut, and what was on its way between processes.',
      may('audit') && h('div', button('Take snapshot', take, { primary: true, key: 's' })),
      h(
        'div',
        h(
          'pre',
          { tabindex: 0, 'aria-label': 'The same with curl' },
          `curl -X POST '${location.origin}/v1/snapshots?wait=10'`,
        ),
      ),
    ),
  );

const noneComplete = () =>
  h(
    'section.card',
    h(
      'div.empty',
      h('b', 'No complete snapshot yet'),
      'Partial snapshots lack a process, so their totals cannot be compared. Who is missing stands in the list below.',
    ),
  );

function whereTheMoneyIs(snapshot) {
  const { totals, processes, channels } = snapshot;
  const term = (name, value, selector = 'div.dd') => h('div', h('div.dt', name), h(selector, money(value)));
  const sign = (text) => h('span.op', { 'aria-hidden': 'true' }, text);
  const messages = channels.reduce((all, channel) => all + channel.messages, 0);
  const whole = processes.reduce((all, one) => all + Number(one.balance_total), 0) || 1;
  const inOrder = [...processes].sort((one, other) => collate(one.process, other.process));
  const share = (one) =>
    h('i', { css: { background: color(one.process), flex: String(Number(one.balance_total) / whole) } });
  return card(
    'Where the money is',
    {
      name: 'money',
      sub: [
        'at ',
        link(path`#/snapshots/${snapshot.snapshot_id}`, snapshot.snapshot_id),
        ', the newest complete snapshot · ',
        time(snapshot.initiated_at, 3, 'full'),
        ' ',
        zoneName(),
        ' · in ',
        unit(),
      ],
    },
    h(
      'div.eq',
      term('Paid in', totals.deposits),
      sign('−'),
      term('Paid out', totals.withdrawals),
      sign('='),
      term('In accounts', totals.balances),
      sign('+'),
      term('In flight', totals.in_flight, 'div.dd.flight'),
      verdict(snapshot),
    ),
    h(
      'div.split',
      { 'aria-hidden': 'true' },
      inOrder.length <= 12 && inOrder.map(share),
      h('i', { css: { background: 'var(--flight)', flex: '0 0 5px' } }),
    ),
    h(
      'div.keyline',
      inOrder
        .slice(0, 12)
        .map((one) =>
          h(
            'span',
            swatch(color(one.process)),
            one.process,
            ' ',
            money(one.balance_total),
            h('span.dim', counted(one.accounts, 'account')),
          ),
        ),
      inOrder.length > 12 && h('span.dim', `and ${inOrder.length - 12} more processes`),
      h(
        'span',
        swatch('var(--flight)'),
        'in flight ',
        money(totals.in_flight),
        h('span.dim', counted(messages, 'message')),
      ),
    ),
  );
}

function verdict({ totals, verification }) {
  const difference =
    BigInt(totals.deposits) - BigInt(totals.withdrawals) - BigInt(totals.balances) - BigInt(totals.in_flight);
  const checks = verification.checks ?? [];
  const hold = checks.filter((check) => check.holds).length;
  const isGood = verification.conserved === true && difference === 0n;
  return h(
    'div.verdict',
    status(isGood ? 'complete' : 'broken', { word: `Difference ${moneyText(difference)}` }),
    checks.length > 0 && h('div.dim', `${hold} of ${checks.length} checks hold`),
  );
}

function newestFirst(list) {
  const columns = [
    {
      title: 'Snapshot',
      cell: (one) => [
        h('a.strong', { href: path`#/snapshots/${one.snapshot_id}` }, one.snapshot_id),
        one.pinned && pin(),
      ],
    },
    { title: 'Status', cell: (one) => status(one.status) },
    { title: ['Started, ', zoneName()], cell: (one) => time(one.initiated_at, 1) },
    { title: 'Took', right: true, wide: true, cell: (one) => ms(one.duration_ms) },
    { title: 'Processes', right: true, wide: true, cell: recorded },
    { title: 'In flight', right: true, cell: inFlight },
  ];
  return card(
    'Newest first',
    { name: 'newest', right: link('#/snapshots', 'All snapshots') },
    table(columns, list.slice(0, LISTED)),
  );
}

/** The sign of a pinned snapshot. */
export const pin = () =>
  h(
    'span.pin',
    { title: 'pinned: retention keeps it', css: { color: 'var(--accent)', 'margin-left': '6px' } },
    '◆',
    h('span.vh', 'pinned'),
  );

/** How many processes have recorded, and who is missing. */
export function recorded(entry) {
  const { processes, missing = [] } = entry;
  if (processes === null || processes === undefined) return '–';
  const first = missing[0];
  const who = first && [
    h(
      'span.dim',
      ` · ${first.process} ${first.reason.replaceAll('_', ' ')}`,
      missing.length > 1 && ` and ${missing.length - 1} more`,
    ),
  ];
  return h(
    'span',
    { title: missing.map((one) => `${one.process} ${one.reason}`).join(', ') },
    `${entry.recorded ?? 0} of ${processes}`,
    who,
  );
}

/** The money in flight. A partial snapshot knows some channels only. */
export function inFlight({ status: state, totals }) {
  if (state === 'in_progress' || !totals) return '–';
  if (state === 'partial')
    return h('span.dim', { title: `${moneyText(totals.in_flight)} in the channels that are known` }, 'partly known');
  return h('span', { class: BigInt(totals.in_flight) ? 'flight' : null }, money(totals.in_flight));
}

function drawCluster(state, cluster, rates) {
  fill(state.places.banner, banner(cluster));
  fill(state.places.side, channels(cluster), processes(cluster, rates));
}
