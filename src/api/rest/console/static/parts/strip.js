// Small pictures: the newest snapshots as bars, and a rate as a line.

import { path } from '../node/api.js';
import { card, h, s } from '../values/dom.js';
import { moneyText } from '../values/money.js';
import { mark, swatch, WORDS } from '../values/status.js';
import { clock, ms, zone } from '../values/time.js';

const WIDE = 744;
const SLIM = 370;
const HEIGHT = 202;
const LEFT = 56;
const RIGHT = 10;
const BASE = 118;
const BELOW = 142;

/** The newest snapshots, oldest first: how long each took, and the money in flight below. */
export function strip(all) {
  const isSlim = innerWidth < 620;
  const span = isSlim ? SLIM : WIDE;
  const list = isSlim ? all.slice(-14) : all;
  const step = (span - LEFT - RIGHT) / Math.max(list.length, isSlim ? 8 : 12);
  const scale = durations(list);
  const told = h('span.num', { 'aria-live': 'polite' });
  const svg = s(
    'svg.strip',
    {
      width: '100%',
      viewBox: `0 0 ${span} ${HEIGHT}`,
      role: 'group',
      'aria-label': 'Recent snapshots, oldest first: how long each took, and the money in flight',
    },
    hatch(),
    grid(scale, span),
  );
  const most = Math.max(1, ...list.map(({ totals }) => Number(totals?.in_flight ?? 0)));
  list.forEach((one, i) => {
    const at = { center: LEFT + step * (i + 0.5), step, width: Math.min(17, step - 6), scale, most };
    svg.append(bar(one, i, at, i === list.length - 1));
    const isLast = i === list.length - 1;
    if (isLast || (i % 5 === 0 && i < list.length - 4))
      svg.append(
        s(
          'text.axis',
          {
            x: at.center,
            y: HEIGHT - 6,
            'text-anchor': i === 0 ? 'start' : isLast && list.length > 10 ? 'end' : 'middle',
          },
          one.initiated_at ? clock(one.initiated_at) : '',
        ),
      );
  });
  tell(svg, list, told);
  const key = (picture, text) => h('span.key', picture, text);
  return card(
    'Snapshots',
    {
      name: 'strip',
      sub: told,
      right: [
        key(mark('complete', 12), 'complete'),
        key(mark('partial', 12), 'partial'),
        key(mark('in_progress', 12), 'in progress'),
        key(swatch('var(--flight)'), 'in flight'),
      ],
    },
    h('figure.plot', svg),
  );
}

// A logarithmic scale between whole powers that hold all durations.
function durations(list) {
  const known = list
    .map(({ duration_ms }) => duration_ms)
    .filter((value) => value !== null && value !== undefined)
    .map((value) => Math.max(value, 1));
  const low = Math.min(10, ...known) / 2;
  const high = Math.max(100, ...known) * 1.15;
  const steps = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1e6].filter(
    (value) => value > low * 1.2 && value < high,
  );
  const skip = Math.ceil(steps.length / 4);
  return {
    y: (value) => BASE - 8 - (Math.log(Math.max(value, low) / low) / Math.log(high / low)) * 92,
    steps: steps.filter((_, i) => (steps.length - 1 - i) % skip === 0),
  };
}

const hatch = () =>
  s(
    'defs',
    s(
      'pattern',
      { id: 'hatch', width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
      s('rect', { width: 5, height: 5, fill: 'var(--partial)', 'fill-opacity': 0.28 }),
      s('rect', { width: 2, height: 5, fill: 'var(--partial)' }),
    ),
  );

const grid = ({ y, steps }, span) => [
  steps.map((value) => [
    s('line.grid', { x1: LEFT, x2: span - RIGHT, y1: y(value), y2: y(value), 'stroke-dasharray': '2 3' }),
    s(
      'text.axis',
      { x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' },
      value < 1000 ? `${value} ms` : `${value / 1000} s`,
    ),
  ]),
  s('text.axis', { x: LEFT - 8, y: BELOW + 12, 'text-anchor': 'end' }, 'flight'),
  [BASE, BELOW].map((at) => s('line', { x1: LEFT, x2: span - RIGHT, y1: at, y2: at, stroke: 'var(--line-2)' })),
];

const FILLS = { complete: 'var(--complete)', partial: 'url(#hatch)' };
const EDGES = { partial: 'var(--partial)', in_progress: 'var(--progress)' };

function bar(one, i, { center, step, width, scale, most }, isLast) {
  const { status, duration_ms: took, totals } = one;
  const top = status === 'in_progress' || took === null ? scale.y(60) : scale.y(took);
  const flight = Number(totals?.in_flight ?? 0);
  const length = flight ? Math.max(2.5, Math.sqrt(flight / most) * 34) : 0;
  return s(
    'a.bar',
    { href: path`#/snapshots/${one.snapshot_id}`, tabindex: isLast ? 0 : -1, 'data-i': i, 'aria-label': sentence(one) },
    s('rect', { x: center - step / 2, y: 8, width: step, height: HEIGHT - 34, fill: 'transparent' }),
    s('rect.shape', {
      x: center - width / 2,
      y: top,
      width,
      height: Math.max(1, BASE - top),
      rx: 2.5,
      fill: FILLS[status] ?? 'none',
      stroke: EDGES[status] ?? 'none',
      'stroke-dasharray': status === 'in_progress' ? '3 3' : null,
      'stroke-width': 1.4,
    }),
    length > 0 &&
      s('rect', {
        x: center - width / 2,
        y: BELOW,
        width,
        height: length,
        rx: 2,
        fill: 'var(--flight)',
        'fill-opacity': status === 'complete' ? 1 : 0.45,
      }),
    one.pinned && s('path', { d: `M${center} ${top - 11}l3.4 4-3.4 4-3.4-4z`, fill: 'var(--accent)' }),
  );
}

const sentence = ({ snapshot_id, status, initiated_at, duration_ms, totals }) =>
  [
    snapshot_id,
    WORDS[status],
    `${moment({ initiated_at })} ${zone()}`,
    duration_ms === null || duration_ms === undefined ? 'not finished' : ms(duration_ms),
    `${moneyText(totals?.in_flight)} in flight`,
  ].join(', ');

// A node that hears of a snapshot of another one may not know yet when it began.
const moment = ({ initiated_at }) => (initiated_at ? clock(initiated_at) : 'time not known');

const median = (values) => [...values].sort((one, other) => one - other)[values.length >> 1];

// Says of the bar under the pointer or the focus what it is; the arrow keys step from bar to bar.
function tell(svg, list, told) {
  const bars = () => [...svg.querySelectorAll('.bar')];
  const of = (event) => event.target.closest('.bar');
  const calm = () => {
    svg.classList.remove('active');
    const took = list.map(({ duration_ms }) => duration_ms).filter((value) => value !== null && value !== undefined);
    told.textContent = took.length
      ? `last ${list.length} · median ${ms(median(took))} · log scale`
      : `last ${list.length}`;
  };
  const show = (chosen) => {
    svg.classList.add('active');
    for (const one of bars()) one.classList.toggle('chosen', one === chosen);
    told.textContent = sentence(list[Number(chosen.dataset.i)]);
  };
  svg.addEventListener('mouseover', (event) => of(event) && show(of(event)));
  svg.addEventListener('mouseleave', calm);
  svg.addEventListener('focusin', (event) => of(event) && show(of(event)));
  svg.addEventListener('focusout', calm);
  svg.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !of(event)) return;
    event.preventDefault();
    const next = bars()[Number(of(event).dataset.i) + step];
    if (!next) return;
    of(event).setAttribute('tabindex', -1);
    next.setAttribute('tabindex', 0);
    next.focus();
  });
  calm();
}

/** A rate over time, without scale: its shape is what is seen. */
export function spark(values, stroke) {
  const [width, height] = [104, 26];
  const svg = s('svg', { width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' });
  if (values.length < 2) return svg;
  const most = Math.max(...values, 1);
  const points = values.map(
    (value, i) =>
      `${((i * width) / (values.length - 1)).toFixed(1)} ${(height - 2 - (value / most) * (height - 5)).toFixed(1)}`,
  );
  svg.append(
    s('path', { d: `M0 ${height}L${points.join('L')}L${width} ${height}z`, fill: stroke, 'fill-opacity': 0.13 }),
    s('path', { d: `M${points.join('L')}`, fill: 'none', stroke, 'stroke-width': 1.5, 'stroke-linejoin': 'round' }),
  );
  return svg;
}
