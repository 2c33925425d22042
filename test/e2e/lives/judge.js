// Decides whether the outcome of a request is right: the answer to this request through the route that was selected, or
// an error with a cause that the tests made.

import { BEHAVIOURS, bodyOf } from './site.js';

/** The codes of a connection that broke, in all APIs. */
const BROKEN =
  /^(?:ECONNRESET|EPIPE|ECONNABORTED|UND_ERR_SOCKET|UND_ERR_ABORTED|UND_ERR_RES_CONTENT_LENGTH_MISMATCH|INCOMPLETE|terminated)$/;
/** The codes of an agent or dispatcher that was closed. */
const ENDED = /^(?:ERR_SOCKS_CLOSED|UND_ERR_DESTROYED|UND_ERR_CLOSED)$/;
/** The codes of a request that its caller ended. */
const ABORTED = /^(?:AbortError|ABORT_ERR|20|UND_ERR_ABORTED|destroyed)$/;

/** The codes, names and messages of an error and of its causes. */
export function codesOf(error) {
  const codes = [];
  for (let at = error; at && codes.length < 10; at = at.cause) {
    codes.push(...[at.code, at.name, at.message].filter((code) => code !== undefined).map(String));
  }
  return codes;
}

const some = (codes, pattern) => codes.some((code) => pattern.test(code));

/** @returns what is wrong, or undefined */
export function judge(request, outcome) {
  if (request.chosen.length > 1) return `its selector was called ${request.chosen.length} times`;
  const [choice] = request.chosen;
  return outcome.error === undefined
    ? judgeAnswer(request, choice, outcome.answer)
    : judgeError(request, choice, codesOf(outcome.error), outcome.error);
}

function judgeAnswer({ id, path, body, behaviour, cancelled }, choice, { status, headers, body: got }) {
  if (!choice) return 'it was answered, and its selector was never called';
  if (choice.fails) return `it was answered, though ${choice.name} was chosen`;
  if (!BEHAVIOURS[behaviour]) return `it was answered, though its site would ${behaviour}`;
  if (status !== 200 || headers['x-id'] !== id || headers['x-path'] !== path) {
    return `it had the answer to ${headers['x-path']} (${status})`;
  }
  const through = headers['x-through'];
  if (through !== choice.name) return `it came through ${through}, and ${choice.name} was chosen`;
  const expected = behaviour === 'big' ? bodyOf(id, 300_000) : body;
  const whole = cancelled ? expected.subarray(0, got.length) : expected;
  if (!whole.equals(got)) return `its body has ${got.length} bytes, and ${expected.length} were sent`;
  return undefined;
}

function judgeError(request, choice, codes, error) {
  if (codes.includes('TWICE') || codes.includes('NO OUTCOME')) return codes.join(' ');
  if (request.aborted && some(codes, ABORTED)) return undefined;
  // A request that is destroyed before it has a socket fails with ECONNRESET.
  if ((request.aborted || request.cancelled) && some(codes, BROKEN)) return undefined;
  if (request.lifeEnded() && (some(codes, ENDED) || some(codes, BROKEN) || some(codes, ABORTED)))
    return undefined;
  if (choice?.fails === 'SELECTOR') {
    const own = `thrown for ${request.id}`;
    return codes.includes(own) ? undefined : `it failed otherwise than its selector: ${codes.join(' ')}`;
  }
  if (request.isImpatient && codes.includes('ERR_SOCKS_TIMEOUT')) return undefined;
  if (choice?.fails && !choice.endless && codes.includes(choice.fails)) return undefined;
  if (!BEHAVIOURS[request.behaviour] && some(codes, BROKEN)) return undefined;
  if (request.disturbed() && (some(codes, BROKEN) || codes.includes('ERR_SOCKS_PROXY_CLOSED')))
    return undefined;
  return `it failed for no reason: ${codes.join(' | ')}\n${error?.stack}`;
}
