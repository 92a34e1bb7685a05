// Requests to the node that served the page. Every figure on the page comes through here.

import { parse } from './json.js';

const TOKEN = 'snapledger.token';

/** A refusal: the problem document of the answer, or that there was no answer. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? `status ${status}`);
    this.status = status;
    this.title = body.title ?? 'No answer';
    this.type = (body.type ?? '').split('/').pop();
    this.since = body.since ?? null;
  }
}

const NO_ANSWER = { title: 'No answer', detail: 'The node does not answer. What is shown is what it said last.' };

let token = sessionStorage.getItem(TOKEN);
let asksForToken = () => {};

/** Keeps the token for this tab. Without one, forgets it. */
export function useToken(given) {
  token = given || null;
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

/** Whether a token is in use. */
export const hasToken = () => token !== null;

/** What happens when the node asks for a token. */
export function onUnauthenticated(ask) {
  asksForToken = ask;
}

/** A path with its parameters; those that are null or empty are left out. Relative, so that a proxy may add a prefix. */
export function url(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return path.replace(/^\//, '') + (search ? `?${search}` : '');
}

/** Path segments, percent-encoded. */
export const path = (strings, ...ids) => String.raw({ raw: strings }, ...ids.map(encodeURIComponent));

/** Sends a request and gives the answer if it succeeded. Throws a `Problem` otherwise. */
export async function send(target, { method = 'GET', body, accept = 'application/json', headers = {}, signal } = {}) {
  const all = { accept, ...headers };
  if (token) all.authorization = `Bearer ${token}`;
  if (body !== undefined) all['content-type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(target, {
      method,
      headers: all,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, NO_ANSWER);
  }
  if (answer.ok) return answer;
  const problem = new Problem(answer.status, await document(answer));
  if (answer.status === 401) asksForToken(problem);
  throw problem;
}

async function document(answer) {
  try {
    return parse(await answer.text());
  } catch {
    return { title: answer.statusText };
  }
}

/** The JSON of an answer. */
export async function get(target, query, signal) {
  const answer = await send(url(target, query), { signal });
  return parse(await answer.text());
}

/** The JSON of an answer to a change. */
export async function change(method, target, body, query, signal) {
  const answer = await send(url(target, query), { method, body, signal });
  return parse(await answer.text());
}

/** Saves an answer as a file. A browser cannot send a token with a link, so with one the answer is read here first. */
export async function save(target, query, name, accept) {
  const anchor = window.document.createElement('a');
  anchor.download = name;
  const address = await addressOf(url(target, query), accept);
  anchor.href = address;
  anchor.click();
  if (address.startsWith('blob:')) setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function addressOf(target, accept) {
  // A link cannot name the media type either.
  if (!token && !accept) return target;
  const answer = await send(target, { accept: accept ?? '*/*' });
  return URL.createObjectURL(await answer.blob());
}
