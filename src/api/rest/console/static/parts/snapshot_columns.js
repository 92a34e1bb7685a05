// What tables of snapshots have in common: the columns of an entry of the list.

import { path } from '../node/api.js';
import { h } from '../values/dom.js';
import { money, moneyText } from '../values/money.js';
import { status } from '../values/status.js';
import { ms, time, zoneName } from '../values/time.js';

/** The id, with the sign of a pin. */
export const snapshotId = {
  title: 'Snapshot',
  cell: (one) => [
    h('a.strong.id', { href: path`#/snapshots/${one.snapshot_id}`, title: one.snapshot_id }, one.snapshot_id),
    one.pinned && pin(),
  ],
};

/** Complete, partial or in progress. */
export const state = { title: 'Status', cell: (one) => status(one.status) };

/** When it was started. */
export const started = () => ({ title: ['Started, ', zoneName()], cell: ({ initiated_at }) => time(initiated_at, 1) });

/** How long it took. */
export const took = { title: 'Took', right: true, wide: true, cell: ({ duration_ms }) => ms(duration_ms) };

/** How many processes have recorded, and who is missing. */
export const recorded = { title: 'Processes', right: true, wide: true, cell: whoRecorded };

/** The money in flight. A partial snapshot knows some channels only. */
export const inFlight = { title: 'In flight', right: true, cell: moneyInFlight };

const pin = () =>
  h(
    'span.pin',
    { title: 'pinned: retention keeps it', css: { color: 'var(--accent)', 'margin-left': '6px' } },
    '◆',
    h('span.vh', 'pinned'),
  );

function whoRecorded(entry) {
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

function moneyInFlight({ status: is, totals }) {
  if (is === 'in_progress' || !totals) return '–';
  if (is === 'partial')
    return h('span.dim', { title: `${moneyText(totals.in_flight)} in the channels that are known` }, 'partly known');
  return h('span', { class: BigInt(totals.in_flight) ? 'flight' : null }, money(totals.in_flight));
}
