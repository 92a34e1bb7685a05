// Overview: where the money is, the newest snapshots, and what is wrong now.

import * as shell from '../frame/shell.js';
import { get, path } from '../node/api.js';
import * as live from '../node/live.js';
import { collate, may } from '../node/node.js';
import { Watch } from '../node/watch.js';
import { sign, term } from '../parts/equation.js';
import { banner, channels, processes } from '../parts/health.js';
import { withEntry } from '../parts/snapshot_list.js';
import { inFlight, recorded, snapshotId, started, state, took } from '../parts/snapshot_columns.js';
import { strip } from '../parts/strip.js';
import { table } from '../parts/table.js';
import { card, fill, h, link, soon } from '../values/dom.js';
import { counted, money, moneyText, unit } from '../values/money.js';
import { color, mark, status, swatch } from '../values/status.js';
import { age, time, zoneName } from '../values/time.js';
import { Flight } from './flight.js';
import { takeButton, takes } from './take.js';

const SHOWN = 26;
const LISTED = 8;

/** Shows the page. */
export async function show({ signal, room }) {
  shell.nameWindow('Overview');
  shell.top('Overview', { actions: takes(signal) });
  const [list, newest] = await Promise.all([get('v1/snapshots', { limit: SHOWN }, signal), newestComplete(signal)]);
  const places = { banner: h('div'), money: h('div'), strip: h('div'), list: h('div'), cluster: h('div.stack') };
  const state = {
    list: list.snapshots,
    newest,
    places,
    signal,
    isEmpty: null,
    flight: new Flight(list.snapshots, signal),
  };
  drawAll(state, room);
  state.draw = soon(() => !signal.aborted && drawAll(state, room));
  state.follow = () => follow(state);
  live.on('snapshot_begun', (begun) => changed(state, { ...begun, status: 'in_progress' }), signal);
  live.on('snapshot_published', (entry) => changed(state, entry), signal);
  live.on(
    'snapshot_deleted',
    ({ snapshot_id }) => {
      state.list = state.list.filter((one) => one.snapshot_id !== snapshot_id);
      state.draw();
      state.follow();
    },
    signal,
  );
  live.on('reset', () => reread(state, room), signal);
  new Watch(signal, (cluster, rates) => drawCluster(state, cluster, rates));
}

// By its id, since a complete revision never changes and the browser keeps it. `known` is the one that is shown.
async function newestComplete(signal, known = null) {
  const { snapshots, counts } = await get('v1/snapshots', { status: 'complete', limit: 1 }, signal);
  shell.showCount(total(counts));
  if (!snapshots.length) return null;
  const { snapshot_id: id, revision } = snapshots[0];
  return known?.snapshot_id === id && known.revision === revision ? known : get(path`v1/snapshots/${id}`, {}, signal);
}

const total = (counts) => (counts ? counts.complete + counts.partial + counts.in_progress : null);

async function reread(state, room) {
  const list = await get('v1/snapshots', { limit: SHOWN }, state.signal);
  state.list = list.snapshots;
  shell.showCount(total(list.counts));
  drawAll(state, room);
  follow(state);
}

function changed(state, entry) {
  state.list = withEntry(state.list, entry, state.list.length < SHOWN).slice(0, SHOWN);
  state.draw();
  if (entry.status !== 'in_progress') state.follow();
}

// The entry of the list has no figures per process. Many snapshots in a row cost one question each second.
function follow(state) {
  state.following ??= setTimeout(async () => {
    state.following = null;
    if (state.signal.aborted) return;
    try {
      state.newest = await newestComplete(state.signal, state.newest);
      state.draw();
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
        ? [empty(), places.cluster]
        : [
            places.money,
            h(
              'div.two',
              h('div.stack', places.strip, places.list),
              h('div.stack', places.cluster, state.flight.element),
            ),
          ],
    );
  }
  if (isEmpty) return;
  fill(places.money, newest ? whereTheMoneyIs(newest, list) : noneComplete());
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
      may('operate') && h('div', takeButton()),
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

// What is newer and partial proves nothing about the money since then.
function whereTheMoneyIs(snapshot, list) {
  const later = list.filter((one) => one.status === 'partial' && one.initiated_at > snapshot.initiated_at).length;
  const { totals, processes, channels } = snapshot;
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
        ', ',
        age(snapshot.initiated_at),
        ' · in ',
        unit(),
        later > 0 &&
          h(
            'span.st.partial.since',
            mark('partial', 12),
            `${counted(later, 'newer snapshot')} ${later === 1 ? 'is' : 'are'} partial`,
          ),
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
      term('In flight', totals.in_flight, 'span.dd.flight'),
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

const newestFirst = (list) =>
  card(
    'Newest snapshots',
    { name: 'newest', right: link('#/snapshots', 'All snapshots') },
    table([snapshotId, state, started(), took, recorded, inFlight], list.slice(0, LISTED)),
  );

function drawCluster(state, cluster, rates) {
  fill(state.places.banner, banner(cluster));
  fill(state.places.cluster, channels(cluster), processes(cluster, rates));
}
