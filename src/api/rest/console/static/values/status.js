// States: each has a shape, a word and a colour, so that none of the three is needed to tell them apart.

import { h, s } from './dom.js';

/** The words. */
export const WORDS = {
  complete: 'Complete',
  partial: 'Partial',
  in_progress: 'In progress',
  broken: 'Does not add up',
  up: 'Up',
  down: 'Down',
  never_seen: 'Never seen',
  unknown: 'Not known',
  open: 'Open',
  closed: 'Not connected',
  waiting_for_clock: 'Waits for the clock',
  stopped: 'Stopped',
  unary: 'By calls',
};

const line = (d, color, width = 1.7, more = {}) =>
  s('path', {
    d,
    fill: 'none',
    stroke: color,
    'stroke-width': width,
    'stroke-linecap': 'round',
    'stroke-linejoin': 'round',
    ...more,
  });
const ring = (color, more = {}) =>
  s('circle', { cx: 8, cy: 8, r: 6.1, fill: 'none', stroke: color, 'stroke-width': 1.8, ...more });

const SHAPES = {
  // A disc with a tick.
  complete: () => [
    s('circle', { cx: 8, cy: 8, r: 7, fill: 'var(--complete)' }),
    line('M4.8 8.3l2.2 2.2 4.2-4.6', 'var(--surface)', 1.8),
  ],
  // A half disc.
  partial: () => [ring('var(--partial)'), s('path', { d: 'M8 1.9a6.1 6.1 0 0 0 0 12.2z', fill: 'var(--partial)' })],
  // A ring of which a quarter goes round.
  in_progress: () => [
    ring('var(--progress)', { 'stroke-opacity': 0.3 }),
    s('path.spin', {
      d: 'M8 1.9a6.1 6.1 0 0 1 6.1 6.1',
      fill: 'none',
      stroke: 'var(--progress)',
      'stroke-width': 2,
      'stroke-linecap': 'round',
    }),
  ],
  // A triangle.
  broken: () => [line('M8 1.6l6.9 12.4H1.1z', 'var(--broken)'), line('M8 6v3.6M8 11.6v.6', 'var(--broken)')],
  // A small disc.
  up: () => [s('circle', { cx: 8, cy: 8, r: 4.6, fill: 'var(--complete)' })],
  // An empty dashed ring.
  unknown: () => [ring('var(--ink-3)', { 'stroke-dasharray': '2.6 2.6', 'stroke-width': 1.5 })],
};
Object.assign(SHAPES, {
  down: SHAPES.broken,
  stopped: SHAPES.broken,
  open: SHAPES.up,
  unary: SHAPES.up,
  never_seen: SHAPES.unknown,
  closed: SHAPES.partial,
  waiting_for_clock: SHAPES.partial,
});

/** The shape of a state. */
export const mark = (state, size = 14) =>
  s(
    'svg',
    { width: size, height: size, viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    (SHAPES[state] ?? SHAPES.unknown)(),
  );

/** Shape and word. Null is not known. */
export function status(given, { chip, word } = {}) {
  const state = given ?? 'unknown';
  return h(`span.st.${state}${chip ? '.chip' : ''}`, mark(state), word ?? WORDS[state] ?? state);
}

const ICONS = {
  overview: 'M2.5 8.5 8 3l5.5 5.5M4.5 7.5v5.5h7V7.5',
  snapshots: 'M2.5 3.5h11v9h-11zM5 13.5v-11M11 13.5v-11',
  audit: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM8 5v3.2l2.2 1.6',
  accounts: 'M3 4.5h10v8H3zM3 7h10M10 10h1.2',
  compare: 'M5 2.5v11M2.5 5 5 2.5 7.5 5M11 13.5v-11M8.5 11l2.5 2.5 2.5-2.5',
  cluster:
    'M8 2.8a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4zM3.7 10a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4z' +
    'M12.3 10a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4zM7 6.1 4.6 10M9 6.1l2.4 3.9M5.4 11.7h5.2',
  api: 'M6 4 2.5 8 6 12M10 4l3.5 4L10 12',
  theme: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z',
};

/** The picture of a section. */
export const icon = (name) =>
  s(
    'svg',
    { width: 16, height: 16, viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    line(ICONS[name], 'currentColor', 1.4),
    name === 'theme' && s('path', { d: 'M8 2.5a5.5 5.5 0 0 1 0 11z', fill: 'currentColor' }),
  );

/** The sign of the program: three processes and the cut through them. */
export const logo = () =>
  s(
    'svg',
    { width: 26, height: 26, viewBox: '0 0 26 26', 'aria-hidden': 'true' },
    s('rect', { width: 26, height: 26, rx: 7, fill: 'var(--accent)' }),
    s('path', {
      d: 'M4 8h18M4 13h18M4 18h18',
      stroke: 'var(--accent-ink)',
      'stroke-opacity': 0.45,
      'stroke-width': 1.4,
    }),
    line('M9 3.5v4.5l8 5-5 5v4.5', 'var(--accent-ink)', 2.1),
  );

// Told apart in both schemes, and none of them violet: that is money in flight.
const PALETTE = [
  ['#3b5bdb', '#7b93f5'],
  ['#0f8a8a', '#46bdbd'],
  ['#c2691c', '#e59a55'],
  ['#a3386c', '#e283b0'],
  ['#5c7a1f', '#a9c766'],
  ['#4a6785', '#93b0cc'],
  ['#8a5a2b', '#cda57d'],
  ['#1f7fb8', '#6dc0ef'],
];
const order = [];

/** The colour of a process, by its place among those that the page has met. */
export function color(process) {
  if (!order.includes(process)) order.push(process);
  const [light, dark] = PALETTE[order.indexOf(process) % PALETTE.length];
  return `light-dark(${light},${dark})`;
}

/** Gives the colours in the order of the cluster. */
export function nameProcesses(processes) {
  order.splice(0, order.length, ...processes);
}

/** The swatch of a process, or of money in flight. */
export const swatch = (background) => h('i.sw', { css: { background }, 'aria-hidden': 'true' });
