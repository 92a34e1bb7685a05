// What the node cannot answer yet, put together from what it can. Each part goes when its route is there.

import { get } from './api.js';

/** The routes that are there. */
export const HAS = { scope: false, events: false };

/** The cluster as this node sees it, in the shape of `?scope=all`. */
export async function cluster(signal) {
  const own = await get('v1/cluster', {}, signal);
  const unknown = {
    version: null,
    boot: null,
    journal_position: null,
    records: null,
    accounts: null,
    store: null,
    ready: null,
    warnings: [],
    since: null,
  };
  const peers = own.peers.map((peer) => ({ ...unknown, error: null, ...peer }));
  const self = {
    ...unknown,
    process: own.process,
    state: 'up',
    last_seen: null,
    grpc: location.host,
    rest: null,
    transport: 'native',
    journal_position: own.journal_position,
    records: own.journal_position,
    clock_skew_seconds: own.clock_skew_seconds,
    warnings: own.warnings,
    error: null,
  };
  const channels = own.channels.map((one) => ({
    acknowledged: null,
    delivered: null,
    error: null,
    ...one,
    waiting: one.in_flight,
    waiting_amount: null,
    oldest_at: null,
  }));
  return {
    cluster: own.cluster,
    asked: own.process,
    asked_at: new Date().toISOString(),
    currency: null,
    processes: [self, ...peers],
    channels,
  };
}

/** The events that can be told from the list of snapshots. */
export async function poll(tell, signal) {
  const known = new Map();
  for (let isFirst = true; !signal.aborted; isFirst = false) {
    const { snapshots } = await get('v1/snapshots', { limit: 50 }, signal);
    for (const one of snapshots.reverse()) {
      const now = `${one.status}${one.revision}${one.pinned}`;
      if (!isFirst && known.get(one.snapshot_id) !== now)
        tell(one.status === 'in_progress' ? 'snapshot_begun' : 'snapshot_published', one);
      known.set(one.snapshot_id, now);
    }
    tell('heard');
    await new Promise((done) => setTimeout(done, 3000));
  }
}
