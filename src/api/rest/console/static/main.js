// Begins: asks the node who it is, and shows the page that the fragment names. `#/snapshots/ID?x=y` never reaches the server,
// so any id fits in it and a proxy may put the console under another path.

import { listen } from './frame/keys.js';
import * as shell from './frame/shell.js';
import { signIn } from './frame/sign_in.js';
import { Problem, onUnauthenticated } from './node/api.js';
import * as live from './node/live.js';
import { may, meet, node } from './node/node.js';
import * as account from './pages/account.js';
import * as audit from './pages/audit.js';
import * as cluster from './pages/cluster.js';
import * as compare from './pages/compare.js';
import * as overview from './pages/overview.js';
import * as snapshot from './pages/snapshot.js';
import * as snapshots from './pages/snapshots.js';

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
    shell.reading();
    await page.show({ ...route, signal, room: shell.room() });
  } catch (error) {
    if (signal.aborted || error.status === 401) return;
    if (!(error instanceof Problem)) console.error(error);
    shell.top(error.title ?? 'This page failed');
    shell.failed(error, route.section);
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
