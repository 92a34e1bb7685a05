// Begins: asks the node who it is, and shows the page that the fragment names. `#/snapshots/ID?x=y` never reaches the server,
// so any id fits in it and a proxy may put the console under another path.

import { Problem, onUnauthenticated } from './api.js';
import { fill } from './dom.js';
import { listen } from './keys.js';
import * as live from './live.js';
import { may, meet, node } from './node.js';
import * as shell from './shell.js';
import { signIn } from './sign_in.js';
import * as account from './account.js';
import * as audit from './audit.js';
import * as cluster from './cluster.js';
import * as compare from './compare.js';
import * as overview from './overview.js';
import * as snapshot from './snapshot.js';
import * as snapshots from './snapshots.js';

// Section, number of ids, page.
const ROUTES = [
  ['', 0, overview],
  ['snapshots', 0, snapshots],
  ['snapshots', 1, snapshot],
  ['audit', 0, audit],
  ['accounts', 0, account],
  ['accounts', 2, account],
  ['compare', 0, compare],
  ['cluster', 0, cluster],
];

let leave = new AbortController();

/** The section, ids and parameters of a fragment. */
function routed(hash) {
  const [path, search] = hash.replace(/^#?\/?/, '').split('?');
  const [section, ...ids] = path.split('/');
  return { section, ids: ids.filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(search ?? '') };
}

async function go() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  let route;
  try {
    route = routed(location.hash);
  } catch {
    route = { section: 'unknown', ids: [], query: new URLSearchParams() };
  }
  let page = ROUTES.find(([section, ids]) => section === route.section && ids === route.ids.length)?.[2];
  if (page === overview && !may('audit')) page = may('read') ? account : cluster;
  shell.show(route.section || 'overview');
  window.scrollTo(0, 0);
  try {
    if (!page) throw new Problem(404, { title: 'No such page', detail: 'The address names no page of the console.' });
    fill(shell.room());
    await page.show({ ...route, signal, room: shell.room() });
  } catch (error) {
    if (signal.aborted || error.status === 401) return;
    if (!(error instanceof Problem)) console.error(error);
    shell.top(error.title ?? 'This page failed');
    shell.failed(error);
  }
}

async function begin() {
  shell.frame();
  listen();
  onUnauthenticated((problem) => signIn(problem, restart));
  addEventListener('hashchange', go);
  await restart();
}

async function restart() {
  try {
    await meet();
  } catch (error) {
    if (error.status !== 401) {
      shell.top('No answer');
      shell.failed(error);
      setTimeout(restart, 3000);
    }
    return;
  }
  node.follows = may('audit');
  if (node.follows) live.begin();
  await go();
}

begin();
