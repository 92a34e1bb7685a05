// Taking a snapshot from the page: an operator's act. Programs of auditors may, too.

import { bind } from '../frame/keys.js';
import { note } from '../frame/shell.js';
import { change, path } from '../node/api.js';
import { may } from '../node/node.js';
import { button } from '../values/dom.js';

/** The button, and its key while the page is shown; nothing for those who may not operate. */
export function takes(signal) {
  if (!may('operate')) return [];
  bind('s', 'Take snapshot', take, signal);
  return [takeButton()];
}

/** The button alone. */
export const takeButton = () => button('Take snapshot', take, { primary: true, key: 's', 'data-take': 'yes' });

const WAIT_MS = 10_000;
let isTaking = false;

// Goes to its page, unless the reader has gone elsewhere meanwhile.
async function take() {
  if (isTaking) return;
  isTaking = true;
  const buttons = [...document.querySelectorAll('[data-take]')];
  for (const one of buttons) one.disabled = true;
  const from = location.hash;
  try {
    const begun = await change('POST', 'v1/snapshots', undefined, {}, AbortSignal.timeout(WAIT_MS));
    if (location.hash === from) location.hash = path`#/snapshots/${begun.snapshot_id}`;
    else note(`Snapshot ${begun.snapshot_id} is being taken.`);
  } catch (problem) {
    const isSilent = problem.name === 'TimeoutError' || problem.status === 0;
    note(
      isSilent ? 'The node does not answer. A snapshot may be taken later; the list will show it.' : problem.message,
    );
  }
  for (const one of buttons) one.disabled = false;
  isTaking = false;
}
