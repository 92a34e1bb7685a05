// The money in flight of the last minutes, as a small curve. The past is audited once, when the page is opened; then each complete
// snapshot adds its figure. Nothing is audited in a loop.

import * as live from '../node/live.js';
import { amounts, curve } from '../parts/chart.js';
import { card, fill, h, link } from '../values/dom.js';
import { micros } from '../values/time.js';
import { auditsOf, knownOf } from './audit_curve.js';

const MINUTES = 10;
const SHOWN_S = MINUTES * 60;
const POINTS = 60;
const SHORTEST_S = 5;
/** What snapshots may add before the oldest figures go. */
const KEPT = 600;

const isComplete = ({ status, initiated_at: at }) => status === 'complete' && Boolean(at);
const pointOf = ({ snapshot_id: id, initiated_at, totals }) => ({
  id,
  at: micros(initiated_at) / 1e6,
  value: totals.in_flight,
});
const byTime = (one, other) => one.at - other.at;

/** The card. `snapshots` are those of the list, which have figures of their own. */
export class Flight {
  constructor(snapshots, signal) {
    this.signal = signal;
    this.points = snapshots.filter(isComplete).map(pointOf);
    this.place = h('div');
    this.element = card(
      'Money in flight',
      { name: 'flight', sub: `last ${MINUTES} min`, right: link('#/audit', 'Audit') },
      this.place,
    );
    live.on('snapshot_published', (entry) => this.add(entry), signal);
    this.read();
  }

  async read() {
    try {
      const answer = await auditsOf({ from: `-${SHOWN_S}s` }, SHOWN_S * 1e6, this.signal, POINTS);
      const value = knownOf('in_flight');
      const audited = answer.points.map((point) => ({ at: micros(point.at) / 1e6, value: value(point) }));
      this.points = [...audited, ...this.points].sort(byTime);
    } catch (problem) {
      if (this.signal.aborted) return;
      // Snapshots add their figures in any case.
      if (problem.status === undefined) console.error(problem);
    }
    this.draw();
  }

  add(entry) {
    if (!isComplete(entry)) return;
    const others = this.points.filter(({ id }) => id !== entry.snapshot_id);
    this.points = [...others, pointOf(entry)].sort(byTime).slice(-KEPT);
    this.draw();
  }

  draw() {
    const { points } = this;
    const end = points.at(-1)?.at;
    const recent = points.filter(({ at }) => at >= end - SHOWN_S);
    const first = recent.findIndex(({ value }) => value !== null);
    // A cluster that is younger begins with its first figure.
    const shown = recent.slice(Math.max(0, first));
    if (first < 0) return fill(this.place, h('p.note', 'Not known yet: a complete snapshot or an audit tells it.'));
    fill(
      this.place,
      curve({
        label: `Money in flight over ${MINUTES} minutes. The figures at each snapshot stand in the list of snapshots.`,
        times: shown.map(({ at }) => at),
        within: [Math.min(shown[0].at, end - SHORTEST_S), end],
        series: [{ label: 'In flight', ...amounts(shown.map(({ value }) => value)), color: 'flight', fill: true }],
        height: 132,
        isSmall: true,
        signal: this.signal,
      }),
    );
  }
}
