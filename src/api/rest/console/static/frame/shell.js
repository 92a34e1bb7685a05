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
  live.on('peer', ({ process, state }) => {
    const found = node.processes.find((one) => one.process === process);
    if (found) found.state = state;
    foot.querySelector('select')?.replaceWith(nodes());
  });
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
  const option = ({ process, rest, state }) =>
    h(
      'option',
      {
        value: rest ?? '',
        selected: process === node.process,
        disabled: process !== node.process && (!rest || state === 'down'),
        'data-process': process,
      },
      process === node.process
        ? `${process} · ${location.host}`
        : `${process}${state === 'down' ? ' (down)' : rest ? ` · ${rest}` : ''}`,
    );
  const select = h('select', { id: 'asked' }, node.processes.map(option));
  select.addEventListener('change', () => {
    if (select.value) location.href = addressOf(select.value);
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

/** That the page is being read. It shows after a moment only, so that a fast answer does not flicker. */
export const reading = () => fill(content, h('p.reading', { role: 'status' }, 'Reading…'));

const WAYS = {
  snapshots: ['#/snapshots', 'All snapshots'],
  accounts: ['#/accounts', 'All accounts'],
  audit: ['#/audit', 'The newest instant'],
  compare: ['#/compare', 'Choose what to compare'],
};

/** What went wrong, in the place of the page, with a way on. */
export function failed(problem, section) {
  const [href, label] = WAYS[section] ?? ['#/', 'Overview'];
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
        h('p', h('a.link', { href }, label)),
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

// Old figures stay, dimmed, and say how old they are and where newer ones can be had.
function sayAge() {
  const heard = live.lastHeard();
  const isOld = !live.isLive() && heard !== null && node.follows;
  if (isOld === (stale.dataset.shown === 'yes')) return;
  stale.dataset.shown = isOld ? 'yes' : 'no';
  content.classList.toggle('old', isOld);
  if (!isOld) return fill(stale);
  const others = node.processes
    .filter(({ process, rest, state }) => process !== node.process && rest && state !== 'down')
    .slice(0, 3);
  fill(
    stale,
    h(
      'div.banner',
      mark('partial', 17),
      h(
        'div',
        h('b', `${node.process} does not answer since `, clock(new Date(heard).toISOString()), ' ', zone(), '.'),
        ' What is shown is older. The page tries again by itself.',
        others.length > 0 && [
          ' Ask ',
          others.map(({ process, rest }, i) => [
            i > 0 && (i === others.length - 1 ? ' or ' : ', '),
            h('a.link', { href: addressOf(rest), onclick: keepPage }, process),
          ]),
          ' instead.',
        ],
      ),
    ),
  );
}

const addressOf = (rest) => `${location.protocol}//${rest}/${location.hash}`;

// The page may have changed since the link was drawn.
function keepPage(event) {
  event.currentTarget.hash = location.hash;
}
