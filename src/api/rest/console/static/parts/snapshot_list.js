// A list of snapshots, newest first, and what events change in it.

/**
 * The list with an entry at its place. Unless the list `isWhole`, an entry that is older than all that were read is not put in:
 * it would stand before others that were not read. A snapshot that is published is not in progress again, whatever is told late.
 */
export function withEntry(list, entry, isWhole) {
  const at = list.findIndex(({ snapshot_id }) => snapshot_id === entry.snapshot_id);
  if (at >= 0) {
    const isLate = entry.status === 'in_progress' && list[at].status !== 'in_progress';
    return isLate ? list : list.with(at, { ...list[at], ...entry });
  }
  // A pin alone does not say what it pins.
  if (!entry.status) return list;
  const place = list.findIndex((one) => !isOlder(entry, one));
  if (place >= 0) return list.toSpliced(place, 0, entry);
  return isWhole || !list.length ? [...list, entry] : list;
}

// What another process has begun has no time yet, and is new.
const isOlder = ({ initiated_at: one }, { initiated_at: other }) => one && (!other || one < other);
