// Streams of events (HTML, "Server-sent events"). Read with `fetch`, because an `EventSource` cannot send a token.

import { send } from './api.js';
import { parse } from './json.js';

/**
 * Asks for a stream and gives its events, `{id, type, data}`, until it ends. `after` is the id of the last event that is known.
 * `heard` is called whenever the node says anything. An answer without content is a stream without events.
 */
export async function* events(target, { signal, after = null, heard = () => {} } = {}) {
  const headers = after === null ? {} : { 'last-event-id': after };
  const answer = await send(target, { accept: 'text/event-stream', headers, signal });
  heard();
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const event = eventOf(block);
      if (event) yield event;
    }
  }
}

// The lines of one event; a comment, which keeps the connection, is none.
function eventOf(block) {
  const event = { id: null, type: 'message', data: [] };
  for (const line of block.split('\n')) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === 'id') event.id = value;
    else if (field === 'event') event.type = value;
    else if (field === 'data') event.data.push(value);
  }
  return event.data.length ? { ...event, data: parse(event.data.join('\n')) } : null;
}
