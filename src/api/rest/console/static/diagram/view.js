// The space-time diagram on the page: zoom and pan, the arrow keys, what the chosen arrow says, and the file.

import { bind } from '../frame/keys.js';
import { button, card, fill, h, s } from '../values/dom.js';
import { count, counted } from '../values/money.js';
import { offset } from '../values/time.js';
import { draw, labelOf, tint } from './draw.js';
import { crossing, geometry, isCut, modelOf, recordedIn, sceneOf } from './model.js';
import { saveSvg } from './svg_file.js';

/** What can be asked for around the cut. */
const AROUND = ['5ms', '20ms', '100ms', '1s', '10s'];
const ZOOM = 1.5;
/** The narrowest view, in microseconds. */
const NARROWEST = 50;

/** The card. `reread(around)` asks for another window and gives its answer. */
export class Diagram {
  constructor(answer, { name, around, isPartial, reread, signal }) {
    Object.assign(this, { name, isPartial, reread, signal });
    this.onlyCrossing = false;
    this.chosen = null;
    this.figure = h('figure.diagram');
    this.told = h('p.told', { id: 'told', 'aria-live': 'polite' });
    this.legend = h('div.legend');
    this.element = card(
      'How the cut was taken',
      {
        name: 'diagram',
        sub: 'each line is a process; time runs to the right, by its own clock',
        right: this.controls(around),
      },
      this.legend,
      this.figure,
      this.told,
    );
    this.take(answer);
    new ResizeObserver(() => this.redraw()).observe(this.figure);
    this.listen();
  }

  /** Shows another answer. */
  take(answer) {
    this.model = modelOf(answer);
    fill(this.legend, legend(this.model, this.isPartial));
    this.fit();
  }

  fit() {
    const { from, to } = this.model;
    this.look(from, Math.max(to, from + NARROWEST));
  }

  look(from, to) {
    this.view = { from, to };
    this.redraw();
  }

  controls(around) {
    const which = h(
      'span.seg.small',
      { role: 'group', 'aria-label': 'Messages shown' },
      [
        [false, 'All messages'],
        [true, 'Only what crosses'],
      ].map(([only, label]) =>
        h(
          'button',
          {
            type: 'button',
            'aria-pressed': String(only === this.onlyCrossing),
            onclick: (event) => this.show(only, event.currentTarget),
          },
          label,
        ),
      ),
    );
    const select = h(
      'select',
      { 'aria-label': 'Time around the cut', title: 'Messages from this long before the cut to this long after it' },
      AROUND.map((value) =>
        h('option', { value, selected: value === around }, `± ${value.replace(/(\d)([a-z])/, '$1 $2')}`),
      ),
    );
    select.addEventListener('change', async () => this.take(await this.reread(select.value)));
    const zoom = h(
      'span.seg.small',
      { role: 'group', 'aria-label': 'Zoom' },
      h(
        'button',
        { type: 'button', 'aria-label': 'Zoom out', title: 'Zoom out (−)', onclick: () => this.zoom(1 / ZOOM) },
        '−',
      ),
      h('button', { type: 'button', title: 'All of it (0)', onclick: () => this.fit() }, 'Fit'),
      h(
        'button',
        { type: 'button', 'aria-label': 'Zoom in', title: 'Zoom in (+)', onclick: () => this.zoom(ZOOM) },
        '+',
      ),
    );
    return [
      which,
      select,
      zoom,
      button(
        'SVG',
        () => saveSvg(this.figure.querySelector('svg'), `${this.name}.svg`, `The cut of snapshot ${this.name}`),
        { class: 'link', title: 'Save the picture' },
      ),
    ];
  }

  show(only, pressed) {
    this.onlyCrossing = only;
    for (const one of pressed.parentNode.children) one.setAttribute('aria-pressed', String(one === pressed));
    this.redraw();
  }

  // Zooms around a place, given as a part of the view.
  zoom(factor, part = 0.5) {
    const { from, to } = this.view;
    const span = Math.max(NARROWEST, Math.min((to - from) / factor, (this.model.to - this.model.from) * 4));
    const at = from + (to - from) * part;
    this.look(at - span * part, at + span * (1 - part));
  }

  // Moves by a part of the view, never past what was asked for.
  pan(part) {
    const { from, to } = this.view;
    const span = to - from;
    const low = Math.min(this.model.from, from);
    const high = Math.max(this.model.to, to);
    const begin = Math.max(low, Math.min(high - span, from + span * part));
    this.look(begin, begin + span);
  }

  redraw() {
    const width = this.figure.clientWidth - 32;
    if (width <= 0) return;
    const place = geometry(this.model, { width, ...this.view });
    this.place = place;
    this.scene = sceneOf(this.model, place, this);
    const hadFocus = this.figure.contains(document.activeElement);
    fill(this.figure, draw(this.model, place, this.scene, this));
    if (hadFocus) this.figure.querySelector('.cross[tabindex="0"]')?.focus({ preventScroll: true });
    fill(this.told, this.tell());
  }

  tell() {
    const bundle = this.scene.crossings.find(({ messages }) => messages.includes(this.chosen));
    if (bundle) return tellOne(bundle, this.model);
    const crosses = crossing(this.model);
    const waiting = this.model.messages.filter(
      ({ delivered, crosses: across, sent }) => delivered === null && !across && sent !== null,
    );
    return [
      crosses.length > 0
        ? [
            h('b.flight', `${counted(crosses.length, 'message')} crossed the cut`),
            ': sent before the sender recorded, delivered after the receiver had. None goes the other way. Step through with ',
            h('kbd', '←'),
            ' ',
            h('kbd', '→'),
            '. ',
          ]
        : 'No message crossed the cut: every channel that is known was empty. ',
      this.isPartial &&
        waiting.length > 0 && [
          h('b', { css: { color: tint(true) } }, counted(waiting.length, 'message')),
          ` ${waiting.length === 1 ? 'was' : 'were'} not delivered in this time. `,
        ],
      ...this.bounds(),
    ];
  }

  // What the picture leaves out, or draws together.
  bounds() {
    const { scene, model } = this;
    const said = [];
    const given = `The node gave ${counted(model.messages.length, 'message')}`;
    if (isCut(model)) said.push(`${given} of the ${count(recordedIn(model))} that cross. `);
    else if (model.truncated) said.push(`${given} and has more; all that cross are among them. `);
    if (scene.isCoarse)
      said.push(
        `${count(scene.inArrows)} other messages are drawn as ${count(scene.arrows.length)} arrows; zoom in to part them. `,
      );
    if (scene.left.other) said.push(`${count(scene.left.other)} others are not drawn. `);
    if (scene.left.crossing) {
      said.push(`${count(scene.left.crossing)} that cross are not drawn: the table below has all of them. `);
    }
    if (scene.markers.shown.length < scene.markers.all)
      said.push(`Of ${count(scene.markers.all)} markers the first to reach each process is drawn. `);
    return said;
  }

  choose(i, focus) {
    const { crossings } = this.scene;
    this.chosen = crossings[i]?.messages[0] ?? null;
    this.redraw();
    if (focus) this.figure.querySelector('.cross[tabindex="0"]')?.focus({ preventScroll: true });
  }

  step(by) {
    const { crossings } = this.scene;
    if (!crossings.length) return;
    const now = crossings.findIndex(({ messages }) => messages.includes(this.chosen));
    const next = now < 0 ? (by > 0 ? 0 : crossings.length - 1) : (now + by + crossings.length) % crossings.length;
    this.choose(next, true);
  }

  listen() {
    const { figure, signal } = this;
    figure.addEventListener('click', (event) => {
      const one = event.target.closest('[data-i]');
      if (one) this.choose(Number(one.dataset.i), true);
    });
    figure.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      const one = event.target.closest('.cross');
      if (!one) return;
      event.preventDefault();
      this.choose(Number(one.dataset.i), true);
    });
    for (const [key, what, run] of [
      ['ArrowRight', 'Next message that crosses', () => this.step(1)],
      ['ArrowLeft', 'The one before', () => this.step(-1)],
      ['Escape', 'None chosen', () => this.choose(-1)],
      ['+', 'Zoom in', () => this.zoom(ZOOM)],
      ['-', 'Zoom out', () => this.zoom(1 / ZOOM)],
      ['0', 'All of it', () => this.fit()],
      ['[', 'Earlier', () => this.pan(-0.25)],
      [']', 'Later', () => this.pan(0.25)],
    ])
      bind(key, what, run, signal);
    figure.addEventListener('wheel', (event) => this.wheeled(event), { passive: false });
    figure.addEventListener('pointerdown', (event) => this.hold(event));
  }

  // A wheel alone scrolls the page, as everywhere.
  wheeled(event) {
    const { left, right, outer } = this.place;
    if (event.ctrlKey || event.metaKey) {
      const box = this.figure.querySelector('svg').getBoundingClientRect();
      const part = Math.max(0, Math.min(1, (event.clientX - box.left - left) / (outer - left - right)));
      this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, part);
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.pan(event.deltaX / (outer - left - right));
    } else return;
    event.preventDefault();
  }

  hold(event) {
    if (event.button !== 0 || event.target.closest('[data-i]')) return;
    const { figure } = this;
    const { left, right, outer } = this.place;
    let last = event.clientX;
    const moved = (move) => {
      this.pan((last - move.clientX) / (outer - left - right));
      last = move.clientX;
    };
    figure.classList.add('held');
    figure.setPointerCapture(event.pointerId);
    figure.addEventListener('pointermove', moved);
    const release = () => {
      figure.classList.remove('held');
      figure.removeEventListener('pointermove', moved);
    };
    figure.addEventListener('pointerup', release, { once: true });
    figure.addEventListener('pointercancel', release, { once: true });
  }
}

function tellOne(bundle, { cut }) {
  const { from, to, sent, delivered } = bundle.messages[0];
  const some = bundle.messages.length;
  const [sender, receiver] = [cut.get(from), cut.get(to)].map(offset);
  const when = delivered === cut.get(to) ? 'by the turn in which' : 'after';
  const times =
    sent === null || delivered === null
      ? ` · recorded by ${to}; the journals that say when are not kept or not reached.`
      : ` · sent ${offset(sent)}, before ${from} recorded (${sender}) · delivered ${offset(delivered)}, ${when} ` +
        `${to} recorded (${receiver}): it was on its way.`;
  return [h('b.flight', `${from} → ${to}  ${labelOf(bundle)}`), ` in ${counted(some, 'message')}`, times];
}

function legend(model, isPartial) {
  const key = (picture, text) => h('span.key', picture, text);
  const dash = (stroke, width, dashes) =>
    s(
      'svg',
      { width: 24, height: 10, 'aria-hidden': 'true' },
      s('line', { x1: 1, x2: 23, y1: 5, y2: 5, stroke, 'stroke-width': width, 'stroke-dasharray': dashes ?? null }),
    );
  const waits = model.messages.some(({ delivered, crosses }) => delivered === null && !crosses);
  const stub = model.isWhole ? 'var(--message)' : 'var(--partial)';
  return [
    key(
      s(
        'svg',
        { width: 14, height: 14, 'aria-hidden': 'true' },
        s('path', { d: 'M7 1l6 6-6 6-6-6z', fill: tint(isPartial) }),
      ),
      'state recorded',
    ),
    key(dash(tint(isPartial), 2.6, isPartial ? '7 4' : null), 'the cut'),
    key(dash('var(--ink)', 1.4, '4 3'), 'marker'),
    key(dash('var(--flight)', 2.2), 'in flight: crosses the cut'),
    key(dash('var(--message)', 1.4), 'other message'),
    key(
      s(
        'svg',
        { width: 24, height: 10, 'aria-hidden': 'true' },
        s('rect', { x: 1, y: 3, width: 22, height: 4, rx: 2, fill: 'var(--flight)', 'fill-opacity': 0.32 }),
      ),
      'channel recorded until its marker',
    ),
    waits &&
      key(
        s(
          'svg',
          { width: 24, height: 10, 'aria-hidden': 'true' },
          s('line', { x1: 1, x2: 17, y1: 5, y2: 5, stroke: stub, 'stroke-width': 1.3 }),
          s('circle', { cx: 19, cy: 5, r: 2.6, fill: 'none', stroke: stub, 'stroke-width': 1.3 }),
        ),
        model.isWhole ? 'delivered later than this time' : 'not delivered in this time',
      ),
  ];
}
