// A node with `[auth]` asks for a token. It stays in this tab and is sent in a header.

import { hasToken, useToken } from '../node/api.js';
import * as live from '../node/live.js';
import { h, fill } from '../values/dom.js';
import * as shell from './shell.js';

let isAsking = false;

/** Asks for a token, then begins again. */
export function signIn(problem, begin) {
  if (isAsking) return;
  isAsking = true;
  live.end();
  const wasRefused = hasToken();
  useToken(null);
  const token = h('input', { id: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true });
  const form = h(
    'form.sign',
    { 'aria-labelledby': 'sign-title' },
    h('h2', { id: 'sign-title' }, 'Sign in'),
    h('p', 'This node answers callers that it knows. Give a token of its token file, or of its issuer.'),
    wasRefused && h('p.refused', { role: 'alert' }, problem.message),
    h('label', { for: 'token' }, 'Token'),
    token,
    h('button.btn.primary', { type: 'submit' }, 'Sign in'),
    h('p.dim', 'It is kept until this tab is closed. ', h('code', 'snapledger token'), ' makes one.'),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    isAsking = false;
    useToken(token.value.trim());
    begin();
  });
  shell.top('Sign in');
  shell.nameWindow('Sign in');
  fill(shell.room(), h('section.card.narrow', form));
  token.focus();
}
