// JSON whose integers are exact: what a double cannot hold becomes a BigInt.

const INTEGER = /^-?\d+$/;

// The reviver gets the source text since ECMAScript 2025; older engines read the text with `quoted` below.
const hasSource = (() => {
  let seen = false;
  JSON.parse('1', (_, value, context) => ((seen = context?.source === '1'), value));
  return seen;
})();

/** The value of a JSON text. */
export function parse(text) {
  if (!hasSource) return parseQuoted(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && INTEGER.test(context.source)
      ? BigInt(context.source)
      : value,
  );
}

const MARK = '\u0000n';

/** The same without source texts: long integers are quoted before the parser sees them. Exported for its test. */
export function parseQuoted(text) {
  return JSON.parse(quoted(text), (_, value) =>
    typeof value === 'string' && value.startsWith(MARK) ? exact(value.slice(MARK.length)) : value,
  );
}

function exact(digits) {
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : BigInt(digits);
}

// Strings are matched whole and stay as they are, so digits within them are never taken for numbers. A string of the text cannot
// begin with the mark: JSON writes the character U+0000 as an escape, and the mark ends up behind one only here.
function quoted(text) {
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
    token.length > 15 && INTEGER.test(token) ? `"\\u0000n${token}"` : token,
  );
}
