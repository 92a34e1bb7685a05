// An account: its balance over time, its statement with the snapshots in between, and proofs.

import { bind } from '../frame/keys.js';
import * as shell from '../frame/shell.js';
import { get, path, save } from '../node/api.js';
import { may, node, processes } from '../node/node.js';
import { LongTable, PAGE } from '../parts/table.js';
import { RANGES, Timespan } from '../parts/timespan.js';
import { button, card, figure, fill, h, idLink, link, spoken } from '../values/dom.js';
import { count, money } from '../values/money.js';
import { color, swatch } from '../values/status.js';
import { instantOf, micros, time, zoneName } from '../values/time.js';
import { balanceOf, drawBalance } from './account_curve.js';
import { balances } from './snapshot_tables.js';

const OPS = { deposit: 'Paid in', withdrawal: 'Paid out', transfer_in: 'From', transfer_out: 'To' };

/** Shows `#/accounts`, where one is chosen, or `#/accounts/PROCESS/ACCOUNT`. */
export async function show({ ids, query, signal, room }) {
  if (!ids.length) return choose(room, signal);
  const [process, account] = ids;
  shell.nameWindow(`${account} on ${process}`);
  shell.top([h('a.crumb', { href: '#/accounts' }, 'Accounts  /  '), account]);
  const base = path`v1/processes/${process}/accounts/${account}`;
  let now;
  try {
    now = await get(base, {}, signal);
  } catch (problem) {
    return without(problem, { process, account, base, signal, room });
  }
  const page = { process, account, base, now, signal, curve: h('div', h('div.curve')) };
  const range = RANGES.map(([, size]) => size).find((size) => size === Number(query.get('range'))) ?? 3600;
  page.span = new Timespan({ range, until: Date.now() * 1000, signal, onChange: () => drawCurve(page) });
  fill(
    room,
    figures(page),
    atInstant(page),
    card('Balance over time', { name: 'curve', right: page.span.controls }, page.curve),
    statement(page),
  );
  bind('+', 'A shorter time', () => page.span.zoom(2), signal);
  bind('-', 'A longer time', () => page.span.zoom(0.5), signal);
  bind('[', 'Earlier', () => page.span.pan(-0.5), signal);
  bind(']', 'Later', () => page.span.pan(0.5), signal);
  await drawCurve(page);
}

function choose(room, signal) {
  shell.nameWindow('Accounts');
  shell.top('Accounts');
  const process = h(
    'select',
    { id: 'process' },
    may('audit') && h('option', { value: '' }, 'all'),
    processes().map((one) => h('option', { value: one, selected: !may('audit') && one === node.process }, one)),
  );
  const account = h('input', {
    id: 'account',
    required: true,
    spellcheck: 'false',
    autocomplete: 'off',
    placeholder: may('audit') ? 'the id, or its beginning' : 'the id',
  });
  const form = h(
    'form.filters',
    h('label', { for: 'process' }, 'Process', process),
    h('label', { for: 'account' }, 'Account', account),
    h('button.btn.primary', { type: 'submit' }, 'Show'),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    location.hash = path`#/accounts/${process.value || node.process}/${account.value}`;
  });
  bind('/', 'To the account', () => account.focus(), signal);
  const found = h('div');
  fill(
    room,
    card(
      'Find an account',
      {
        name: 'which',
        sub: `the same id on two processes is two accounts; Enter opens it on ${node.process} unless a process is chosen`,
      },
      form,
    ),
    found,
  );
  account.focus();
  if (may('audit')) listed(found, { process, prefix: account }, signal);
  else fill(found, h('p.note', 'The balances of a snapshot list all accounts: ask an auditor.'));
}

// Those of the newest complete snapshot. An account that was opened since is not among them.
async function listed(place, search, signal) {
  const newest = await newestComplete(signal).catch(() => null);
  if (newest) fill(place, balances({ id: newest, revision: null, signal }, { search }));
  else if (!signal.aborted)
    fill(
      place,
      h(
        'p.note',
        'Accounts are listed here once there is a complete snapshot. An account opens with its first credit.',
      ),
    );
}

async function newestComplete(signal) {
  const { snapshots } = await get('v1/snapshots', { status: 'complete', limit: 1 }, signal);
  return snapshots[0]?.snapshot_id ?? null;
}

// The process does not answer, or has no such account: what else is known of it.
async function without(problem, { process, account, base, signal, room }) {
  if (problem.status === 401 || signal.aborted) throw problem;
  const others = processes().filter((one) => one !== process);
  const held = may('audit') && problem.status !== 404 ? await balanceBefore(base, signal) : null;
  if (signal.aborted) return;
  const isUnknown = problem.status === 404;
  fill(
    room,
    h(
      'section.card',
      h(
        'div.empty',
        { role: 'alert' },
        h(
          'b',
          isUnknown ? `There is no account ${account} on ${process}` : `${process} does not answer for its accounts`,
        ),
        isUnknown
          ? 'Every process has its own accounts; one opens with its first credit.'
          : 'It is down, or its answer takes too long. It keeps the statement and the curve of its accounts itself.',
        held && [
          h(
            'p',
            'At the newest complete snapshot, ',
            link(path`#/snapshots/${held.snapshot}`, held.snapshot),
            ', it held ',
          ),
          h('p.large', held.existed ? money(held.balance) : 'nothing: it was not open'),
        ],
        h('p', link('#/accounts', 'All accounts')),
        isUnknown &&
          others.length > 0 &&
          h(
            'p',
            'The same id on ',
            others.slice(0, 8).map((one, i) => [i > 0 && ', ', link(path`#/accounts/${one}/${account}`, one)]),
          ),
      ),
    ),
  );
}

async function balanceBefore(base, signal) {
  try {
    const newest = await newestComplete(signal);
    return newest && (await get(`${base}/balance`, { snapshot: newest }, signal));
  } catch {
    return null;
  }
}

// What it held at an instant that the reader gives.
function atInstant({ base, signal }) {
  const typed = h('input', {
    id: 'held-at',
    placeholder: '-5m or 2026-01-31 12:00',
    spellcheck: 'false',
    size: 24,
    required: true,
  });
  const said = h('p.held', { role: 'status' });
  const form = h(
    'form.filters',
    h('label', { for: 'held-at' }, 'At', typed),
    h('button.btn', { type: 'submit' }, 'Show'),
    said,
  );
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      const {
        balance,
        existed,
        at,
        complete,
        known_until: until,
      } = await get(`${base}/balance`, { at: instantOf(typed.value) }, signal);
      fill(
        said,
        existed ? money(balance) : 'not open',
        h('span.dim', ' at ', time(at, 6, 'full'), ' ', zoneName()),
        complete === false && until && [' · as of ', time(until, 3, 'full'), ': the process does not answer'],
        may('audit') && [' · ', link(`#/audit?at=${encodeURIComponent(at)}`, 'the whole cluster then')],
      );
    } catch (problem) {
      if (!signal.aborted) fill(said, problem.message);
    }
  });
  return card('Balance at an instant', { name: 'held', sub: 'any that is kept' }, form);
}

const figures = ({ process, now }) =>
  h(
    'div.stats',
    figure('Balance', money(now.balance), ['at ', time(now.at, 3), ' ', zoneName()]),
    figure('Process', h('span.with-sw', swatch(color(process)), process), 'the same id elsewhere is another account'),
    figure('Turn', count(now.journal_position), 'of its journal, in this answer'),
  );

// A later choice ends the questions of an earlier one.
async function drawCurve(page) {
  const { span, base, account, process } = page;
  page.asking?.abort();
  page.asking = new AbortController();
  const signal = AbortSignal.any([page.signal, page.asking.signal]);
  if (span.isUntilNow) history.replaceState(null, '', `${path`#/accounts/${process}/${account}`}?range=${span.range}`);
  page.curve.setAttribute('aria-busy', 'true');
  try {
    const answer = await balanceOf(base, span.query(), signal);
    if (span.isUntilNow && answer.to) span.settle([micros(answer.from), micros(answer.to)]);
    drawBalance(page.curve, answer, {
      account,
      within: [span.from, span.to],
      onZoom: (from, to) => span.look(from, to),
      signal: page.signal,
    });
  } catch (problem) {
    if (signal.aborted) return;
    fill(page.curve, h('div.empty.small', { role: 'alert' }, h('b', problem.title), problem.message));
  }
  page.curve.removeAttribute('aria-busy');
}

// Operations and the snapshots between them, newest first, as one list.
function statement(page) {
  const { base, process, account, signal } = page;
  const columns = [
    { title: ['Time, ', zoneName()], cell: (row) => time(row.time, 3) },
    {
      title: 'What',
      cell: (row) =>
        row.snapshot_id
          ? ['In snapshot ', idLink(path`#/snapshots/${row.snapshot_id}`, row.snapshot_id)]
          : what(row, process),
    },
    {
      title: 'Amount',
      right: true,
      cell: (row) =>
        row.snapshot_id ? '' : [row.op === 'deposit' || row.op === 'transfer_in' ? '+' : '−', money(row.amount)],
    },
    { title: 'Balance', right: true, cell: (row) => money(row.snapshot_id ? row.balance : row.balance_after) },
    { title: 'Turn', right: true, wide: true, cell: (row) => count(row.journal_position) },
    {
      title: spoken('Proof'),
      right: true,
      wide: true,
      cell: (row) =>
        row.snapshot_id &&
        may('audit') &&
        button('proof', () => prove(row, page), { class: 'link', 'aria-label': `Proof in ${row.snapshot_id}` }),
    },
  ];
  const note = h('p.note');
  const edge = (id, label) => {
    const input = h('input', { id, placeholder: '-1h or 2026-01-31 12:00', spellcheck: 'false', size: 24 });
    input.addEventListener('change', () => list.reset());
    return [input, h('label', { for: id }, label, input)];
  };
  const [[from, fromField], [to, toField]] = [edge('since', 'From'), edge('until', 'Until')];
  const edgeOf = ({ value }) => (value.trim() ? instantOf(value) : null);
  const within = () => ({ from: edgeOf(from), to: edgeOf(to) });
  const list = new LongTable(
    columns,
    async (cursor, stop) => {
      const answer = await get(`${base}/history`, { ...within(), limit: PAGE, cursor }, stop);
      if (!answer.next_cursor && answer.kept_since)
        fill(
          note,
          'Everything is known since ',
          time(answer.kept_since, 3, 'full'),
          ' ',
          zoneName(),
          '. From before, entries may have been deleted, or there were none.',
        );
      return { rows: merged(answer), next: answer.next_cursor };
    },
    { signal, caption: 'Statement, newest first', height: '520px', empty: 'No operation is known.' },
  );
  const csv = button(
    'All as CSV',
    () =>
      save(`${base}/history`, within(), `${process}-${account}.csv`, 'text/csv').catch(({ message }) =>
        shell.note(message),
      ),
    { class: 'link' },
  );
  return card(
    'Statement',
    { name: 'statement', sub: 'newest first', right: csv },
    h('div.filters', fromField, toField),
    list.element,
    note,
  );
}

// A snapshot holds the account as it was after the turn of its position.
const merged = ({ entries, snapshots }) =>
  [...entries, ...snapshots].sort(
    (one, other) =>
      other.journal_position - one.journal_position || Boolean(other.snapshot_id) - Boolean(one.snapshot_id),
  );

function what({ op, counterparty, counterparty_process: of }, process) {
  if (!counterparty) return OPS[op] ?? op;
  return [
    `${OPS[op]} `,
    idLink(path`#/accounts/${of ?? process}/${counterparty}`, counterparty),
    of && of !== process ? h('span.dim', ` on ${of}`) : null,
  ];
}

const prove = ({ snapshot_id }, { process, account }) =>
  save(
    path`v1/snapshots/${snapshot_id}/balances/${process}/${account}/proof`,
    {},
    `${snapshot_id}-${process}-${account}.proof.json`,
  ).catch(({ message }) => shell.note(message));
