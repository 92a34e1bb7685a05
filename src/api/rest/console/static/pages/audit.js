// The whole cluster at any instant that is kept: totals, what was in flight, and whether it adds up.

import { bind } from '../frame/keys.js';
import * as shell from '../frame/shell.js';
import { get } from '../node/api.js';
import { certificate } from '../parts/certificate.js';
import { RANGES, Timespan } from '../parts/timespan.js';
import { button, card, fill, h, link } from '../values/dom.js';
import { counted } from '../values/money.js';
import { instant, instantOf, micros, time, zoneName } from '../values/time.js';
import { auditsOf, drawAudits } from './audit_curve.js';
import { inFlight, missing, processesAt, totals } from './audit_tables.js';

const TICKS = 1000;
/** How much later than the curve an instant may be and still be shown with it, in microseconds. */
const AHEAD = 60e6;
/** Steps of the slider. */
const STEPS = 1000;

/** Shows `#/audit`, `?at=INSTANT` or `?cut=TOKEN`: the same cut for all who open the link. */
export async function show({ query, signal, room }) {
  shell.nameWindow('Audit');
  shell.top('Audit');
  const until = Date.now() * 1000;
  const page = {
    signal,
    at: until,
    ticks: [],
    series: null,
    answer: h('div.stack'),
    curve: h('div', h('div.curve', 'Reading the journals…')),
  };
  page.span = new Timespan({ range: RANGES[0][1], until, signal, onChange: () => around(page) });
  page.slider = slider(page);
  fill(room, page.slider.element, page.answer);
  bind('/', 'To the instant', () => page.slider.focus(), signal);
  bind(']', 'The next snapshot', () => jump(page, 1), signal);
  bind('[', 'The snapshot before', () => jump(page, -1), signal);
  bind('+', 'A shorter time around the instant', () => page.span.zoom(2, page.at), signal);
  bind('-', 'A longer time', () => page.span.zoom(0.5, page.at), signal);
  await ask(page, { at: query.get('at'), cut: query.get('cut') }, { isFirst: true });
  if (signal.aborted) return;
  const wanted = Math.max(until, page.at) - page.at;
  const fits = RANGES.map(([, size]) => size).find((size) => wanted < size * 0.98e6);
  if (fits) page.span.choose(fits);
  else page.span.center(page.at);
  await around(page);
}

// The slider, the snapshots in its time, and the curve. A later choice ends the questions of an earlier one.
async function around(page) {
  const { span } = page;
  page.asking?.abort();
  page.asking = new AbortController();
  const signal = AbortSignal.any([page.signal, page.asking.signal]);
  page.slider.draw();
  page.curve.setAttribute('aria-busy', 'true');
  try {
    const query = span.query();
    const [list, series] = await Promise.all([
      get('v1/snapshots', { ...query, limit: TICKS }, signal),
      auditsOf(query, span.length, signal),
    ]);
    Object.assign(page, { ticks: list.snapshots, series });
    span.settle([micros(series.to) - span.length, micros(series.to)]);
  } catch (problem) {
    if (signal.aborted) return;
    page.series = null;
    fill(page.curve, h('div.empty.small', { role: 'alert' }, h('b', problem.title), problem.message));
  }
  page.curve.removeAttribute('aria-busy');
  page.slider.draw();
  drawCurve(page);
}

function drawCurve(page) {
  const { span, series, ticks, at, signal } = page;
  if (series)
    drawAudits(page.curve, series, {
      within: [span.from, span.to],
      snapshots: ticks,
      at,
      onPick: (instant) => ask(page, { at: instant }),
      onZoom: (from, to) => span.look(from, to),
      signal,
    });
}

// The time, the instant within it, and the curve of the whole time below.
function slider(page) {
  const { span } = page;
  const input = h('input', { type: 'range', min: 0, max: STEPS, step: 1, id: 'instant', 'aria-label': 'Instant' });
  const shown = h('b.num');
  const found = h('span.dim');
  const chosen = () => Math.min(span.from + (span.length * Number(input.value)) / STEPS, span.to);
  const say = (at, digits) => {
    fill(shown, time(instant(at), digits, 'full'), ' ', zoneName());
    input.setAttribute('aria-valuetext', instant(at));
  };
  input.addEventListener('input', () => say(chosen(), 3));
  // One audit when the slider is let go, none while it moves.
  input.addEventListener('change', () => ask(page, { at: instant(chosen()) }));
  const now = button('Now', () => ask(page, {}), { title: 'The newest instant that is final' });
  const draw = () => {
    const part = (page.at - span.from) / span.length;
    input.value = Math.round(Math.max(0, Math.min(1, part)) * STEPS);
    say(page.at, 6);
    const { length } = page.ticks;
    fill(
      found,
      `${counted(length, 'snapshot')}${length === TICKS ? ' or more' : ''} in this time · step with `,
      h('kbd', '['),
      ' ',
      h('kbd', ']'),
    );
  };
  const typed = h('input', {
    id: 'typed',
    placeholder: '-5m or 2026-01-31 12:00',
    'aria-label': 'Instant, in words',
    spellcheck: 'false',
    size: 21,
  });
  const form = h('form.inline', typed, h('button.btn', { type: 'submit' }, 'Go'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (typed.value.trim()) ask(page, { at: instantOf(typed.value) });
  });
  const element = card(
    'At which instant',
    { name: 'slide', sub: shown, right: [form, now, span.controls] },
    h('div.slide', input),
    page.curve,
    h('p.note', found),
  );
  return { element, draw, focus: () => typed.focus() };
}

async function ask(page, query, { isFirst } = {}) {
  const number = (page.asked = (page.asked ?? 0) + 1);
  try {
    const answer = await get('v1/audit', query, page.signal);
    if (number !== page.asked) return;
    page.at = micros(answer.at);
    take(page, answer, isFirst);
    const { span } = page;
    // The curve follows an instant that lies outside of it.
    if (!isFirst && (page.at < span.from || page.at > span.to + AHEAD)) span.center(page.at);
    page.slider.draw();
    drawCurve(page);
  } catch (problem) {
    if (!page.signal.aborted) fill(page.answer, refused(problem));
  }
}

const refused = ({ title, message, since }) =>
  h(
    'section.card',
    h(
      'div.empty',
      { role: 'alert' },
      h('b', title),
      message,
      since && [
        h('br'),
        'The earliest instant that can be asked for: ',
        link(`#/audit?at=${encodeURIComponent(since)}`, time(since, 6, 'full'), ' ', zoneName()),
      ],
    ),
  );

function jump(page, by) {
  const times = page.ticks.map(({ initiated_at }) => micros(initiated_at)).sort((one, other) => one - other);
  const next = by > 0 ? times.find((at) => at > page.at) : times.findLast((at) => at < page.at);
  if (next !== undefined) ask(page, { at: instant(next) });
}

// Each instant that was asked for is a step of the history of the tab.
function take(page, answer, isFirst) {
  const { token } = answer.cut;
  const change = isFirst ? 'replaceState' : 'pushState';
  history[change](
    null,
    '',
    token && answer.complete ? `#/audit?cut=${token}` : `#/audit?at=${encodeURIComponent(answer.at)}`,
  );
  fill(
    page.answer,
    missing(answer),
    totals(answer),
    h(
      'div.three',
      inFlight(answer),
      processesAt(answer),
      certificate(
        { ...answer, status: answer.complete ? 'complete' : 'partial' },
        { kinds: ['consistent_cut', 'conservation'] },
      ),
    ),
  );
}
