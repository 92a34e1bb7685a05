// One snapshot: how its cut was taken, what it holds, and why that is so.

import { modelOf, width } from '../diagram/model.js';
import { Diagram } from '../diagram/view.js';
import { bind } from '../frame/keys.js';
import * as shell from '../frame/shell.js';
import { change, get, path, save } from '../node/api.js';
import * as live from '../node/live.js';
import { may, processes } from '../node/node.js';
import { certificate } from '../parts/certificate.js';
import { add, button, card, figure, fill, h, link } from '../values/dom.js';
import { bytes, count, counted, money, sum } from '../values/money.js';
import { mark, status } from '../values/status.js';
import { micros, ms, offset, seconds, time, zoneName } from '../values/time.js';
import { Steps } from './snapshot_steps.js';
import { atTheCut, balances, inTheChannels, revisions } from './snapshot_tables.js';

const AROUND = '20ms';
const MESSAGES = 2000;
const proves = () => [
  'Computed anew from the stored parts for each answer. To check it elsewhere: Export, then ',
  h('code', 'snapledger snapshot verify FILE'),
  '.',
];
/** The most that began within the time in which the next one is looked for. */
const NEIGHBOURS = 1000;
/** How soon the events of a snapshot in progress are asked for again after they ended early. */
const AGAIN_MS = 1000;

/** Shows the page of `#/snapshots/ID`, or of one of its revisions with `?revision=N`. */
export async function show({ ids: [id], query, signal, room }) {
  const revision = query.get('revision');
  shell.nameWindow(id);
  shell.top([h('a.crumb', { href: '#/snapshots' }, 'Snapshots  /  '), id]);
  const page = { id, revision, signal, room };
  await read(page);
  const again = (entry) => entry.snapshot_id === page.id && !revision && reread(page);
  live.on('snapshot_published', again, signal);
  live.on('snapshot_pinned', (entry) => entry.snapshot_id === page.id && setPin(page, entry.pinned), signal);
  live.on(
    'snapshot_deleted',
    ({ snapshot_id }) =>
      snapshot_id === page.id && shell.note('Retention has deleted this snapshot. What is shown was read before.'),
    signal,
  );
  neighbours(page);
}

// `latest` is another snapshot tomorrow; the address names the one that is shown.
function settle(page) {
  const { snapshot_id } = page.snapshot;
  if (page.id === snapshot_id || page.id !== 'latest') return;
  page.id = snapshot_id;
  history.replaceState(null, '', path`#/snapshots/${snapshot_id}`);
  shell.nameWindow(snapshot_id);
}

// What is published while it is read is read again, and nothing is read twice at once.
async function reread(page) {
  page.isStale = true;
  if (page.isReading) return;
  page.isReading = true;
  while (page.isStale && !page.signal.aborted) {
    page.isStale = false;
    // What was read before stays; the frame says how old it is.
    await read(page).catch(() => {});
  }
  page.isReading = false;
}

async function read(page) {
  const { id, revision, signal } = page;
  page.snapshot = await get(path`v1/snapshots/${id}`, { revision }, signal);
  settle(page);
  head(page);
  const isNew = page.pinned === undefined;
  if (isNew) readPin(page);
  if (page.snapshot.status === 'in_progress') return inProgress(page);
  body(page);
}

async function readPin(page) {
  page.pinned = null;
  const answer = await get(path`v1/snapshots/${page.id}/pin`, {}, page.signal).catch(() => null);
  if (answer) setPin(page, answer.pinned);
}

const diagramOf = ({ id, revision, signal }, around) =>
  get(path`v1/snapshots/${id}/diagram`, { before: around, after: around, limit: MESSAGES, revision }, signal);

function head(page) {
  const { snapshot, pinned, id } = page;
  const actions = [
    h('a.btn', { href: `#/compare?from=${encodeURIComponent(id)}` }, 'Compare…'),
    snapshot.status !== 'in_progress' &&
      button(
        'Export',
        () => save(path`v1/snapshots/${id}/export`, {}, `${id}.snapledger`).catch(({ message }) => shell.note(message)),
        { title: 'One file with all balances, which anyone can verify' },
      ),
    typeof pinned === 'boolean' &&
      may('operate') &&
      button(pinned ? 'Pinned' : 'Pin', () => pin(page), {
        'aria-pressed': String(pinned),
        title: 'A pinned snapshot is not deleted by retention',
      }),
  ];
  const move = (label, target, key, what) =>
    target &&
    h('a.btn.icon', { href: path`#/snapshots/${target}`, 'aria-label': what, title: `${what} (${key})` }, label);
  shell.top([h('a.crumb', { href: '#/snapshots' }, 'Snapshots  /  '), id], {
    state: status(snapshot.status, { chip: true }),
    actions: [move('‹', page.older, 'k', 'Older'), move('›', page.newer, 'j', 'Newer'), ...actions],
  });
}

function setPin(page, pinned) {
  page.pinned = pinned;
  head(page);
}

async function pin(page) {
  try {
    const answer = await change(page.pinned ? 'DELETE' : 'PUT', path`v1/snapshots/${page.id}/pin`);
    setPin(page, answer.pinned);
  } catch (problem) {
    shell.note(problem.message);
  }
}

// The list is newest first and is cut by time: what begins before this one, and what begins after it within a growing time.
async function neighbours(page) {
  const { snapshot, signal } = page;
  const at = snapshot.initiated_at;
  try {
    const before = await get('v1/snapshots', { to: at, limit: 1 }, signal);
    page.older = before.snapshots[0]?.snapshot_id;
    page.newer = await newer(at, snapshot.snapshot_id, signal);
  } catch {
    return;
  }
  head(page);
  const go = (target) => () => target && (location.hash = path`#/snapshots/${target}`);
  bind('k', 'Older snapshot', go(page.older), signal);
  bind('j', 'Newer snapshot', go(page.newer), signal);
}

const WITHIN_S = [60, 600, 3600, 86_400, 30 * 86_400];

async function newer(at, id, signal) {
  for (const within of WITHIN_S) {
    const to = new Date(Date.parse(at) + within * 1000);
    const { snapshots } = await get('v1/snapshots', { from: at, to: to.toISOString(), limit: NEIGHBOURS }, signal);
    const later = snapshots.filter(({ snapshot_id }) => snapshot_id !== id);
    if (later.length) return later.at(-1).snapshot_id;
    if (to > Date.now()) return null;
  }
  return null;
}

// The steps as they are taken, until the snapshot is published. A stream that ends early is continued.
function inProgress(page) {
  const { snapshot, room, signal } = page;
  if (page.steps) return;
  page.steps = new Steps(page, processes());
  fill(room, toldOf(snapshot), page.steps.element);
  const follow = async () => {
    if (signal.aborted) return;
    await page.steps.read().catch(() => {});
    await reread(page);
    if (page.snapshot.status !== 'in_progress' || signal.aborted) return;
    setTimeout(follow, AGAIN_MS);
  };
  follow();
}

// All of one answer at once; the picture follows, since the journals have to be read for it.
function body(page) {
  const { snapshot, room } = page;
  const drawn = h('div.stack');
  const [numbers, messages] = [h('div'), h('div')];
  const more = h('div.stack');
  const fillIn = (model) => {
    fill(numbers, figures(snapshot, model));
    fill(messages, inTheChannels(page, model));
  };
  fillIn(null);
  fill(drawn, pictureCard(h('div.empty.small', { 'aria-busy': 'true' }, 'Reading the journals…')));
  fill(
    room,
    toldOf(snapshot),
    missing(snapshot),
    numbers,
    drawn,
    h('div.three', messages, atTheCut(snapshot), certificate(snapshot, { note: proves() })),
    more,
  );
  picture(page, drawn, fillIn);
  const steps = page.revision ? null : stepsOf(page);
  fill(more, steps?.element, balances(page));
  revisions(page).then(
    (shown) => add(more, shown),
    () => {},
  );
}

const pictureCard = (...children) => card('How the cut was taken', { name: 'diagram' }, children);

async function picture(page, place, fillIn) {
  const { snapshot, signal } = page;
  try {
    const answer = await diagramOf(page, AROUND);
    if (page.snapshot !== snapshot) return;
    fillIn(modelOf(answer));
    const diagram = new Diagram(answer, {
      name: page.id,
      around: AROUND,
      isPartial: snapshot.status === 'partial',
      reread: (around) => diagramOf(page, around),
      signal,
    });
    fill(place, diagram.element);
  } catch (problem) {
    if (signal.aborted) return;
    if (problem.status === undefined) console.error(problem);
    fill(place, pictureCard(h('div.empty.small', h('b', 'The picture cannot be drawn'), problem.message)));
  }
}

function stepsOf(page) {
  const ids = [...page.snapshot.processes, ...page.snapshot.missing].map(({ process }) => process);
  const steps = new Steps(page, [...new Set(ids)]);
  steps.read().catch((problem) => !page.signal.aborted && steps.fail(problem));
  return steps;
}

const STARTED_BY = { request: ' on request', interval: ' on schedule' };

function toldOf(snapshot) {
  const { initiator, initiated_at, started_by: by, deadline, status: state, revision, duration_ms, root } = snapshot;
  const copy = button(
    'copy',
    () =>
      navigator.clipboard.writeText(root).then(
        () => shell.note('The root is in the clipboard.'),
        () => shell.note(root),
      ),
    { class: 'link' },
  );
  return h(
    'p.told-of.num',
    'Started by ',
    h('b.strong', initiator),
    by && STARTED_BY[by],
    ', ',
    time(initiated_at, 6, 'full'),
    ' ',
    zoneName(),
    state === 'in_progress' && deadline && [' · partial at ', time(deadline, 1), ' at the latest'],
    revision ? ` · revision ${revision} after ${ms(duration_ms)}` : null,
    root && [' · root ', h('span.mono', { title: root }, `${root.slice(0, 12)}…`), ' ', copy],
  );
}

const REASONS = {
  down: 'down',
  never_seen: 'never seen',
  recording: 'up, and has not finished recording',
  channel_stopped: 'up, and its channels are stopped',
};

// Who is missing, why, and where its money was last.
function missing(snapshot) {
  if (!snapshot.missing.length) return null;
  const unfinished = (snapshot.unfinished_channels ?? snapshot.open_channels ?? []).length;
  const sentence = (one) => [
    h('b', `${one.process} is missing: ${REASONS[one.reason] ?? one.reason}`),
    one.last_seen && [
      ', last heard at ',
      time(one.last_seen, 3),
      ' ',
      zoneName(),
      ago(one.last_seen, snapshot.initiated_at),
    ],
    one.error && ` (${one.error})`,
    '. Its accounts are in no total here. ',
    one.last_complete_snapshot && [
      'Its newest known state is in ',
      link(path`#/snapshots/${one.last_complete_snapshot}`, one.last_complete_snapshot),
      '. ',
    ],
  ];
  return h(
    'div.banner',
    { role: 'status' },
    mark('partial', 17),
    h(
      'ul',
      snapshot.missing.slice(0, 8).map((one) => h('li', sentence(one))),
      snapshot.missing.length > 8 && h('li', `and ${snapshot.missing.length - 8} more`),
      h(
        'li',
        unfinished > 0 && `${unfinished} of ${channelCount(snapshot)} channels were not recorded. `,
        'A new revision completes this snapshot when what is missing is back.',
      ),
    ),
  );
}

function ago(seen, begun) {
  const before = (micros(begun) - micros(seen)) / 1e6;
  return before > 0 ? `, ${before < 1 ? ms(before * 1000) : seconds(before)} before the start` : '';
}

const channelCount = ({ channels, unfinished_channels, open_channels }) =>
  channels.length + (unfinished_channels ?? open_channels ?? []).length;

function figures(snapshot, model) {
  const { totals, processes, channels, status: state } = snapshot;
  const isPartial = state === 'partial';
  const without =
    isPartial && snapshot.missing.length
      ? `without ${snapshot.missing
          .map(({ process }) => process)
          .slice(0, 3)
          .join(', ')}`
      : null;
  const messages = channels.reduce((all, one) => all + one.messages, 0);
  const used = channels.filter((one) => one.messages).length;
  const span = model && width(model);
  const accounts = processes.reduce((all, one) => all + one.accounts, 0);
  return h(
    'div.stats',
    figure('In accounts', money(totals.balances), without ?? counted(accounts, 'account')),
    isPartial && channels.length < channelCount(snapshot)
      ? figure(
          'In flight',
          h('span.dim', 'partly known'),
          `only ${count(channels.length)} of ${count(channelCount(snapshot))} channels are known`,
        )
      : figure(
          'In flight',
          h('span.flight', money(totals.in_flight)),
          `${counted(messages, 'message')} in ${count(used)} of ${counted(channelCount(snapshot), 'channel')}`,
        ),
    figure(
      'Paid in less paid out',
      money(BigInt(totals.deposits) - BigInt(totals.withdrawals)),
      isPartial ? `${without ?? 'partly known'}: not to be compared` : '= in accounts + in flight',
    ),
    figure(
      'Width of the cut',
      span === null ? h('span.dim', 'not known') : offset(span).replace('+', ''),
      'first to last recording',
    ),
    figure(
      'Written',
      bytes(sum(processes.map(({ new_bytes }) => new_bytes ?? 0))),
      `the states have ${bytes(sum(processes.map(({ state_bytes }) => state_bytes ?? 0)))}`,
    ),
  );
}
