// What the node cannot answer yet, put together from what it can. Each part goes when its route is there.

import { get, path } from './api.js';

/** The routes that are there. */
export const HAS = { diagram: false, scope: false, events: false, series: false };

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

/** The cut without times of messages, as for a journal that is not kept. */
export async function diagram(id, revision, signal) {
  const snapshot = await get(path`v1/snapshots/${id}`, { revision }, signal);
  const { channels } = await get(path`v1/snapshots/${id}/channels`, { revision }, signal);
  const times = snapshot.processes.map(({ recorded_at }) => recorded_at).sort();
  const missing = snapshot.missing.map(({ process }) => ({
    process,
    recorded_at: null,
    position: null,
    journal: 'unreachable',
    journal_from: null,
  }));
  return {
    snapshot_id: snapshot.snapshot_id,
    revision: snapshot.revision,
    status: snapshot.status,
    from: new Date(Date.parse(times[0]) - 20).toISOString(),
    to: new Date(Date.parse(times.at(-1)) + 20).toISOString(),
    processes: [
      ...snapshot.processes.map(({ process, recorded_at, journal_position }) => ({
        process,
        recorded_at,
        position: journal_position,
        journal: 'whole',
        journal_from: null,
      })),
      ...missing,
    ],
    channels: snapshot.channels.map((one) => ({ ...one, closed_at: null, closed_position: null })),
    messages: channels.flatMap(({ from, to, messages }) =>
      messages.map((one) => ({
        ...one,
        from,
        to,
        kind: one.message_type,
        sent_at: null,
        sent_position: null,
        delivered_at: null,
        delivered_position: null,
        crosses: true,
      })),
    ),
    truncated: false,
    messages_total: 0,
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

/** The figures at the snapshots of a time, in the shape of `/v1/audit/series`. */
export async function auditSeries(within, signal) {
  const { snapshots } = await get('v1/snapshots', { ...within, status: 'complete', limit: 500 }, signal);
  return {
    points: snapshots.reverse().map(({ initiated_at, totals }) => ({ at: initiated_at, ...totals })),
    truncated: false,
  };
}

/** The newest operations of a time, in the shape of a series of an account. */
export async function accountSeries(base, { from, to }, signal) {
  const { entries } = await get(`${base}/history`, { from, to, limit: 1000 }, signal);
  const bucket = ({ time, balance_after: at }) => ({
    from: time,
    to: time,
    first: at,
    min: at,
    max: at,
    last: at,
    changes: 1,
  });
  return { buckets: entries.reverse().map(bucket), complete: entries.length < 1000 };
}
