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
export const takeButton = () => button('Take snapshot', take, { primary: true, key: 's' });

async function take() {
  try {
    const begun = await change('POST', 'v1/snapshots');
    location.hash = path`#/snapshots/${begun.snapshot_id}`;
  } catch (problem) {
    note(problem.message);
  }
}
