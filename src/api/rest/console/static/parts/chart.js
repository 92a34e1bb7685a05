// Curves over time, drawn by uPlot. A curve is a picture: its values are doubles, and the exact figures stand beside it.

import { h } from '../values/dom.js';
import { drawn, moneyText } from '../values/money.js';
import { onSetting, settings } from '../values/settings.js';

const HEIGHT = 230;
/** A pointer that moves less, in pixels, clicks. */
const DRAG_MIN = 5;

/** A colour of the style sheet, as the canvas needs it. */
function ink(name) {
  const probe = h('span', { css: { color: `var(--${name})`, display: 'none' } });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const faint = (color, part) => color.replace('rgb(', 'rgba(').replace(')', `, ${part})`);

/** The values of a series: exact amounts, of which a double is drawn. Null is not known. */
export const amounts = (exact) => ({ exact, values: exact.map((one) => (one === null ? null : drawn(one))) });

/**
 * A curve. `times` are seconds since 1970, and `within` is the time that is shown. Each series has `label`, `exact` and `values`
 * (`amounts`; null is a gap, which is shaded) and `color` (a name of the style sheet), and may have `fill`, `stepped`, `scale` and `width`. `bands` are
 * pairs of series with an area between them, and `gap` says what a gap means.  `ticks` are marks below the curve, `{at, color}`, and
 * `at` is a time that is marked. `onPick(at)` is called for a click, `onZoom(from, to)` for a time that was dragged over.
 */
export function curve(given) {
  const { label, times, series, signal } = given;
  const place = h('div.curve', {
    role: 'img',
    'aria-label': label,
    css: { 'min-height': `${heightOf(given) + 10}px` },
  });
  let plot = null;
  const draw = () => {
    plot?.destroy();
    plot = place.clientWidth
      ? new uPlot(options(place.clientWidth - 20, given), [times, ...series.map(({ values }) => values)], place)
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

const heightOf = ({ height = HEIGHT }) => height;

function options(width, given) {
  const { within, series, bands = [], isSmall } = given;
  const [grid, text] = [ink('line'), ink('ink-3')];
  const font = '11.5px Inter, system-ui, sans-serif';
  const axis = (more) => ({ stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, ...more });
  const scales = [...new Set(series.map(({ scale }) => scale ?? 'y'))];
  return {
    width,
    height: heightOf(given),
    scales: { x: { range: () => within } },
    tzDate: (ts) => (settings.zone === 'UTC' ? uPlot.tzDate(new Date(ts * 1e3), 'Etc/UTC') : new Date(ts * 1e3)),
    cursor: { points: { size: 7 }, drag: { x: Boolean(given.onZoom), y: false, setScale: false } },
    legend: { show: !isSmall, live: true },
    axes: [
      axis({ values: times, size: isSmall ? 30 : 46 }),
      ...scales.map((scale, i) =>
        axis({
          scale,
          side: i === 0 ? 3 : 1,
          size: isSmall ? 48 : 70,
          grid: { show: i === 0, stroke: grid, width: 1 },
          values: marks,
          space: isSmall ? 24 : 30,
        }),
      ),
    ],
    series: [
      { label: 'Time', value: (_, at) => (at === null || at === undefined ? '–' : moment(at)) },
      ...series.map(lineOf),
    ],
    bands: bands.map(({ series: of, color }) => ({ series: of, fill: faint(ink(color), 0.16) })),
    hooks: hooksOf(given),
  };
}

function lineOf(one) {
  const color = ink(one.color);
  return {
    label: one.label,
    scale: one.scale ?? 'y',
    stroke: color,
    width: one.width ?? 1.6,
    fill: one.fill ? faint(color, 0.13) : undefined,
    paths: one.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
    // What is known alone, between gaps, would have no line.
    points: { show: one.values.filter((v) => v !== null).length < 3 || one.values.some(isAlone), size: 5, fill: color },
    // The exact amount by its place; the double is for the eye alone.
    value: (_, __, ___, i) => (i === null || i === undefined ? '–' : moneyText(one.exact[i])),
  };
}

const isAlone = (value, i, all) => value !== null && (all[i - 1] ?? null) === null && (all[i + 1] ?? null) === null;

function hooksOf({ onPick, onZoom, ticks = [], at = null, gap = 'not known' }) {
  return {
    drawClear: [(plot) => shadeGaps(plot, gap)],
    draw: [(plot) => drawMarks(plot, ticks, at)],
    ready: onPick ? [(plot) => picks(plot, onPick)] : [],
    setSelect: onZoom
      ? [
          ({ select: { left, width }, posToVal }) => {
            if (width > DRAG_MIN) onZoom(posToVal(left, 'x'), posToVal(left + width, 'x'));
          },
        ]
      : [],
  };
}

// A drag ends with a click, too.
function picks({ over, cursor, data }, onPick) {
  let down = 0;
  over.addEventListener('mousedown', ({ clientX }) => (down = clientX));
  over.addEventListener('click', ({ clientX }) => {
    if (Math.abs(clientX - down) <= DRAG_MIN && cursor.idx !== null) onPick(data[0][cursor.idx]);
  });
}

// Where the first series has no figure, between what is known before and after; in words where there is room.
function shadeGaps({ ctx, bbox, data: [times, values], valToPos }, word) {
  const x = (i) => Math.max(bbox.left, Math.min(bbox.left + bbox.width, valToPos(times[i], 'x', true)));
  ctx.save();
  ctx.font = `${11.5 * devicePixelRatio}px Inter, system-ui, sans-serif`;
  ctx.textAlign = 'center';
  for (let i = 0; i < values.length; i += 1) {
    if (values[i] !== null) continue;
    const before = Math.max(0, i - 1);
    while (i < values.length && values[i] === null) i += 1;
    const [from, to] = [x(before), x(Math.min(i, values.length - 1))];
    ctx.fillStyle = faint(ink('partial'), 0.12);
    ctx.fillRect(from, bbox.top, to - from, bbox.height);
    ctx.fillStyle = ink('partial');
    if (ctx.measureText(word).width < to - from - 8) ctx.fillText(word, (from + to) / 2, bbox.top + bbox.height / 2);
  }
  ctx.restore();
}

function drawMarks({ ctx, bbox, valToPos, scales }, ticks, at) {
  const { min, max } = scales.x;
  const scale = window.devicePixelRatio;
  const line = (time, height, color, width) => {
    if (time < min || time > max) return;
    ctx.fillStyle = color;
    ctx.fillRect(valToPos(time, 'x', true) - width / 2, bbox.top + bbox.height - height, width, height);
  };
  ctx.save();
  const colors = new Map();
  for (const { at: time, color } of ticks) {
    if (!colors.has(color)) colors.set(color, ink(color));
    line(time, 7 * scale, colors.get(color), 2 * scale);
  }
  if (at !== null) line(at, bbox.height, ink('ink-2'), scale);
  ctx.restore();
}

const inZone = (at, form) =>
  new Intl.DateTimeFormat('en-GB', { ...form, timeZone: settings.zone === 'UTC' ? 'UTC' : undefined }).format(
    new Date(at * 1000),
  );

// Parts of a second, where the steps need them.
const parts = (step) => (step < 1 ? { fractionalSecondDigits: step < 0.01 ? 3 : step < 0.1 ? 2 : 1 } : {});

// As fine as the steps of the axis are.
function times(_, at, __, ___, step) {
  const form =
    step >= 86_400
      ? { day: 'numeric', month: 'short' }
      : { hour: '2-digit', minute: '2-digit', second: step < 60 ? '2-digit' : undefined, ...parts(step) };
  return at.map((one) => inZone(one, form));
}

/** What has no short name. */
const LARGE = 1e15;
const UNITS = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
  [1, ''],
];

// Two marks of an axis never read the same, however close they are.
function marks(_, at, __, ___, step) {
  if (Math.max(...at.map(Math.abs)) >= LARGE) return at.map((one) => (one === 0 ? '0' : one.toExponential(1)));
  const [unit, name] = UNITS.find(([size]) => Math.max(...at.map(Math.abs)) >= size) ?? UNITS.at(-1);
  const digits = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  return at.map((one) => (one === 0 ? '0' : (one / unit).toFixed(Math.min(digits, 6)) + name));
}

const moment = (at) =>
  inZone(at, {
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    fractionalSecondDigits: 3,
  });
