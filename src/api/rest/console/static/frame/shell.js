// The frame of every page: sections, the node that answers, zone and colours, and the place where a page draws itself.

import * as live from '../node/live.js';
import { node, may } from '../node/node.js';
import { h, fill, button } from '../values/dom.js';
import { count, unit } from '../values/money.js';
import { settings, set, onSetting, otherTheme, applyTheme } from '../values/settings.js';
import { icon, logo, mark } from '../values/status.js';
import { clock, zone } from '../values/time.js';
import { bind, showKeys } from './keys.js';

const SECTIONS = [
  ['overview', 'Overview', '#/', 'audit'],
  ['snapshots', 'Snapshots', '#/snapshots', 'audit'],
  ['audit', 'Audit', '#/audit', 'audit'],
  ['accounts', 'Accounts', '#/accounts', 'read'],
  ['compare', 'Compare', '#/compare', 'audit'],
  ['cluster', 'Cluster', '#/cluster', 'known'],
];

const content = h('div.content');
const head = h('header.top');
const stale = h('div', { role: 'status', 'aria-live': 'polite' });
const menu = h('nav', { 'aria-label': 'Sections' });
const foot = h('div.foot');
const counted = h('span.n.num');

/** Draws the frame. */
export function frame() {
  applyTheme();
  onSetting('theme', applyTheme);
  fill(
    document.body,
    h('a.skip', { href: '#content', onclick: skip }, 'To the content'),
    h(
      'aside.side',
      h('a.brand', { href: '#/', 'aria-label': 'snapledger, Overview' }, logo(), h('span', 'snapledger')),
      menu,
      foot,
    ),
    h('main', { id: 'content', tabindex: -1 }, head, stale, content),
  );
  live.on('state', sayAge);
  setInterval(sayAge, 1000);
  bind('t', 'Light or dark', otherTheme);
  bind('u', 'UTC or local time', otherZone);
}

// The fragment is the route, so the link must not change it.
function skip(event) {
  event.preventDefault();
  document.getElementById('content').focus();
}

const otherZone = () => set('zone', settings.zone === 'UTC' ? 'local' : 'UTC');

/** Marks the section, and says of which node the figures are. */
export function show(section) {
  fill(
    menu,
    SECTIONS.filter(([, , , need]) => may(need)).map(([id, label, href]) =>
      h(
        'a.nav',
        { href, 'aria-current': section === id ? 'page' : null },
        icon(id),
        h('span', label),
        id === 'snapshots' && counted,
      ),
    ),
    h('a.nav', { href: 'docs' }, icon('api'), h('span', 'API')),
  );
  menu.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  fill(
    foot,
    node.processes.length > 1 && [h('label', { for: 'asked' }, 'Answers come from'), nodes()],
    node.process && h('span', `${node.cluster} · amounts in ${unit()}`),
    h(
      'span',
      node.caller && `${node.caller.name}, ${node.caller.role} · `,
      node.caller && [button('Sign out', node.signOut, { class: 'link' }), ' · '],
      h('button.link', { type: 'button', onclick: showKeys }, 'Keys ', h('kbd', '?')),
    ),
  );
}

/** The number of snapshots, in the menu. */
export const showCount = (number) => (counted.textContent = number === null ? '' : count(number));

// Another node is another origin, so it serves its own console.
function nodes() {
  const option = ({ process, rest }) =>
    h(
      'option',
      { value: rest ?? '', selected: process === node.process, disabled: process !== node.process && !rest },
      process === node.process ? `${process} · ${location.host}` : `${process}${rest ? ` · ${rest}` : ''}`,
    );
  const select = h('select', { id: 'asked' }, node.processes.map(option));
  select.addEventListener('change', () => {
    if (select.value) location.href = `${location.protocol}//${select.value}/${location.hash}`;
  });
  return select;
}

/** The head of a page: its title (a node or text), its state, and what can be done. */
export function top(title, { state, actions = [] } = {}) {
  const segment = h(
    'div.seg',
    { role: 'group', 'aria-label': 'Time zone' },
    [
      ['UTC', 'UTC'],
      ['local', 'Local'],
    ].map(([value, label]) =>
      h(
        'button',
        {
          type: 'button',
          'aria-pressed': String(settings.zone === value),
          'data-zone': value,
          onclick: () => set('zone', value),
        },
        label,
      ),
    ),
  );
  fill(
    head,
    h('h1', title),
    state,
    h('span.spacer'),
    segment,
    button(icon('theme'), otherTheme, { 'aria-label': 'Light or dark', title: 'Light or dark (t)', class: 'btn icon' }),
    actions,
  );
}

onSetting('zone', () => {
  for (const one of head.querySelectorAll('[data-zone]'))
    one.setAttribute('aria-pressed', String(one.dataset.zone === settings.zone));
});

/** The title of the window: what this page is about. */
export function nameWindow(title) {
  document.title = title ? `${title} · snapledger` : 'snapledger';
}

/** What a page draws into. */
export const room = () => content;

/** What went wrong, in the place of the page. */
export function failed(problem) {
  fill(
    content,
    h(
      'section.card',
      h(
        'div.empty',
        { role: 'alert' },
        mark('broken', 20),
        h('b', problem.title ?? 'This page failed'),
        h('p', problem.message),
      ),
    ),
  );
}

/** A short message that goes away. */
export function note(text) {
  const shown = h('div.toast', { role: 'status' }, text);
  document.body.append(shown);
  setTimeout(() => shown.remove(), 5000);
}

// Old figures stay and say how old they are.
function sayAge() {
  const heard = live.lastHeard();
  const isOld = !live.isLive() && heard !== null && node.follows;
  const was = stale.dataset.shown === 'yes';
  if (!isOld) {
    if (was) fill(stale);
    stale.dataset.shown = 'no';
    return;
  }
  const iso = new Date(heard).toISOString();
  if (was) return;
  stale.dataset.shown = 'yes';
  fill(
    stale,
    h(
      'div.banner',
      mark('partial', 17),
      h(
        'div',
        h('b', 'The node does not answer.'),
        ` These figures are of ${clock(iso)} ${zone()}. The page tries again by itself.`,
      ),
    ),
  );
}
