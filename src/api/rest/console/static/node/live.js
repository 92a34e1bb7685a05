// The one stream of events of the node. Read with `fetch`, because an `EventSource` cannot send a token.

import { send, url } from './api.js';
import { parse } from './json.js';

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
    const headers = lastId === null ? {} : { 'last-event-id': lastId };
    const answer = await send(url('v1/events'), { accept: 'text/event-stream', headers, signal: abort.signal });
    heard();
    await read(answer.body, heard);
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

// The text of a stream, cut into events at empty lines (HTML, "Server-sent events").
async function read(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) dispatch(block);
  }
}

function dispatch(block) {
  const event = { type: 'message', data: [] };
  for (const line of block.split('\n')) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === 'id') lastId = value;
    else if (field === 'event') event.type = value;
    else if (field === 'data') event.data.push(value);
  }
  if (event.data.length) tell(event.type, parse(event.data.join('\n')));
}
