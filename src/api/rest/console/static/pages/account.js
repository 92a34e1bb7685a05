// An account: its balance over time, its statement with the snapshots in between, and proofs.

import { bind } from '../frame/keys.js';
import * as shell from '../frame/shell.js';
import { get, path, save } from '../node/api.js';
import { may, node, processes } from '../node/node.js';
import { curve, ranges } from '../parts/chart.js';
import { LongTable, PAGE } from '../parts/table.js';
import { button, card, figure, fill, h, link, spoken } from '../values/dom.js';
import { count, counted, drawn, money, moneyText } from '../values/money.js';
import { color, swatch } from '../values/status.js';
import { instant, micros, time, zoneName } from '../values/time.js';

/** The most changes that a curve shows. */
const CHANGES = 1000;
const OPS = { deposit: 'Paid in', withdrawal: 'Paid out', transfer_in: 'From', transfer_out: 'To' };

/** Shows `#/accounts`, where one is chosen, or `#/accounts/PROCESS/ACCOUNT`. */
export async function show({ ids, query, signal, room }) {
  if (!ids.length) return choose(room, signal);
  const [process, account] = ids;
  shell.nameWindow(`${account} on ${process}`);
  shell.top([h('a.crumb', { href: '#/accounts' }, 'Accounts  /  '), account]);
  const base = path`v1/processes/${process}/accounts/${account}`;
  const now = await get(base, {}, signal);
  const page = { process, account, base, now, signal, range: Number(query.get('range')) || 3600 };
  const shape = h('div');
  fill(room, figures(page), shape, statement(page));
  await drawCurve(page, shape);
}

function choose(room, signal) {
  shell.nameWindow('Accounts');
  shell.top('Accounts');
  const process = h(
    'select',
    { id: 'process' },
    processes().map((one) => h('option', { value: one, selected: one === node.process }, one)),
  );
  const account = h('input', { id: 'account', required: true, spellcheck: 'false', autocomplete: 'off' });
  const form = h(
    'form.filters',
    h('label', { for: 'process' }, 'Process', process),
    h('label', { for: 'account' }, 'Account', account),
    h('button.btn.primary', { type: 'submit' }, 'Show'),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    location.hash = path`#/accounts/${process.value}/${account.value}`;
  });
  bind('/', 'To the account', () => account.focus(), signal);
  fill(
    room,
    card(
      'Which account',
      { name: 'which', sub: 'the same id on two processes is two accounts' },
      form,
      h(
        'p.note',
        'The balances of a snapshot list all accounts: ',
        may('audit') ? link('#/snapshots/latest', 'those of the newest one') : 'ask an auditor',
        '.',
      ),
    ),
  );
  account.focus();
}

const figures = ({ process, now }) =>
  h(
    'div.stats',
    figure('Balance', money(now.balance), ['at ', time(now.at, 3), ' ', zoneName()]),
    figure('Process', h('span.with-sw', swatch(color(process)), process), 'the same id elsewhere is another account'),
    figure('Turn', count(now.journal_position), 'of its journal, in this answer'),
  );

async function drawCurve(page, place) {
  const { base, signal, range } = page;
  const until = micros(page.now.at);
  const again = (size) => {
    page.range = size;
    history.replaceState(null, '', `${path`#/accounts/${page.process}/${page.account}`}?range=${size}`);
    drawCurve(page, place);
  };
  const framed = (sub, ...shown) =>
    fill(place, card('Balance over time', { name: 'curve', sub, right: ranges(range, again) }, ...shown));
  try {
    const within = { from: instant(until - range * 1e6), to: instant(until) };
    const { entries, next_cursor: isCut } = await get(`${base}/history`, { ...within, limit: CHANGES }, signal);
    const changes = entries.toReversed();
    if (!changes.length)
      return framed(
        null,
        h(
          'div.empty.small',
          h('b', 'No change in this time'),
          'Choose a longer time. What was before the retention horizon is not kept.',
        ),
      );
    const held = changes.map(({ balance_after }) => balance_after);
    const [low, high] = [held.reduce(smaller), held.reduce(larger)];
    framed(
      [
        `${counted(changes.length, 'change')} · lowest `,
        money(low),
        ' · highest ',
        money(high),
        isCut && ' · the newest of this time; choose a shorter one',
      ],
      curve({
        label: `Balance of ${page.account}, between ${moneyText(low)} and ${moneyText(high)}. The statement below has each change.`,
        times: changes.map(({ time: at }) => micros(at) / 1e6),
        within: [until / 1e6 - range, until / 1e6],
        series: [{ label: 'Balance', values: held.map(drawn), color: 'accent', fill: true, stepped: true }],
        value: (v) => v.toLocaleString('en'),
        signal,
      }),
    );
  } catch (problem) {
    if (!signal.aborted) framed(null, h('div.empty.small', h('b', problem.title), problem.message));
  }
}

const smaller = (one, other) => (BigInt(other) < BigInt(one) ? other : one);
const larger = (one, other) => (BigInt(other) > BigInt(one) ? other : one);

// Operations and the snapshots between them, newest first, as one list.
function statement(page) {
  const { base, process, account, signal } = page;
  const columns = [
    { title: ['Time, ', zoneName()], cell: (row) => time(row.time, 3) },
    {
      title: 'What',
      cell: (row) =>
        row.snapshot_id
          ? ['In snapshot ', link(path`#/snapshots/${row.snapshot_id}`, row.snapshot_id)]
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
  const list = new LongTable(
    columns,
    async (cursor, stop) => {
      const answer = await get(`${base}/history`, { limit: PAGE, cursor }, stop);
      if (!answer.next_cursor && answer.kept_since)
        fill(
          note,
          'Everything is known since ',
          time(answer.kept_since, 3, 'full'),
          ' ',
          zoneName(),
          '. Older entries may have been deleted.',
        );
      return { rows: merged(answer), next: answer.next_cursor };
    },
    { signal, caption: 'Statement, newest first', height: '520px', empty: 'No operation is known.' },
  );
  const csv = button(
    'All as CSV',
    () =>
      save(`${base}/history`, {}, `${process}-${account}.csv`, 'text/csv').catch(({ message }) => shell.note(message)),
    { class: 'link' },
  );
  return card('Statement', { name: 'statement', sub: 'newest first', right: csv }, list.element, note);
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
    link(path`#/accounts/${of ?? process}/${counterparty}`, counterparty),
    of && of !== process ? h('span.dim', ` on ${of}`) : null,
  ];
}

const prove = ({ snapshot_id }, { process, account }) =>
  save(
    path`v1/snapshots/${snapshot_id}/balances/${process}/${account}/proof`,
    {},
    `${snapshot_id}-${process}-${account}.proof.json`,
  ).catch(({ message }) => shell.note(message));
