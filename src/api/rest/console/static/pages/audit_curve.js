// The sums of the whole cluster over time, audited at regular instants. A question about the past: it changes nothing, and no
// process waits for it.

import { get } from '../node/api.js';
import { amounts, curve } from '../parts/chart.js';
import { fill, h } from '../values/dom.js';
import { count, counted, money, moneyText } from '../values/money.js';
import { instant, micros, ms, seconds, time, zoneName } from '../values/time.js';

/** Audits of one curve; each asks every process. */
const POINTS = 120;

/** The audits of a time, `{from, to}` or `{from}` until now. What retention has deleted is left out: `since` says until when. */
export async function auditsOf(query, length, signal, points = POINTS) {
  const step = `${Math.max(1, Math.ceil(length / 1000 / points))}ms`;
  try {
    return { ...(await get('v1/audit/series', { ...query, step }, signal)), since: null };
  } catch (problem) {
    const { since } = problem;
    if (problem.type !== 'before-horizon' || !since || (query.to && since >= query.to)) throw problem;
    // The first instant that is kept is later by the time that this question takes.
    return { ...(await get('v1/audit/series', { ...query, from: since, step }, signal)), since };
  }
}

/** A point's figure. The sums of a partial point lack a process, so they are not known. */
export const knownOf = (name) => (point) => (point.status === 'complete' ? point[name] : null);

// Where an audit lacks a process, the snapshots of that time still have their figures.
function withSnapshots(points, snapshots) {
  const isUnknown = ({ status }) => status !== 'complete';
  const [first, last] = [points.find(isUnknown), points.findLast(isUnknown)];
  if (!first) return points;
  const stored = snapshots
    .filter((one) => one.status === 'complete' && one.initiated_at > first.at && one.initiated_at < last.at)
    .map(({ initiated_at: at, totals, status }) => ({ ...totals, at, status, missing: [] }));
  return [...points, ...stored].sort((one, other) => micros(one.at) - micros(other.at));
}

/** Draws `answer` into a place: what was in flight and in accounts, with the stored snapshots as marks below. */
export function drawAudits(place, answer, { within, snapshots, at, onPick, onZoom, signal }) {
  const points = withSnapshots(answer.points, snapshots);
  if (!points.some(({ status }) => status === 'complete'))
    return fill(
      place,
      h(
        'div.empty.small',
        h('b', 'Nothing is known of this time'),
        points.length ? whoIsMissing(points) : 'No instant in it is final yet. Ask again, or choose another time.',
      ),
    );
  const most = points
    .filter(({ status }) => status === 'complete')
    .map(({ in_flight: some }) => some)
    .reduce(larger);
  const known = (name) => amounts(points.map(knownOf(name)));
  fill(
    place,
    curve({
      label: `Money in flight, at most ${moneyText(most)}, and in accounts over this time. The figures of an instant stand below.`,
      times: points.map((point) => micros(point.at) / 1e6),
      within: within.map((edge) => edge / 1e6),
      series: [
        { label: 'In flight', ...known('in_flight'), color: 'flight', fill: true },
        { label: 'In accounts', ...known('balances'), color: 'accent', scale: 'held' },
      ],
      ticks: snapshots.map(({ initiated_at, status }) => ({
        at: micros(initiated_at) / 1e6,
        color: status === 'complete' ? 'complete' : 'partial',
      })),
      at: at / 1e6,
      onPick: (one) => onPick(instant(Math.round(one * 1e6))),
      onZoom: (from, to) => onZoom(from * 1e6, to * 1e6),
      signal,
    }),
    h('p.note', 'At most ', money(most), ' in flight at these instants. ', notes(answer, snapshots)),
  );
}

const larger = (one, other) => (BigInt(other) > BigInt(one) ? other : one);

function notes({ points, not_final: later, truncated, since, step_ms: step }, snapshots) {
  const partial = points.filter(({ status }) => status !== 'complete');
  return [
    `Audited every ${step < 1000 ? ms(step) : seconds(step / 1000)}. `,
    snapshots.length > 0 && 'Marks below are stored snapshots. ',
    'A click asks for that instant, dragging zooms in. ',
    partial.length > 0 && `At ${count(partial.length)} of ${count(points.length)} instants ${whoIsMissing(partial)} `,
    later > 0 && `${counted(later, 'instant')} ${later === 1 ? 'is' : 'are'} not final yet. `,
    truncated && 'The node ended early; choose a shorter time to see the rest. ',
    since && ['Nothing is kept from before ', time(since, 3, 'full'), ' ', zoneName(), '.'],
  ];
}

function whoIsMissing(points) {
  const missing = [...new Set(points.flatMap((point) => point.missing))];
  const named = missing.slice(0, 4).join(', ');
  return `the state of ${named}${missing.length > 4 ? ` and ${missing.length - 4} more` : ''} is not known.`;
}
