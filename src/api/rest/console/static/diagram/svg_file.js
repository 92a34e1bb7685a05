// A picture of the page as a file: the colours of the present scheme are written into it.

import { s } from '../values/dom.js';

const KEPT = ['fill', 'stroke', 'font-size', 'font-weight', 'text-anchor'];

/** Saves a copy of an SVG element that stands alone. */
export function saveSvg(svg, name, title) {
  const copy = svg.cloneNode(true);
  const originals = [svg, ...svg.querySelectorAll('*')];
  const copies = [copy, ...copy.querySelectorAll('*')];
  originals.forEach((original, i) => plain(original, copies[i]));
  const { width, height } = svg.viewBox.baseVal;
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  copy.setAttribute('font-family', 'Inter, system-ui, sans-serif');
  copy.prepend(
    s('title', title),
    s('rect', { width, height, fill: getComputedStyle(document.documentElement).backgroundColor }),
  );
  const file = new Blob([new XMLSerializer().serializeToString(copy)], { type: 'image/svg+xml' });
  const address = URL.createObjectURL(file);
  const anchor = document.createElement('a');
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function plain(original, copy) {
  const style = getComputedStyle(original);
  for (const property of KEPT)
    if (original instanceof SVGGraphicsElement) copy.setAttribute(property, style.getPropertyValue(property));
  for (const name of [
    'class',
    'tabindex',
    'role',
    'aria-pressed',
    'aria-labelledby',
    'aria-describedby',
    'aria-hidden',
    'data-i',
  ])
    copy.removeAttribute(name);
}
