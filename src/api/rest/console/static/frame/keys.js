// Keys of the whole page. A page adds its own while it is shown.

import { h } from '../values/dom.js';

const pages = { o: '#/', s: '#/snapshots', a: '#/audit', c: '#/cluster', d: '#/compare', b: '#/accounts' };
const always = [
  { key: 'g o', what: 'Overview' },
  { key: 'g s', what: 'Snapshots' },
  { key: 'g a', what: 'Audit' },
  { key: 'g b', what: 'Accounts' },
  { key: 'g d', what: 'Compare' },
  { key: 'g c', what: 'Cluster' },
];
const bound = new Map();
// The timer of a first key; null while no second key is expected. An earlier one must not end a later sequence.
let leads = null;

/** Binds a key until the signal is aborted. */
export function bind(key, what, run, signal) {
  bound.set(key, { what, run });
  signal?.addEventListener('abort', () => {
    if (bound.get(key)?.run === run) bound.delete(key);
  });
}

const isTyping = (target) => Boolean(target.closest?.('input, textarea, select, [contenteditable]'));

function pressed(event) {
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    isTyping(event.target) ||
    document.querySelector('dialog[open]')
  )
    return;
  if (leads) {
    clearTimeout(leads);
    leads = null;
    if (pages[event.key]) {
      location.hash = pages[event.key];
      event.preventDefault();
    }
    return;
  }
  if (event.key === 'g') {
    leads = setTimeout(() => (leads = null), 1200);
    return;
  }
  const found = bound.get(event.key);
  if (!found) return;
  event.preventDefault();
  found.run();
}

/** Shows what the keys do. */
export function showKeys() {
  const line = (key, what) => [
    h(
      'dt',
      key.split(' ').map((one) => h('kbd', one)),
    ),
    h('dd', what),
  ];
  const mine = [...bound].map(([key, { what }]) => line(key, what));
  const close = h('button.btn', { type: 'button' }, 'Close');
  const dialog = h(
    'dialog.keys',
    { 'aria-labelledby': 'keys-title' },
    h('h2', { id: 'keys-title' }, 'Keys'),
    h(
      'div.columns',
      h('dl', h('dt.head', 'On this page'), h('dd'), mine),
      h(
        'dl',
        h('dt.head', 'Go to'),
        h('dd'),
        always.map(({ key, what }) => line(key, what)),
      ),
    ),
    close,
  );
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Begins to listen. */
export function listen() {
  addEventListener('keydown', pressed);
  bind('?', 'Show this list', showKeys);
}
