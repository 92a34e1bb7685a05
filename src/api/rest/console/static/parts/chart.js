// Curves over time, drawn by uPlot. A curve is a picture: its values are doubles, and the exact figures stand beside it.

import { h } from '../values/dom.js';
import { onSetting, settings } from '../values/settings.js';

const HEIGHT = 230;
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 2 });

/** A colour of the style sheet, as the canvas needs it. */
function ink(name) {
  const probe = h('span', { css: { color: `var(--${name})`, display: 'none' } });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const faint = (color, part) => color.replace('rgb(', 'rgba(').replace(')', `, ${part})`);

/**
 * A curve. `times` are seconds since 1970, and `within` is the time that is shown. Each series has `label`, `values` (null is a
 * gap) and `color` (a name of the style sheet), and may have `fill`, `stepped` and `scale`. `value(v)` prints a figure.
 */
export function curve({ label, times, within, series, value = (v) => compact.format(v), onPick, signal }) {
  const place = h('div.curve', { role: 'img', 'aria-label': label });
  let plot = null;
  const draw = () => {
    plot?.destroy();
    plot = place.clientWidth
      ? new uPlot(
          options(place.clientWidth - 20, { within, series, value, onPick }),
          [times, ...series.map(({ values }) => values)],
          place,
        )
      : null;
  };
  const sized = new ResizeObserver(() => {
    if (plot && Math.abs(plot.width - (place.clientWidth - 20)) < 2) return;
    draw();
  });
  sized.observe(place);
  signal.addEventListener('abort', () => sized.disconnect());
  for (const setting of ['theme', 'zone']) onSetting(setting, draw, signal);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw, { signal });
  return place;
}

function options(width, { within, series, value, onPick }) {
  const [grid, text] = [ink('line'), ink('ink-3')];
  const font = '11.5px Inter, system-ui, sans-serif';
  const axis = (more) => ({ stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, ...more });
  const scales = [...new Set(series.map(({ scale }) => scale ?? 'y'))];
  return {
    width,
    height: HEIGHT,
    scales: { x: { range: () => within } },
    tzDate: (ts) => (settings.zone === 'UTC' ? uPlot.tzDate(new Date(ts * 1e3), 'Etc/UTC') : new Date(ts * 1e3)),
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    legend: { live: true },
    axes: [
      axis({ values: times }),
      ...scales.map((scale, i) =>
        axis({
          scale,
          side: i === 0 ? 3 : 1,
          size: 70,
          grid: { show: i === 0, stroke: grid, width: 1 },
          values: amounts,
        }),
      ),
    ],
    series: [
      { label: 'Time', value: (_, at) => (at === null || at === undefined ? '–' : moment(at)) },
      ...series.map((one) => {
        const color = ink(one.color);
        return {
          label: one.label,
          scale: one.scale ?? 'y',
          stroke: color,
          width: 1.6,
          fill: one.fill ? faint(color, 0.13) : undefined,
          paths: one.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
          points: { show: one.values.filter((v) => v !== null).length < 3 },
          value: (_, v, __, i) =>
            i === null || i === undefined ? '–' : v === null || v === undefined ? 'not known' : value(v),
        };
      }),
    ],
    hooks: onPick
      ? {
          ready: [
            (plot) =>
              plot.over.addEventListener(
                'click',
                () => plot.cursor.idx !== null && onPick(plot.data[0][plot.cursor.idx]),
              ),
          ],
        }
      : {},
  };
}

const inZone = (at, form) =>
  new Intl.DateTimeFormat('en-GB', { ...form, timeZone: settings.zone === 'UTC' ? 'UTC' : undefined }).format(
    new Date(at * 1000),
  );

// As fine as the steps of the axis are.
function times(_, at, __, ___, step) {
  const form =
    step >= 86_400
      ? { day: 'numeric', month: 'short' }
      : { hour: '2-digit', minute: '2-digit', second: step < 60 ? '2-digit' : undefined };
  return at.map((one) => inZone(one, form));
}

const UNITS = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
  [1, ''],
];

// Two marks of an axis never read the same, however close they are.
function amounts(_, at, __, ___, step) {
  const [unit, name] = UNITS.find(([size]) => Math.max(...at.map(Math.abs)) >= size) ?? UNITS.at(-1);
  const digits = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  return at.map((one) => (one / unit).toFixed(Math.min(digits, 6)) + name);
}

const moment = (at) =>
  inZone(at, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** The ranges that can be chosen, in seconds. */
export const RANGES = [
  ['15 min', 900],
  ['1 h', 3600],
  ['24 h', 86_400],
  ['7 d', 604_800],
  ['30 d', 2_592_000],
];

/** The choice of a range. */
export const ranges = (chosen, onChoose) =>
  h(
    'span.seg.small',
    { role: 'group', 'aria-label': 'Range' },
    RANGES.map(([name, size]) =>
      h('button', { type: 'button', 'aria-pressed': String(size === chosen), onclick: () => onChoose(size) }, name),
    ),
  );
