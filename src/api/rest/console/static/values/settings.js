// What the reader has chosen: zone and colours. Kept in this browser; nothing else is.

const DEFAULTS = { zone: 'UTC', theme: 'system' };
const KEY = 'snapledger.console';
const listeners = new Map();

function stored() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY)) };
  } catch {
    return { ...DEFAULTS };
  }
}

/** The present choices. */
export const settings = stored();

/** Changes one and tells those who follow it. */
export function set(name, value) {
  settings[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // A browser that keeps nothing still shows the page.
  }
  for (const listener of listeners.get(name) ?? []) listener(value);
}

/** Calls when a choice changes. With a signal, until it is aborted. */
export function onSetting(name, listener, signal) {
  if (!listeners.has(name)) listeners.set(name, new Set());
  listeners.get(name).add(listener);
  signal?.addEventListener('abort', () => listeners.get(name).delete(listener));
}

/** Applies the colours that are chosen. */
export function applyTheme() {
  const root = document.documentElement;
  if (settings.theme === 'system') delete root.dataset.theme;
  else root.dataset.theme = settings.theme;
}

/** Light, or dark if it is light now. */
export function otherTheme() {
  const isDark =
    settings.theme === 'system' ? matchMedia('(prefers-color-scheme: dark)').matches : settings.theme === 'dark';
  set('theme', isDark ? 'light' : 'dark');
}
