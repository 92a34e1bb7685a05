// The state of all processes, asked for again and again while the page is seen, and how fast their journals grow.

import { get } from './api.js';
import * as live from './live.js';

/** Every process answers in parallel within its deadline, so this is one question per process each time. */
const EVERY_MS = 3000;
const SETTLES_MS = 300;
const KEPT = 20;

/** Calls `draw(cluster, rates)` after each answer, until the signal is aborted. `rates` has records per second by process. */
export class Watch {
  constructor(signal, draw) {
    Object.assign(this, { signal, draw });
    this.rates = new Map();
    this.before = new Map();
    const turned = () => !document.hidden && this.ask();
    document.addEventListener('visibilitychange', turned, { signal });
    for (const event of ['peer', 'channel']) live.on(event, () => this.soon(), signal);
    this.ask();
  }

  // What changes at once is one question. Warnings can change with every look at a clock; the next look shows them.
  soon() {
    clearTimeout(this.timer);
    if (!this.signal.aborted) this.timer = setTimeout(() => this.ask(), SETTLES_MS);
  }

  async ask() {
    clearTimeout(this.timer);
    if (this.signal.aborted || document.hidden || this.isAsking) return;
    this.isAsking = true;
    try {
      const cluster = await get('v1/cluster', { scope: 'all' }, this.signal);
      this.count(cluster);
      if (!this.signal.aborted) this.draw(cluster, this.rates);
    } catch (error) {
      // The older figures stay; the frame says how old they are.
      if (error.status === undefined && !this.signal.aborted) console.error(error);
    }
    this.isAsking = false;
    if (!this.signal.aborted) this.timer = setTimeout(() => this.ask(), EVERY_MS);
  }

  // A journal position grows by one with each turn; `records` counts what the turns hold and begins at zero with the program.
  count({ asked_at, processes }) {
    const at = Date.parse(asked_at);
    for (const { process, records } of processes) {
      const before = this.before.get(process);
      this.before.set(process, { at, records });
      if (!this.rates.has(process)) this.rates.set(process, []);
      const rates = this.rates.get(process);
      if (records === null || before === undefined || before.records === null) {
        if (records === null && rates.length) rates.push(0);
      } else if (at > before.at) {
        rates.push(Math.max(0, ((records - before.records) * 1000) / (at - before.at)));
      }
      if (rates.length > KEPT) rates.shift();
    }
  }
}
