// The node that answers: who it is, which processes there are, and what the caller may do.

import { setCurrency } from '../values/money.js';
import { nameProcesses } from '../values/status.js';
import { get, useToken } from './api.js';

/** What is known of the node. `caller` is null where the node asks nobody for a name. */
export const node = {
  cluster: null,
  process: null,
  processes: [],
  caller: null,
  follows: false,
  signOut: () => {
    useToken(null);
    location.reload();
  },
};

// The roles of `docs/security.md`, by what a call needs.
const ROLES = {
  known: ['teller', 'auditor', 'operator', 'process'],
  read: ['teller', 'auditor', 'operator'],
  audit: ['auditor', 'operator'],
  operate: ['operator'],
};

/** Whether the caller may make calls of this need. What it may not is not shown. */
export const may = (need) => node.caller === null || ROLES[need].includes(node.caller.role);

/** Asks the node who it is. */
export async function meet() {
  const cluster = await get('v1/cluster');
  setCurrency(cluster.currency);
  node.cluster = cluster.cluster;
  node.process = cluster.process;
  node.caller = cluster.caller ?? null;
  const peers = cluster.peers.map(({ process, rest, state }) => ({ process, rest, state }));
  node.processes = [{ process: cluster.process, rest: null, state: 'up' }, ...peers].sort((one, other) =>
    collate(one.process, other.process),
  );
  nameProcesses(node.processes.map(({ process }) => process));
}

/** The order of processes: n2 comes before n10. */
export const collate = new Intl.Collator('en', { numeric: true }).compare;

/** The ids of all processes, in their order. */
export const processes = () => node.processes.map(({ process }) => process);
