// The balance of an account over a time: each change while they are few, and stretches with their lowest and highest balance beyond.

import { get } from '../node/api.js';
import { amounts, curve } from '../parts/chart.js';
import { fill, h } from '../values/dom.js';
import { count, counted, money, moneyText } from '../values/money.js';
import { micros, time, zoneName } from '../values/time.js';

/** The most changes that are drawn one by one. */
const CHANGES = 1000;
/** Stretches of a longer curve: one for some pixels each. */
const STRETCHES = 240;

/** Reads the balance over a time, `{from, to}` or `{from}` until now: every change, or stretches if there are too many. */
export async function balanceOf(base, query, signal) {
  const changes = await get(`${base}/history`, { ...query, limit: CHANGES }, signal);
  const isFew = changes.entries.length > 0 && !changes.next_cursor;
  return isFew
    ? { changes: changes.entries.toReversed() }
    : get(`${base}/series`, { ...query, points: changes.next_cursor ? STRETCHES : 1 }, signal);
}

/** Draws it into a place. `within` are the ends of the time in microseconds. */
export function drawBalance(place, answer, { account, within, onZoom, signal }) {
  const drawing = answer.buckets ? ofStretches(answer) : ofChanges(answer.changes, within);
  if (!drawing.times.length)
    return fill(
      place,
      h(
        'div.empty.small',
        h('b', 'Nothing is known of this time'),
        'The account was not open, or the time is before the retention horizon. Choose another time.',
      ),
    );
  const { low, high } = drawing;
  fill(
    place,
    curve({
      label: `Balance of ${account}, between ${moneyText(low)} and ${moneyText(high)}. The statement below has each change.`,
      times: drawing.times.map((at) => at / 1e6),
      within: within.map((edge) => edge / 1e6),
      series: drawing.series,
      bands: drawing.bands,
      gap: 'not open, or not known',
      onZoom: (from, to) => onZoom(from * 1e6, to * 1e6),
      signal,
    }),
    h(
      'p.note',
      `${counted(drawing.changes, 'change')} · lowest `,
      money(low),
      ' · highest ',
      money(high),
      drawing.note,
    ),
  );
}

const least = (values) => values.reduce((one, other) => (BigInt(other) < BigInt(one) ? other : one));
const most = (values) => values.reduce((one, other) => (BigInt(other) > BigInt(one) ? other : one));
const MANY = 'with the lowest and the highest balance of each. Zoom in, or drag, for every change.';
const line = (exact) => ({ label: 'Balance', ...amounts(exact), color: 'accent', stepped: true });

// The balance holds from one change to the next, before the first one as its amount tells, and to the end of the time.
function ofChanges(changes, [from, to]) {
  const held = changes.map(({ balance_after }) => balance_after);
  const times = changes.map(({ time: at }) => micros(at));
  const { op, amount } = changes[0];
  const isGain = op === 'deposit' || op === 'transfer_in';
  const before = BigInt(held[0]) - (isGain ? BigInt(amount) : -BigInt(amount));
  // An account begins with its first credit; whether it existed at zero before is not known.
  const isKnown = before !== 0n;
  const values = [...(isKnown ? [before] : []), ...held, held.at(-1)];
  return {
    times: [...(isKnown ? [Math.min(from, times[0])] : []), ...times, Math.max(to, times.at(-1))],
    series: [{ ...line(values), fill: true }],
    changes: changes.length,
    low: least(values),
    high: most(values),
    note: '. Dragging zooms in.',
  };
}

function ofStretches({ buckets, complete, to }) {
  const known = buckets.filter(({ min }) => min !== null);
  if (!known.length) return { times: [] };
  const end = buckets.at(-1);
  const column = (name, last) => [...buckets.map((one) => one[name]), last];
  const isCut = end.to < to;
  return {
    times: [...buckets.map(({ from }) => micros(from)), micros(end.to)],
    series: [
      line(column('first', end.last)),
      { ...line(column('min', end.last)), label: 'Lowest', width: 0.6 },
      { ...line(column('max', end.last)), label: 'Highest', width: 0.6 },
    ],
    bands: [{ series: [3, 2], color: 'accent' }],
    changes: buckets.reduce((all, { changes }) => all + changes, 0),
    low: least(known.map(({ min }) => min)),
    high: most(known.map(({ max }) => max)),
    note: [
      buckets.length > 1 && `, in ${count(buckets.length)} stretches ${MANY}`,
      isCut && [
        ' More changes than the node reads for a curve: it ends at ',
        time(end.to, 3, 'full'),
        ' ',
        zoneName(),
        '.',
      ],
      !isCut && !complete && ' Of the time before nothing is known: changes were deleted, or there were none.',
    ],
  };
}
