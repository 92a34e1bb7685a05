// Elements from values. Text goes in as text nodes only, so nothing that an account or a snapshot is called can become markup.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element: `h('td.r', {title: 'why'}, 'text', child)`. The attributes may be left out. */
export const h = (selector, ...rest) => filled(document.createElement(selector.split('.')[0] || 'div'), selector, rest);

/** An SVG element, in the same way. */
export const s = (selector, ...rest) => filled(document.createElementNS(SVG, selector.split('.')[0]), selector, rest);

function filled(element, selector, rest) {
  const classes = selector.split('.').slice(1).join(' ');
  if (classes) element.setAttribute('class', classes);
  const [first] = rest;
  const isAttributes = first && Object.getPrototypeOf(first) === Object.prototype;
  if (isAttributes) attributes(element, rest.shift());
  add(element, rest);
  return element;
}

/** Sets attributes. `on…` adds a listener, `css` sets properties (an inline `style` would break the policy), false or null leaves out. */
export function attributes(element, given) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'css')
      for (const [property, to] of Object.entries(value)) element.style.setProperty(property, to);
    else element.setAttribute(name, value === true ? '' : value);
  }
}

/** Appends children: nodes, texts, numbers, lists of them; null and false are nothing. */
export function add(element, ...children) {
  for (const child of children.flat(5)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Puts children in the place of what an element has. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, ...children);
}

/** A card: a section with a heading, what is said beside it, and what stands at its right end. */
export function card(title, { sub, right, name }, ...children) {
  const id = `card-${name}`;
  return h(
    'section.card',
    { 'aria-labelledby': id },
    h('header', h('h2', { id }, title), sub && h('span.sub', sub), right && h('span.right', right)),
    children,
  );
}

/** A button. */
export const button = (label, onclick, { primary, key, ...more } = {}) =>
  h(
    primary ? 'button.btn.primary' : 'button.btn',
    { type: 'button', onclick, ...more },
    label,
    key && h('kbd', { 'aria-hidden': 'true' }, key),
  );

/** A link within the console, or to another page. */
export const link = (href, ...children) => h('a.link', { href }, children);

/** A link whose text is an id, which may be long. */
export const idLink = (href, id) => h('a.link.id', { href, title: id }, id);

/** A term and what it is, as in the row of figures. */
export const figure = (term, value, note) =>
  h('div.card.stat', h('div.dt', term), h('div.dd.num', value), note && h('small', note));

/** Text for a screen reader alone. */
export const spoken = (text) => h('span.vh', text);

/** A function that runs `draw` before the next frame, however often it is called until then. */
export function soon(draw) {
  let frame = null;
  return () => {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      draw();
    });
  };
}
