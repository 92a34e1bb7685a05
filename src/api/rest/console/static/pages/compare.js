// Two states beside each other: the sums that explain the difference of each process, then the accounts that differ.

import * as shell from '../frame/shell.js';
import { get, path, save } from '../node/api.js';
import { collate } from '../node/node.js';
import { sign, term } from '../parts/equation.js';
import { LongTable, PAGE } from '../parts/table.js';
import { button, card, fill, h, idLink, link } from '../values/dom.js';
import { change, counted, money } from '../values/money.js';
import { color, mark, status, swatch } from '../values/status.js';
import { time, zoneName } from '../values/time.js';

/** Shows `#/compare`, `?from=ID&to=ID`, or `?from=ID&at=INSTANT`. */
export async function show({ query, signal, room }) {
  const [from, to, at] = ['from', 'to', 'at'].map((name) => query.get(name) ?? '');
  shell.nameWindow('Compare');
  shell.top('Compare');
  const { snapshots } = await get('v1/snapshots', { limit: 200 }, signal);
  const known = snapshots.filter(({ status: state }) => state !== 'in_progress').map(({ snapshot_id }) => snapshot_id);
  const answer = h('div.stack');
  fill(room, form({ from, to, at }, known), answer);
  if (from && (to || at)) difference({ from, to, at }, answer, signal);
}

function form({ from, to, at }, known) {
  const first = h('input', {
    id: 'from',
    list: 'known',
    value: from || known[1] || known[0] || '',
    required: true,
    spellcheck: 'false',
  });
  const second = h('input', { id: 'to', list: 'known', value: at ? '' : to || known[0] || '', spellcheck: 'false' });
  const moment = h('input', {
    id: 'at',
    value: at,
    placeholder: 'now, -5m, 2026-01-31T12:00:00Z',
    size: 28,
    spellcheck: 'false',
  });
  const asked = h(
    'form.filters',
    h(
      'datalist',
      { id: 'known' },
      known.map((id) => h('option', { value: id })),
    ),
    h('label', { for: 'from' }, 'Snapshot', first),
    h('label', { for: 'to' }, 'with snapshot', second),
    h('label', { for: 'at' }, 'or with the instant', moment),
    h('button.btn.primary', { type: 'submit' }, 'Compare'),
  );
  asked.addEventListener('submit', (event) => {
    event.preventDefault();
    const what = moment.value.trim()
      ? { from: first.value, at: moment.value.trim() }
      : { from: first.value, to: second.value };
    location.hash = `#/compare?${new URLSearchParams(what)}`;
  });
  moment.addEventListener('input', () => (second.disabled = moment.value.trim() !== ''));
  return card('Compare', { name: 'what', sub: 'the older one first; otherwise the signs are inverted' }, asked);
}

// The instant of the first page holds for those that follow, so that all pages are of one state.
function difference({ from, to, at }, place, signal) {
  let until = at;
  const address = () => (to ? path`v1/snapshots/${from}/diff/${to}` : path`v1/snapshots/${from}/diff`);
  const columns = [
    { title: 'Process', cell: ({ process }) => h('span.with-sw', swatch(color(process)), process) },
    { title: 'Account', cell: ({ process, account }) => idLink(path`#/accounts/${process}/${account}`, account) },
    {
      title: 'Before',
      right: true,
      wide: true,
      cell: ({ before }) => (before === null ? h('span.dim', 'not open') : money(before)),
    },
    {
      title: 'After',
      right: true,
      wide: true,
      cell: ({ after }) => (after === null ? h('span.dim', 'not open') : money(after)),
    },
    { title: 'Change', right: true, cell: ({ before, after }) => change(BigInt(after ?? 0) - BigInt(before ?? 0)) },
  ];
  const sums = h('div');
  const list = new LongTable(
    columns,
    async (cursor, stop) => {
      const answer = await get(address(), { at: to ? null : until, limit: PAGE, cursor }, stop);
      until = answer.to_at ?? until;
      if (cursor === undefined) fill(sums, explained(answer));
      return { rows: answer.accounts, next: answer.next_cursor };
    },
    {
      signal,
      caption: 'Accounts that differ',
      height: '520px',
      empty: 'No account differs.',
      onError: ({ title, message }) =>
        fill(place, h('section.card', h('div.empty', { role: 'alert' }, h('b', title), message))),
    },
  );
  const csv = button(
    'All as CSV',
    () =>
      save(address(), { at: to ? null : until }, `${from}-${to || 'instant'}.csv`, 'text/csv').catch(({ message }) =>
        shell.note(message),
      ),
    { class: 'link' },
  );
  fill(place, sums, card('Accounts that differ', { name: 'accounts', right: csv }, list.element));
}

function explained(answer) {
  const rows = [...answer.totals].sort((one, other) => collate(one.process, other.process));
  const until = answer.to
    ? link(path`#/snapshots/${answer.to}`, answer.to)
    : [time(answer.to_at, 6, 'full'), ' ', zoneName()];
  const absent = answer.missing ?? [];
  return card(
    'Why they differ',
    {
      name: 'why',
      sub: [link(path`#/snapshots/${answer.from}`, answer.from), ' → ', until, ` · ${counted(rows.length, 'process')}`],
    },
    absent.length > 0 &&
      h(
        'div.banner',
        mark('partial', 17),
        h(
          'ul',
          absent.map(({ process, reason }) =>
            h('li', h('b', process), ` cannot be compared: ${reason.replaceAll('_', ' ')}.`),
          ),
        ),
      ),
    rows.length > 1 && !absent.length && sum(whole(rows)),
    rows.map(sum),
  );
}

// The sums of all. What was sent and not received was in flight: more of it at the end, or less.
function whole(rows) {
  const of = (name) => rows.reduce((all, one) => all + BigInt(one[name] ?? 0), 0n);
  const names = ['before', 'deposits', 'withdrawals', 'transfers_in', 'transfers_out', 'written_off', 'after'];
  const isExplained = rows.every(({ explained: is }) => is);
  return {
    ...Object.fromEntries(names.map((name) => [name, of(name)])),
    process: null,
    explained: isExplained,
    unexplained: isExplained ? null : 'not all are explained',
  };
}

// before + paid in − paid out + received − sent = after
function sum(one) {
  const written = BigInt(one.written_off ?? 0);
  return h(
    'div.sums',
    one.process === null ? h('span.who', 'Cluster') : h('span.who.with-sw', swatch(color(one.process)), one.process),
    term('Before', one.before),
    sign('+'),
    term('Paid in', one.deposits),
    sign('−'),
    term('Paid out', one.withdrawals),
    sign('+'),
    term('Received', one.transfers_in),
    sign('−'),
    term('Sent', one.transfers_out),
    written !== 0n && [sign('−'), term('Written off', written)],
    sign('='),
    term('After', one.after),
    one.explained
      ? status('complete', { word: 'explained' })
      : h('span', { title: one.unexplained }, status('partial', { word: one.unexplained ?? 'not explained' })),
    one.process === null &&
      h(
        'span.dim',
        'in flight ',
        h('span.flight', change(one.transfers_out - one.transfers_in)),
        ', sent less received',
      ),
    one.began_anew && h('span.dim', 'its store or a channel began anew in between'),
  );
}
