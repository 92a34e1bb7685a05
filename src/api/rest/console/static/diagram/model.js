// The space-time diagram of a cut, as values: what is drawn where. Nothing here touches the page.
//
// Times are microseconds from the first recording; each process has its own clock, so an arrow can lean backwards by as much as the
// clocks differ. Which messages cross the cut is said by the node, from the positions in the journals, and never read off times.

import { collate } from '../node/node.js';
import { sum } from '../values/money.js';
import { micros } from '../values/time.js';

/** More arrows than these are drawn as bundles. */
export const ARROWS_MAX = 400;
/** The same for arrows that cross the cut, each of which is a stop of the keyboard. */
export const CROSSING_MAX = 40;
/** More markers than these are reduced to the first that reached each process. */
const MARKERS_MAX = 60;
/** With more processes the recordings of all channels to one process are one bar. */
const BARS_PER_LANE_MAX = 4;

/** The answer of `/diagram` with times from the first recording on. */
export function modelOf(answer) {
  const recorded = answer.processes
    .map(({ recorded_at }) => recorded_at)
    .filter(Boolean)
    .map(micros);
  const start = recorded.length ? Math.min(...recorded) : micros(answer.from);
  const since = (iso) => (iso ? micros(iso) - start : null);
  const lanes = [...answer.processes]
    .sort((one, other) => collate(one.process, other.process))
    .map((one) => ({ ...one, at: since(one.recorded_at) }));
  return {
    start,
    lanes,
    row: new Map(lanes.map(({ process }, i) => [process, i])),
    cut: new Map(lanes.filter(({ at }) => at !== null).map(({ process, at }) => [process, at])),
    channels: answer.channels.map((one) => ({ ...one, closed: since(one.closed_at) })),
    messages: answer.messages.map((one) => ({ ...one, sent: since(one.sent_at), delivered: since(one.delivered_at) })),
    from: since(answer.from),
    to: since(answer.to),
    truncated: answer.truncated,
    isWhole: answer.status === 'complete',
  };
}

/** The width of the cut: from the first recording to the last. */
export const width = ({ cut }) => (cut.size ? Math.max(...cut.values()) - Math.min(...cut.values()) : null);

/** The messages that cross the cut, channel by channel and in their order. */
export const crossing = ({ messages }) =>
  messages
    .filter(({ crosses }) => crosses)
    .sort((one, other) => collate(one.from, other.from) || collate(one.to, other.to) || one.sequence - other.sequence);

/** How many messages the channels hold that are known. */
export const recordedIn = ({ channels }) => channels.reduce((all, { messages }) => all + (messages ?? 0), 0);

/** Whether even the crossing messages are more than the node gave: they come first, so then there are no others. */
export const isCut = ({ truncated, messages }) => truncated && messages.every(({ crosses }) => crosses);

/** The channels whose crossing messages are not those that the snapshot recorded, as sentences: there should be none. */
export function contradictions(model, channels) {
  if (isCut(model)) return [];
  const key = ({ from, to }) => `${from} → ${to}`;
  const drawn = new Map();
  for (const message of crossing(model)) {
    const at = drawn.get(key(message)) ?? { messages: 0, amount: 0n };
    drawn.set(key(message), { messages: at.messages + 1, amount: at.amount + BigInt(message.amount ?? 0) });
  }
  return channels.flatMap((one) => {
    const { messages, amount } = drawn.get(key(one)) ?? { messages: 0, amount: 0n };
    const isSame = messages === one.messages && amount === BigInt(one.amount);
    return isSame ? [] : [`${key(one)}: ${one.messages} recorded, ${messages} drawn`];
  });
}

/** Where things are: `x` of a time, `y` of a process. */
export function geometry(model, { width: outer, from, to }) {
  const isNarrow = outer < 620;
  const left = isNarrow ? 74 : 124;
  const right = isNarrow ? 6 : 16;
  const count = model.lanes.length;
  const gap = Math.max(26, Math.min(92, 560 / Math.max(count - 1, 1)));
  const first = 58;
  const inner = outer - left - right;
  return {
    outer,
    left,
    right,
    gap,
    first,
    from,
    to,
    isNarrow,
    bottom: first + gap * (count - 1) + 34,
    height: first + gap * (count - 1) + 64,
    x: (time) => left + ((time - from) / (to - from)) * inner,
    time: (x) => from + ((x - left) / inner) * (to - from),
    y: (process) => first + gap * model.row.get(process),
  };
}

// Where an arrow begins and ends. A time that is not known is drawn at the cut, or as a stub, and says so by its dashes.
function ends(message, model, { x, y }) {
  const { from, to, sent, delivered, crosses } = message;
  const [y1, y2] = [y(from), y(to)];
  const atCut = (process, shift) => x(model.cut.get(process) ?? 0) + shift;
  if (crosses) {
    // Sent before the sender's cut, and delivered after both the receiver's cut and the sending.
    const x1 = sent === null ? atCut(from, -16) : x(sent);
    const x2 = delivered === null ? Math.max(atCut(to, 16), x1 + 32) : x(delivered);
    return { x1, y1, x2, y2, known: sent !== null && delivered !== null };
  }
  if (delivered === null)
    return {
      x1: x(sent),
      y1,
      x2: x(sent) + 20,
      y2: y1 + Math.sign(y2 - y1) * Math.min(30, Math.abs(y2 - y1) * 0.4),
      known: false,
      waits: true,
    };
  if (sent === null)
    return {
      x1: x(delivered) - 20,
      y1: y2 - Math.sign(y2 - y1) * Math.min(30, Math.abs(y2 - y1) * 0.4),
      x2: x(delivered),
      y2,
      known: false,
    };
  return { x1: x(sent), y1, x2: x(delivered), y2, known: true };
}

const inView = ({ x1, x2 }, { left, outer }) => Math.max(x1, x2) >= left && Math.min(x1, x2) <= outer;

// Messages of one turn that arrive in one turn are one arrow. If that leaves too many, those that lie within the same few
// pixels are, with cells that double until it is few enough.
function bundled(placed, most) {
  const same = ({ message: m }) =>
    [
      m.from,
      m.to,
      m.sent_position,
      m.delivered_position,
      m.sent === null && m.delivered === null ? m.sequence : '',
    ].join();
  let bundles = joined(placed, same);
  const isCoarse = bundles.length > most;
  for (let cell = 3; bundles.length > most && cell < 4096; cell *= 2) {
    bundles = joined(placed, ({ message: m, x1, x2, waits }) =>
      [m.from, m.to, Math.floor(x1 / cell), Math.floor(x2 / cell), waits].join(),
    );
  }
  return { bundles: bundles.slice(0, most), isCoarse };
}

function joined(placed, keyOf) {
  const found = new Map();
  for (const one of placed) {
    const key = keyOf(one);
    const bundle = found.get(key);
    if (bundle) bundle.messages.push(one.message);
    else found.set(key, { ...one, messages: [one.message] });
  }
  return [...found.values()];
}

/** Everything that is drawn for a view: arrows, markers, bars of recorded channels, and how many messages the arrows stand for. */
export function sceneOf(model, place, { onlyCrossing }) {
  const placed = model.messages
    .filter(({ sent, delivered, crosses }) => crosses || sent !== null || delivered !== null)
    .map((message) => ({ message, ...ends(message, model, place) }))
    .filter((one) => one.message.crosses || inView(one, place));
  const other = onlyCrossing ? [] : placed.filter(({ message }) => !message.crosses);
  const across = placed.filter(({ message }) => message.crosses);
  const { bundles: arrows, isCoarse } = bundled(other, ARROWS_MAX);
  const crossings = bundled(across, CROSSING_MAX)
    .bundles.map((bundle) => ({
      ...bundle,
      amount: sum(bundle.messages.map(({ amount }) => amount ?? 0)),
      transfers: bundle.messages.filter(({ amount }) => amount !== undefined && amount !== null).length,
    }))
    .sort((one, two) => one.x1 - two.x1);
  const within = (bundles) => bundles.reduce((all, { messages }) => all + messages.length, 0);
  const [inArrows, inCrossings] = [arrows, crossings].map(within);
  const left = { other: other.length - inArrows, crossing: across.length - inCrossings };
  return { arrows, crossings, inArrows, isCoarse, left, markers: markersOf(model), bars: barsOf(model) };
}

// A marker leaves when its sender records and closes the channel where it arrives.
function markersOf({ channels, cut }) {
  const all = channels
    .filter(({ from, closed }) => closed !== null && cut.has(from))
    .map(({ from, to, closed }) => ({ from, to, sent: cut.get(from), closed }));
  if (all.length <= MARKERS_MAX) return { shown: all, all: all.length };
  const first = new Map();
  for (const one of all) if (!first.has(one.to) || one.closed < first.get(one.to).closed) first.set(one.to, one);
  return { shown: [...first.values()], all: all.length };
}

// A channel is recorded from the receiver's recording until its marker; one whose marker has not come is open. Of a complete
// snapshot every marker came, also where its time is not known any more.
function barsOf({ channels, cut, lanes, isWhole }) {
  const isCrowded = lanes.length > BARS_PER_LANE_MAX;
  return [...cut].flatMap(([process, begun]) => {
    const bars = channels
      .filter(({ to }) => to === process)
      .map(({ from, closed, messages }) => ({ process, from, begun, closed, open: messages === null && !isWhole }));
    const shut = bars.filter(({ closed }) => closed !== null && closed > begun);
    const open = bars.filter((one) => one.open);
    return [...(isCrowded ? asOne(shut) : shut), ...asOne(open)];
  });
}

// Several bars of one process as one, as long as the longest.
function asOne(bars) {
  if (bars.length < 2) return bars;
  const closed = bars[0].open ? null : Math.max(...bars.map((one) => one.closed));
  return [{ ...bars[0], from: null, closed, count: bars.length }];
}

/** Round times for the axis: about one for each 110 pixels. */
export function ticksOf({ from, to, outer, left, right }) {
  const wanted = (to - from) / Math.max(2, (outer - left - right) / 110);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = Math.max(
    1,
    [1, 2, 5, 10].map((n) => n * power).find((n) => n >= wanted),
  );
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push(at);
  return { ticks, step };
}

/** Places for labels on lines: tries points along each line until it meets no other label and no lane. Null where there is none. */
export class Labels {
  constructor(place, lanes) {
    this.place = place;
    this.lanes = place.gap >= 40 ? lanes.map(({ process }) => place.y(process)) : [];
    this.taken = [];
  }

  find({ x1, y1, x2, y2 }, wide, force) {
    const height = 18;
    for (const part of [0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78]) {
      const box = { x: x1 + (x2 - x1) * part - wide / 2, y: y1 + (y2 - y1) * part - height / 2, wide, height };
      if (this.isFree(box)) return this.keep(box);
    }
    const { left, outer } = this.place;
    const x = Math.max(left, Math.min(outer - wide, (x1 + x2 - wide) / 2));
    return force ? this.keep({ x, y: (y1 + y2 - height) / 2, wide, height }) : null;
  }

  isFree(box) {
    const { left, outer } = this.place;
    return (
      box.x >= left &&
      box.x + box.wide <= outer &&
      this.lanes.every((y) => y < box.y - 6 || y > box.y + box.height + 6) &&
      this.taken.every(
        (one) =>
          box.x + box.wide < one.x ||
          one.x + one.wide < box.x ||
          box.y + box.height < one.y ||
          one.y + one.height < box.y,
      )
    );
  }

  keep(box) {
    this.taken.push(box);
    return box;
  }
}
