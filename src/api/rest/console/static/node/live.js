// The one stream of events of the node, for all that a page shows.

import { events } from './events.js';

const RETRY_MS = [500, 1000, 2000, 5000, 10_000];
/** A page that is hidden this long gives up its place at the node; it continues where it was when it is shown again. */
const HIDDEN_MS = 20_000;
/** The node says `status` each second. Silence of this length is a lost connection. */
const SILENT_MS = 6000;

const listeners = new Map();
let reading = null;
let lastId = null;
let heardAt = null;
let failures = 0;
let hidden = null;
let state = 'off';

/** Calls with the data of each event of a type until the signal is aborted. `state` is `live`, `lost` or `off`. */
export function on(type, listener, signal) {
  if (!listeners.has(type)) listeners.set(type, new Set());
  listeners.get(type).add(listener);
  signal?.addEventListener('abort', () => listeners.get(type).delete(listener));
}

/** When the node was last heard: milliseconds since 1970, or null. */
export const lastHeard = () => heardAt;

/** Whether figures are followed now. */
export const isLive = () => state === 'live';

function tell(type, data) {
  for (const listener of listeners.get(type) ?? []) listener(data);
}

function become(next) {
  if (state === next) return;
  state = next;
  tell('state', state);
}

/** Begins, and begins again whenever the stream ends. Ends for good where the role may not read it. */
export function begin() {
  document.addEventListener('visibilitychange', turned);
  turned();
}

/** Forgets the stream, for another caller. */
export function end() {
  document.removeEventListener('visibilitychange', turned);
  reading?.abort();
  reading = null;
  lastId = null;
  become('off');
}

function turned() {
  clearTimeout(hidden);
  if (document.hidden) hidden = setTimeout(() => reading?.abort(), HIDDEN_MS);
  else if (!reading) follow();
}

async function follow() {
  const abort = new AbortController();
  reading = abort;
  let silence = null;
  const heard = () => {
    heardAt = Date.now();
    failures = 0;
    become('live');
    clearTimeout(silence);
    silence = setTimeout(() => abort.abort(), SILENT_MS);
  };
  let refused = false;
  try {
    const stream = events('v1/events', { signal: abort.signal, after: lastId, heard });
    for await (const { id, type, data } of stream) {
      lastId = id ?? lastId;
      tell(type, data);
    }
  } catch (error) {
    refused = error.status === 401 || error.status === 403;
  }
  clearTimeout(silence);
  if (reading !== abort) return;
  reading = null;
  become(refused ? 'off' : 'lost');
  if (refused || document.hidden) return;
  const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
  failures += 1;
  setTimeout(() => {
    if (!reading && !document.hidden) follow();
  }, wait);
}
