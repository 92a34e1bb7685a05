// The space-time diagram as SVG.

import { s } from '../values/dom.js';
import { count, counted, moneyText } from '../values/money.js';
import { color } from '../values/status.js';
import { offset } from '../values/time.js';
import { Labels, ticksOf } from './model.js';

/** The colour of the cut: it says whether the snapshot is whole. */
export const tint = (isPartial) => (isPartial ? 'var(--partial)' : 'var(--complete)');

/** The picture. `chosen` is the message whose arrow is stressed. */
export function draw(model, place, scene, { chosen, isPartial }) {
  const { outer, height, left, right, bottom } = place;
  const plot = s(
    'g',
    { 'clip-path': 'url(#plot)' },
    arrows(scene.arrows, model),
    markers(scene.markers.shown, place),
    bars(scene.bars, place),
    cut(model, place, isPartial),
    crossings(model, place, scene, chosen),
  );
  return s(
    'svg',
    {
      width: outer,
      height,
      viewBox: `0 0 ${outer} ${height}`,
      role: 'group',
      'aria-labelledby': 'card-diagram',
      'aria-describedby': 'told',
    },
    s(
      'defs',
      s('clipPath', { id: 'plot' }, s('rect', { x: left, y: 20, width: outer - left - right, height: bottom })),
    ),
    past(model, place),
    axis(model, place),
    lanes(model, place),
    plot,
  );
}

/** What an arrow stands for, in words. */
export const labelOf = ({ messages, amount, transfers }) => {
  if (!transfers) return messages.length > 1 ? `${messages.length} messages` : messages[0].kind;
  // The sum of all of them; a sign of multiplication would say otherwise.
  return `${messages.length > 1 ? `${count(messages.length)} msgs · ` : ''}${moneyText(amount)}`;
};

// The corners of the cut, from the top of the picture to its end.
function corners(model, { x, y, bottom, gap }) {
  const at = [...model.cut].map(([process, time]) => [x(time), y(process)]);
  if (!at.length) return [];
  const end = model.cut.size === model.lanes.length ? bottom : at.at(-1)[1] + gap / 2;
  return [[at[0][0], Math.min(26, at[0][1] - 14)], ...at, [at.at(-1)[0], end]];
}

const joined = (points) => points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L');

function past(model, place) {
  const line = corners(model, place);
  if (!line.length) return null;
  const { left, outer, right } = place;
  const clamp = (x) => Math.max(left, Math.min(outer - right, x));
  const inside = line.map(([x, y]) => [clamp(x), y]);
  return [
    s('path', { d: `M${left} ${line[0][1]}L${joined(inside)}L${left} ${line.at(-1)[1]}z`, fill: 'var(--shade)' }),
    inside[0][0] - left > 110 &&
      s(
        'text',
        { x: left + 8, y: 40, fill: 'var(--complete)', 'font-size': 12, 'font-weight': 600 },
        'in the snapshot',
      ),
    outer - right - inside[0][0] > 130 &&
      s(
        'text',
        { x: outer - right, y: 40, fill: 'var(--ink-3)', 'font-size': 12, 'font-weight': 500, 'text-anchor': 'end' },
        'after the cut',
      ),
  ];
}

function axis(model, place) {
  const { ticks, step } = ticksOf(place);
  return ticks.map((at) => [
    s('line.grid', { x1: place.x(at), x2: place.x(at), y1: 26, y2: place.bottom, 'stroke-dasharray': '2 4' }),
    s(
      'text.axis',
      { x: place.x(at), y: place.bottom + 18, 'text-anchor': 'middle' },
      at === 0 ? 'start' : tick(at, step),
    ),
  ]);
}

function tick(at, step) {
  const sign = at < 0 ? '−' : '+';
  const size = Math.abs(at);
  if (step < 1000 && size < 1e6) return `${sign}${+(size / 1e3).toFixed(3)} ms`;
  return size < 1e6 ? `${sign}${size / 1e3} ms` : `${sign}${+(size / 1e6).toFixed(3)} s`;
}

const WHY = {
  gone: 'journal not kept',
  begins_later: 'journal begins later',
  unreachable: 'no answer',
  none: 'no journal',
};

function lanes(model, place) {
  const isTight = place.gap < 44;
  return model.lanes.map(({ process, at, journal }) => {
    const y = place.y(process);
    const isIn = at !== null;
    const first = isIn && at === 0;
    const word = !isIn
      ? 'no part'
      : first
        ? place.isNarrow
          ? 'first'
          : 'recorded first'
        : `${place.isNarrow ? '' : 'recorded '}${offset(at)}`;
    return [
      s('line', {
        x1: place.left,
        x2: place.outer - place.right,
        y1: y,
        y2: y,
        stroke: isIn ? color(process) : 'var(--ink-3)',
        'stroke-width': isIn ? 2.2 : 1.3,
        'stroke-dasharray': isIn ? null : '2 5',
      }),
      s(
        'text',
        { x: 0, y: isTight ? y + 4 : y - 1, fill: 'var(--ink)', 'font-size': isTight ? 12 : 15, 'font-weight': 650 },
        shortened(process, place.isNarrow ? 7 : 13),
        process.length > 7 && s('title', process),
      ),
      !isTight && s('text.axis', { x: 0, y: y + 15 }, word),
      !isTight &&
        isIn &&
        journal !== 'whole' &&
        !place.isNarrow &&
        s('text.axis', { x: 0, y: y + 29, fill: 'var(--partial)' }, WHY[journal] ?? journal),
    ];
  });
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** A head of an arrow that ends at (x2, y2). */
function head({ x1, y1, x2, y2 }, fill, size) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const [px, py] = [x2 - Math.cos(angle) * 2, y2 - Math.sin(angle) * 2];
  const wing = (turn) =>
    `${(px + Math.cos(angle + turn) * size).toFixed(1)} ${(py + Math.sin(angle + turn) * size).toFixed(1)}`;
  return s('path', { d: `M${px.toFixed(1)} ${py.toFixed(1)}L${wing(Math.PI - 0.42)}L${wing(Math.PI + 0.42)}z`, fill });
}

// The others, for the eye alone: the table below has what crosses, and the statement of an account has each of them.
function arrows(all, { isWhole }) {
  return s(
    'g',
    { 'aria-hidden': 'true' },
    all.map((bundle) => {
      const { x1, y1, x2, y2, waits, known, messages } = bundle;
      // Of a whole snapshot it was delivered later than the time that was asked for.
      const stroke = waits && !isWhole ? 'var(--partial)' : 'var(--message)';
      const { from, to, sequence } = messages[0];
      const some = messages.length > 1 ? `${messages.length} messages from ` : '';
      return s(
        'g',
        s('title', `${from} → ${to}, ${some}number ${sequence}${waits ? ', not delivered in this time' : ''}`),
        s('line', {
          x1,
          y1,
          x2,
          y2,
          stroke,
          'stroke-width': Math.min(4, 1.1 + Math.log2(messages.length) * 0.5),
          'stroke-opacity': waits ? 0.75 : 1,
          'stroke-dasharray': known || waits ? null : '2 3',
        }),
        waits
          ? s('circle', { cx: x2, cy: y2, r: 2.4, fill: 'none', stroke, 'stroke-width': 1.2 })
          : head(bundle, stroke, 6),
      );
    }),
  );
}

function markers(shown, { x, y }) {
  return s(
    'g',
    { 'aria-hidden': 'true' },
    shown.map(({ from, to, sent, closed }) => {
      const at = { x1: x(sent), y1: y(from), x2: x(closed), y2: y(to) };
      return [
        s('line', { ...at, stroke: 'var(--ink)', 'stroke-width': 1.3, 'stroke-dasharray': '4 3' }),
        head(at, 'var(--ink)', 7.5),
      ];
    }),
  );
}

function bars(all, place) {
  const perLane = new Map();
  return s(
    'g',
    { 'aria-hidden': 'true' },
    all.map(({ process, from, begun, closed, open, count: some }) => {
      const i = perLane.get(process) ?? 0;
      perLane.set(process, i + 1);
      const edge = place.outer - place.right;
      const y = place.y(process) + (place.gap < 44 ? 4 : 8) + i * 7;
      const [x1, x2] = [place.x(begun), open ? edge : place.x(closed)];
      if (x2 - x1 < 1.5) return null;
      const atEdge = x2 > edge - 70;
      const said = from === null ? `${some} channels` : `${from}→${process}`;
      return [
        s('rect', {
          x: x1,
          y,
          width: x2 - x1,
          height: 4,
          rx: 2,
          fill: open ? 'var(--partial)' : 'var(--flight)',
          'fill-opacity': open ? 0.35 : 0.32,
        }),
        place.gap >= 44 &&
          s(
            'text',
            {
              x: atEdge ? edge - 4 : x2 + 6,
              y: y + 5.5,
              'font-size': 10.5,
              fill: open ? 'var(--partial)' : 'var(--ink-3)',
              'text-anchor': atEdge ? 'end' : 'start',
              'paint-order': 'stroke',
              stroke: 'var(--surface)',
              'stroke-width': 3,
            },
            open ? `${said} still open` : said,
          ),
      ];
    }),
  );
}

function cut(model, place, isPartial) {
  const line = corners(model, place);
  if (!line.length) return null;
  const size = place.gap < 44 ? 5 : 8;
  return [
    s('path', {
      d: `M${joined(line)}`,
      fill: 'none',
      stroke: tint(isPartial),
      'stroke-width': 2.6,
      'stroke-linejoin': 'round',
      'stroke-dasharray': isPartial ? '7 4' : null,
    }),
    [...model.cut].map(([process, time]) =>
      s('path', {
        d: `M${place.x(time)} ${place.y(process) - size}l${size} ${size}-${size} ${size}-${size}-${size}z`,
        fill: tint(isPartial),
        stroke: 'var(--surface)',
        'stroke-width': 2,
      }),
    ),
  ];
}

function crossings(model, place, scene, chosen) {
  const labels = new Labels(place, model.lanes);
  const isChosen = (bundle) => chosen !== null && bundle.messages.includes(chosen);
  // The chosen one is placed first and drawn last, so that it always has its label.
  const order = [...scene.crossings].sort((one, other) => isChosen(other) - isChosen(one));
  const boxes = new Map(
    order.map((bundle) => [bundle, labels.find(bundle, labelOf(bundle).length * 6.5 + 11, isChosen(bundle))]),
  );
  const focusable = scene.crossings.find(isChosen) ?? scene.crossings[0];
  const drawn = scene.crossings.toSorted((one, other) => isChosen(one) - isChosen(other));
  const lines = drawn.map((bundle) =>
    crossingArrow(bundle, {
      i: scene.crossings.indexOf(bundle),
      stressed: isChosen(bundle),
      tabindex: bundle === focusable ? 0 : -1,
    }),
  );
  // Above all lines, so that none runs through a figure.
  const texts = drawn
    .filter((bundle) => boxes.get(bundle))
    .map((bundle) => label(labelOf(bundle), boxes.get(bundle), isChosen(bundle), scene.crossings.indexOf(bundle)));
  return [lines, s('g', { 'aria-hidden': 'true' }, texts)];
}

function crossingArrow({ x1, y1, x2, y2, known, ...bundle }, { i, stressed, tabindex }) {
  const { from, to, sent, delivered } = bundle.messages[0];
  const ends = { x1, y1, x2, y2 };
  const what = `${from} to ${to}, ${counted(bundle.messages.length, 'message')}, ${labelOf(bundle)}`;
  const said = `${what}, sent ${offset(sent)}, delivered ${offset(delivered)}`;
  return s(
    'g.cross',
    { tabindex, role: 'button', 'aria-pressed': String(stressed), 'data-i': i, 'aria-label': said },
    s('line.halo', { ...ends, stroke: 'transparent', 'stroke-width': 14, 'stroke-linecap': 'round' }),
    s('line', {
      ...ends,
      stroke: 'var(--flight)',
      'stroke-width': stressed ? 3.2 : 2,
      'stroke-dasharray': known ? null : '3 4',
    }),
    head(ends, 'var(--flight)', 10),
    s('circle', { cx: x1, cy: y1, r: 3.4, fill: 'var(--flight)' }),
  );
}

const label = (text, box, stressed, i) =>
  s(
    'g.amount',
    { 'data-i': i },
    s('rect', {
      x: box.x,
      y: box.y,
      width: box.wide,
      height: box.height,
      rx: 5,
      fill: stressed ? 'var(--flight)' : 'var(--flight-soft)',
      stroke: 'var(--flight)',
      'stroke-opacity': 0.45,
    }),
    s(
      'text',
      {
        x: box.x + box.wide / 2,
        y: box.y + 13,
        'text-anchor': 'middle',
        'font-size': 11.5,
        'font-weight': 600,
        fill: stressed ? 'var(--surface)' : 'var(--flight)',
      },
      text,
    ),
  );
