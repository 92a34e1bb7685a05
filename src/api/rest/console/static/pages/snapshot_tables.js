// The tables of a snapshot: what was in the channels, the processes at the cut, all balances, the revisions.

import { contradictions, crossing, isCut, recordedIn } from '../diagram/model.js';
import * as shell from '../frame/shell.js';
import { get, path, save } from '../node/api.js';
import { collate, processes } from '../node/node.js';
import { LongTable, PAGE, table } from '../parts/table.js';
import { button, card, fill, h, idLink, link, spoken } from '../values/dom.js';
import { count, counted, money } from '../values/money.js';
import { color, mark, status, swatch } from '../values/status.js';
import { micros, ms, offset, time, zoneName } from '../values/time.js';

/** Typing within this time is one question. */
const SETTLES_MS = 250;
const told = (problem) => shell.note(problem.message);

/** The recorded messages: the text of what the diagram draws. */
export function inTheChannels(page, model) {
  const { snapshot, id } = page;
  const messages = model ? crossing(model) : [];
  const right = button(
    'JSON',
    () => save(path`v1/snapshots/${id}/channels`, { revision: page.revision }, `${id}-channels.json`).catch(told),
    { class: 'link' },
  );
  const options = { name: 'channels', sub: messages.length > 0 && howMany(model, messages), right };
  if (!messages.length) return card('In the channels', options, nothing(snapshot, model));
  const columns = [
    { title: 'Channel', cell: ({ from, to }) => `${from} → ${to}` },
    { title: 'Number', right: true, cell: ({ sequence }) => count(sequence) },
    {
      title: 'Sent',
      right: true,
      wide: true,
      cell: ({ sent }) => (sent === null ? h('span.dim', 'not known') : offset(sent)),
    },
    {
      title: 'Delivered',
      right: true,
      wide: true,
      cell: ({ delivered }) => (delivered === null ? h('span.dim', 'not known') : offset(delivered)),
    },
    {
      title: 'Amount',
      right: true,
      cell: (one) =>
        one.amount === undefined || one.amount === null
          ? h('span.dim', one.kind)
          : h('span', { title: one.transfer_id }, money(one.amount)),
    },
  ];
  const wrong = contradictions(model, snapshot.channels);
  return card(
    'In the channels',
    options,
    wrong.length > 0 &&
      h(
        'div.banner.broken',
        { role: 'alert' },
        mark('broken', 17),
        h('div', h('b', 'The picture and the recorded channels differ. '), wrong.slice(0, 5).join('; ')),
      ),
    paged(columns, messages, 'The messages that cross the cut'),
  );
}

// The JSON has them all.
const howMany = (model, messages) =>
  isCut(model)
    ? `the first ${count(messages.length)} of ${count(recordedIn(model))}`
    : counted(messages.length, 'message');

// A list that is already here, drawn in parts.
function paged(columns, rows, caption) {
  if (rows.length <= 12) return table(columns, rows, { caption });
  return new LongTable(columns, async () => ({ rows, next: null }), { caption, height: '390px', rowHeight: 33 })
    .element;
}

function nothing(snapshot, model) {
  const { channels } = snapshot;
  const isNone = !channels.length && !(snapshot.unfinished_channels ?? snapshot.open_channels ?? []).length;
  const known = channels.length;
  const messages = channels.reduce((all, one) => all + one.messages, 0);
  if (!model && messages)
    return table(
      [
        { title: 'Channel', cell: ({ from, to }) => `${from} → ${to}` },
        { title: 'Messages', right: true, cell: (one) => count(one.messages) },
        { title: 'Amount', right: true, cell: ({ amount }) => money(amount) },
      ],
      channels.filter((one) => one.messages),
    );
  return h(
    'div.empty.small',
    h('b', known ? 'All known channels were empty' : isNone ? 'There are no channels' : 'No channel is known'),
    known
      ? `Nothing was on its way on ${known === 1 ? 'the one channel' : `the ${count(known)} channels`} that ${known === 1 ? 'was' : 'were'} recorded.`
      : isNone
        ? 'A cluster of one process has none, so nothing can be on its way.'
        : 'None was recorded to its end.',
  );
}

/** The processes at the cut. */
export function atTheCut(snapshot) {
  const { totals, missing } = snapshot;
  const first = Math.min(...snapshot.processes.map(({ recorded_at }) => micros(recorded_at)));
  const absent = missing.map((one) => ({ process: one.process, absent: one.reason }));
  const rows = [...snapshot.processes, ...absent].sort((one, other) => collate(one.process, other.process));
  const columns = [
    {
      title: 'Process',
      cell: ({ process, absent: why }) => h('span.with-sw', swatch(why ? 'var(--line-2)' : color(process)), process),
    },
    {
      title: 'Recorded',
      right: true,
      cell: (one) =>
        one.absent
          ? status(one.absent === 'down' ? 'down' : 'unknown', { word: one.absent.replaceAll('_', ' ') })
          : h('span', { title: one.recorded_at }, offset(micros(one.recorded_at) - first)),
    },
    { title: 'Turn', right: true, wide: true, cell: (one) => (one.absent ? '–' : count(one.journal_position)) },
    {
      title: 'Balance',
      right: true,
      cell: (one) => (one.absent ? h('span.dim', 'not known') : money(one.balance_total)),
    },
  ];
  const foot = [
    ['In accounts', `Without ${missing[0]?.process}`][absent.length] ?? 'The others',
    '',
    '',
    money(totals.balances),
  ];
  return card(
    'Processes at the cut',
    { name: 'cut' },
    table(columns, rows, { foot, caption: 'The processes at the cut' }),
  );
}

const fields = () => ({
  process: h(
    'select',
    { id: 'of-process' },
    h('option', { value: '' }, 'all'),
    processes().map((one) => h('option', { value: one }, one)),
  ),
  prefix: h('input', { id: 'of-prefix', placeholder: 'beginning of the id', spellcheck: 'false' }),
});

/** Every balance, in pages, with a proof of each. A `search` for an account brings its own fields, `{process, prefix}`. */
export function balances(page, { search } = {}) {
  const { id, revision, signal } = page;
  const { process, prefix } = search ?? fields();
  const place = h('div');
  const columns = [
    { title: 'Process', cell: (one) => h('span.with-sw', swatch(color(one.process)), one.process) },
    { title: 'Account', cell: ({ process: of, account }) => idLink(path`#/accounts/${of}/${account}`, account) },
    { title: 'Balance', right: true, cell: ({ balance }) => money(balance) },
    {
      title: spoken('Proof'),
      right: true,
      wide: true,
      cell: (one) =>
        button(
          'proof',
          () =>
            save(
              path`v1/snapshots/${id}/balances/${one.process}/${one.account}/proof`,
              { revision },
              `${id}-${one.process}-${one.account}.proof.json`,
            ).catch(told),
          {
            class: 'link',
            'aria-label': `Proof of ${one.account} on ${one.process}`,
            title:
              'Proves this balance against the root without the other balances: snapledger snapshot verify --proof FILE',
          },
        ),
    },
  ];
  const query = () => ({ process: process.value, prefix: prefix.value, revision });
  const list = new LongTable(
    columns,
    async (cursor, stop) => {
      const answer = await get(path`v1/snapshots/${id}/balances`, { ...query(), limit: PAGE, cursor }, stop);
      return { rows: answer.balances, next: answer.next_cursor };
    },
    { signal, caption: 'Balances at the cut', height: '420px', empty: 'No account fits.' },
  );
  process.addEventListener('change', () => list.reset());
  // While it is typed, with one question at its end.
  let typing = null;
  prefix.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => !signal.aborted && list.reset(), SETTLES_MS);
  });
  fill(place, list.element);
  const csv = button(
    'All as CSV',
    () => save(path`v1/snapshots/${id}/balances`, query(), `${id}-balances.csv`, 'text/csv').catch(told),
    { class: 'link' },
  );
  return card(
    search ? 'Accounts' : 'Balances',
    {
      name: 'balances',
      sub: search
        ? ['at ', link(path`#/snapshots/${id}`, id), ', the newest complete snapshot']
        : 'what every account held at the cut',
      right: csv,
    },
    !search &&
      h(
        'div.filters',
        h('label', { for: 'of-process' }, 'Process', process),
        h('label', { for: 'of-prefix' }, 'Account', prefix),
      ),
    place,
  );
}

/** The published revisions, or null when there is one only. */
export async function revisions(page) {
  const answer = await get(path`v1/snapshots/${page.id}/revisions`, {}, page.signal);
  if (answer.revisions.length < 2) return null;
  const columns = [
    {
      title: 'Revision',
      cell: ({ revision }) => h('a.strong', { href: `${path`#/snapshots/${page.id}`}?revision=${revision}` }, revision),
    },
    { title: 'Status', cell: (one) => status(one.status) },
    { title: ['Published, ', zoneName()], cell: ({ finished_at }) => time(finished_at, 3) },
    { title: 'After', right: true, cell: ({ duration_ms }) => ms(duration_ms) },
    {
      title: 'Missing',
      cell: ({ missing }) =>
        missing.map(({ process, reason }) => `${process} ${reason.replaceAll('_', ' ')}`).join(', ') || '–',
    },
    { title: 'In accounts', right: true, cell: ({ totals }) => money(totals.balances) },
    { title: 'Root', wide: true, cell: ({ root }) => h('span.mono', { title: root }, root.slice(0, 12)) },
  ];
  return card(
    'Revisions',
    { name: 'revisions', sub: 'what was published, newest first; a revision never changes' },
    table(columns, answer.revisions),
  );
}
