// The certificate of a snapshot or an audit, check by check, with the figures that were compared.

import { card, h } from '../values/dom.js';
import { count, moneyText } from '../values/money.js';
import { mark, status } from '../values/status.js';

const CHECKS = {
  consistent_cut: ['Consistent cut', 'delivered is never more than sent'],
  channel_state: ['Channel contents', 'recorded is sent less delivered'],
  chunks: ['Stored contents', 'every chunk is held'],
  recorded_messages: ['Recorded messages', 'counted again from the chunks'],
  journal_chain: ['Journal chain', 'where this node has the journal'],
  conservation: ['Conservation', 'held is paid in less paid out'],
};
const OF_CHANNELS = ['consistent_cut', 'channel_state'];
const SHOWN = 60;

/** The card. A kind of check that was not made is not decided, and says so. */
export function certificate(given, { kinds = Object.keys(CHECKS), note } = {}) {
  const { verification, missing, status: state, channels = [] } = given;
  const { checks = [], conserved } = verification;
  const found = new Map([...kinds, ...checks.map(({ check }) => check)].map((kind) => [kind, []]));
  for (const one of checks) found.get(one.check).push(one);
  const isWrong = checks.some(({ holds }) => !holds) || conserved === false;
  const whole = isWrong
    ? status('broken')
    : conserved
      ? status('complete', { word: 'adds up' })
      : status('partial', { word: state === 'partial' ? 'partial' : 'not decided' });
  const absent = missing
    .map(({ process }) => process)
    .slice(0, 3)
    .join(', ');
  const isAlone = !missing.length && !channels.length;
  const reason = (kind) =>
    isAlone && OF_CHANNELS.includes(kind)
      ? 'there are no channels'
      : absent
        ? `not decided: ${absent} is missing`
        : 'not decided here';
  return card(
    'Certificate',
    { name: 'certificate', right: whole },
    h(
      'ul.checks',
      [...found].map(([kind, made]) => h('li', line(kind, made, reason(kind)))),
    ),
    note && h('p.note', note),
  );
}

function line(kind, made, reason) {
  const [name, why] = CHECKS[kind] ?? [kind.replaceAll('_', ' '), ''];
  const hold = made.filter(({ holds }) => holds).length;
  const state = made.length === 0 ? 'partial' : hold === made.length ? 'complete' : 'broken';
  const head = [
    mark(state),
    h('span', h('span.strong', name), h('span.why', made.length ? why : reason)),
    h('span.dim.num', made.length ? `${count(hold)} of ${count(made.length)}` : '–'),
  ];
  if (!made.length) return h('details', h('summary', head), h('p.figures.dim', 'There is nothing to compare.'));
  const inOrder = [...made].sort((one, other) => one.holds - other.holds);
  return h(
    'details',
    { open: state === 'broken' },
    h('summary', head),
    h(
      'div.figures.num',
      inOrder.slice(0, SHOWN).map(compared),
      made.length > SHOWN && h('div.dim', `and ${count(made.length - SHOWN)} more`),
    ),
  );
}

const compared = ({ subject, holds, figures }) =>
  h(
    'div',
    h('b', subject),
    holds ? ' ' : [' ', status('broken', { word: 'does not hold' }), ' '],
    h(
      'span.dim',
      Object.entries(withoutEmptyRanges(figures))
        .map(([name, value]) => `${name.replaceAll('_', ' ')} ${shown(name, value)}`)
        .join(' · '),
    ),
  );

// A range that ends before it begins has nothing in it.
function withoutEmptyRanges(figures) {
  const shown = { ...figures };
  for (const name of Object.keys(figures).filter((one) => one.startsWith('first_'))) {
    const last = name.replace('first_', 'last_');
    if (typeof figures[last] !== 'number' || figures[last] >= figures[name]) continue;
    delete shown[last];
    delete shown[name];
    shown[name.replace('first_', '')] = 'none';
  }
  return shown;
}

const AMOUNTS = /amount|balances|in_flight|deposits|withdrawals|held|paid_in/;

const shown = (name, value) =>
  value === null
    ? 'not known'
    : typeof value === 'string'
      ? value
      : AMOUNTS.test(name)
        ? moneyText(value)
        : count(value);
