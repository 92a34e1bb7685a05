// Taking a snapshot from the page.

import { change, path } from './api.js';
import { note } from './shell.js';

/** Starts one and goes to its page. */
export async function take() {
  try {
    const begun = await change('POST', 'v1/snapshots');
    location.hash = path`#/snapshots/${begun.snapshot_id}`;
  } catch (problem) {
    note(problem.message);
  }
}
