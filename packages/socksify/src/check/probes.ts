// The probes, each a function of its own, in a table. A probe opens connections of its own, writes what it finds out into
// the report, and throws the error that it wants to be listed. Probes of one stage run at the same time.

import { isIPv4, isIPv6 } from 'node:net';
import { handshake, SocksError } from '@socksify/core';
import type { AuthMethod, AuthPolicy, Bound, Destination, SocksProxy, Steps } from '@socksify/core';
import type { Certificate, Draft } from './report.ts';
import type { Wire, WireOptions } from './wire.ts';

/** A name that no server knows (RFC 6761), and addresses that no host has (RFC 5737, RFC 3849). */
export const NAME = { host: 'socksify-check.invalid', port: 80 } as const;
const IPV4 = { host: '192.0.2.1', port: 80 } as const;
const IPV6 = { host: '2001:db8::1', port: 80 } as const;

/** How a request ended. `tail`: what followed the first two bytes of a refusal. */
export interface Outcome {
  readonly bound?: Bound;
  readonly error?: SocksError;
  readonly tail?: Uint8Array;
  readonly ms: number;
}

/** What the probes saw of the server, for the conclusions, where no field of the report has it. */
export interface Habits {
  name?: Outcome;
  ipv4?: Outcome;
  ipv6?: Outcome;
  socks4?: Outcome;
  socks4a?: Outcome;
  destination?: Outcome;
  /** The errors of the greetings that offered one method. */
  greetings: SocksError[];
  /** When the server accepts no method, it closes and does not send `05 ff`. */
  closesOnNoMethod?: boolean;
  /** Which of the methods 00 and 02 the server chooses when both are offered. */
  prefers?: number;
  /** The server reads a request of SOCKS4 to its end before it refuses it. The same for SOCKS4A. */
  readsSocks4?: boolean | undefined;
  readsSocks4a?: boolean | undefined;
  http?: 'proxy' | 'server' | 'tor';
  tls?: 'socks5' | 'http' | 'other';
  /** Other protocols in which the server was spoken to without an answer. */
  silent: Set<string>;
}

export interface Context {
  /** As the caller gave it. */
  readonly proxy: SocksProxy;
  /** What the caller wants to connect to through the proxy: the option `target`. */
  readonly destination: Destination | undefined;
  readonly timeout: number;
  readonly idle: number | undefined;
  readonly report: Draft;
  readonly habits: Habits;
  /** Opens a connection, which is closed after the stage at the latest. */
  readonly open: (options?: Partial<Omit<WireOptions, 'signal'>>) => Promise<Wire>;
}

export interface Probe {
  readonly name: string;
  readonly stage: number;
  readonly when?: (context: Context) => boolean;
  readonly run: (context: Context) => Promise<void>;
}

export const PROBES: readonly Probe[] = [
  { name: 'dial', stage: 1, run: dial },
  { name: 'methods', stage: 2, when: isOpen, run: methods },
  { name: 'preference', stage: 3, when: acceptsBoth, run: preference },
  { name: 'authentication', stage: 3, when: canLogIn, run: authentication },
  { name: 'tor', stage: 3, when: acceptsBoth, run: http },
  { name: 'http', stage: 3, when: isUnknown, run: http },
  { name: 'tls', stage: 3, when: isUnknown, run: tls },
  { name: 'socks4', stage: 4, when: isOpen, run: socks4 },
  { name: 'socks4a', stage: 4, when: isOpen, run: socks4a },
  { name: 'names', stage: 4, when: canRequest, run: names },
  { name: 'ipv4', stage: 4, when: canRequest, run: ipv4 },
  { name: 'ipv6', stage: 4, when: canRequest, run: ipv6 },
  { name: 'target', stage: 4, when: hasDestination, run: tunnel },
  { name: 'pipelining', stage: 5, when: answersRequests, run: pipelining },
  { name: 'idle', stage: 6, when: hasIdle, run: idle },
];

function isOpen({ report, proxy }: Context): boolean {
  return report.reachable && (!proxy.tls || !!report.phases['proxy-tls']);
}

function isUnknown({ report }: Context): boolean {
  return report.reachable && report.versions.socks5 !== true;
}

function acceptsBoth({ report }: Context): boolean {
  return !!report.methods?.includes(NONE) && report.methods.includes(USERPASS);
}

function canLogIn({ report, proxy }: Context): boolean {
  return proxy.version === 5 && !!proxy.credentials && !!report.methods?.includes(USERPASS);
}

function canRequest(context: Context): boolean {
  return authOf(context) !== undefined;
}

function hasDestination(context: Context): boolean {
  return !!context.destination && isOpen(context) && (context.proxy.version === 4 || canRequest(context));
}

function answersRequests({ habits }: Context): boolean {
  return habits.name !== undefined && !/_TIMEOUT$|_PROTOCOL$/.test(habits.name.error?.code ?? '');
}

function hasIdle(context: Context): boolean {
  return context.idle !== undefined && canRequest(context);
}

const NONE = 0x00;
const GSSAPI = 0x01;
const USERPASS = 0x02;

/** Thrown when the server has chosen the method, so that the handshake ends there. */
class Chosen extends Error {
  readonly id: number;

  constructor(id: number) {
    super();
    this.id = id;
  }
}

function stopAt(id: number): AuthMethod {
  return {
    id,
    // oxlint-disable-next-line require-yield -- no message follows
    *authenticate() {
      throw new Chosen(id);
    },
  };
}

const WITHOUT: AuthMethod = {
  id: NONE,
  // oxlint-disable-next-line no-empty-function, require-yield -- this method has no messages
  *authenticate() {},
};

/** The proxy of the caller as one of SOCKS5 that resolves names. */
function as5({ proxy }: Context): SocksProxy {
  const { path, credentials } = proxy;
  const where = { host: proxy.host, port: proxy.port, ...(path !== undefined && { path }) };
  const login = proxy.version === 5 && credentials ? { credentials } : {};
  return { ...where, ...login, version: 5, dns: 'remote' };
}

function as4({ proxy }: Context): SocksProxy {
  const { host, port, path, credentials } = proxy;
  const login = proxy.version === 4 && credentials ? { credentials } : {};
  return { host, port, ...(path !== undefined && { path }), ...login, version: 4, dns: 'remote' };
}

/** The authentication with which a request can be sent; undefined when there is none. */
function authOf({ report, proxy }: Context): AuthPolicy | undefined {
  if (report.authentication === true) return 'required';
  const refused = proxy.version === 5 && report.authentication === false;
  return report.methods?.includes(NONE) && !refused ? [WITHOUT] : undefined;
}

/** Dials, and speaks TLS to the proxy. Nothing is sent. */
async function dial({ report, open }: Context): Promise<void> {
  report.reachable = true;
  try {
    const wire = await open({ onCertificate: (certificate) => (report.tls = certificate) });
    report.tls ??= false;
    report.rtt = wire.times.dial?.ms ?? null;
    Object.assign(report.phases, wire.times);
  } catch (error) {
    report.reachable = !(error instanceof SocksError && error.phase === 'dial');
    throw error;
  }
}

/** Offers each method alone. No message of the method follows. */
async function methods(context: Context): Promise<void> {
  const { report, habits } = context;
  const found = await Promise.all([NONE, GSSAPI, USERPASS].map((id) => offer(context, [id])));
  const chosen = found.filter((id) => typeof id === 'number');
  const errors = found.filter((error) => error instanceof SocksError);
  const answered = errors.some(({ code }) => code === 'ERR_SOCKS_NO_ACCEPTABLE_METHOD');
  habits.greetings = errors;
  habits.closesOnNoMethod = chosen.length > 0 && errors.some(({ code }) => code === 'ERR_SOCKS_PROXY_CLOSED');
  if (chosen.length > 0 || answered) {
    report.versions.socks5 = true;
    report.methods = chosen;
  } else if (!errors.every(({ code }) => code === 'ERR_SOCKS_TIMEOUT')) report.versions.socks5 = false;
  if (context.proxy.version === 5) throwFirst(context, chosen, errors);
}

/** Throws the most serious error of the greetings, if there is one. */
function throwFirst(
  { report, proxy }: Context,
  chosen: readonly number[],
  errors: readonly SocksError[],
): void {
  const [first] = errors;
  const defect = errors.find(({ code }) => code === 'ERR_SOCKS_PROTOCOL');
  if (defect && report.versions.socks5)
    throw withHint(defect, 'the proxy chooses a method that was not offered');
  if (first && chosen.length === 0)
    throw withHint(first, METHOD_HINTS.neither, report.versions.socks5 === true);
  if (chosen.includes(proxy.credentials ? USERPASS : NONE)) return;
  const hint = proxy.credentials ? METHOD_HINTS.unused : METHOD_HINTS.wanted;
  throw new SocksError('ERR_SOCKS_NO_ACCEPTABLE_METHOD', { phase: 'greeting', hint });
}

const METHOD_HINTS = {
  neither:
    'the proxy accepts none of the methods 00 (no authentication), 01 (GSSAPI) and 02 (user and password)',
  unused: 'the proxy takes no password: it is not sent, and can be left out of the URL',
  wanted: 'the proxy wants credentials: write socks5://user:password@host:port',
} as const;

async function offer(context: Context, ids: readonly number[]): Promise<number | SocksError> {
  const { report } = context;
  try {
    const wire = await context.open();
    try {
      await wire.perform(handshake(as5(context), NAME, { auth: ids.map(stopAt) }));
    } finally {
      const { greeting } = wire.times;
      if (greeting && greeting.ms < (report.phases.greeting?.ms ?? Infinity)) {
        report.phases.greeting = greeting;
        report.rtt = Math.min(greeting.ms, report.rtt ?? Infinity);
      }
    }
    throw new Error('a method ended without its messages');
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    return error.cause instanceof Chosen ? error.cause.id : error;
  }
}

async function preference(context: Context): Promise<void> {
  const chosen = await offer(context, [NONE, USERPASS]);
  if (typeof chosen === 'number') context.habits.prefers = chosen;
}

/** Offers method 02 alone, and sends the credentials only if the proxy chooses it. */
async function authentication(context: Context): Promise<void> {
  const { report } = context;
  const wire = await context.open();
  try {
    await wire.perform(negotiation(handshake(as5(context), NAME, { auth: 'required' }), 2));
    report.authentication = true;
    if (wire.times.authentication) report.phases.authentication = wire.times.authentication;
  } catch (error) {
    const refused = error instanceof SocksError && /_AUTH_FAILED$|_PROXY_CLOSED$/.test(error.code);
    report.authentication = refused && error.phase === 'authentication' ? false : null;
    throw withHint(error, 'check user and password; percent-encode them in the URL');
  }
}

/** The first so many messages of a handshake, with their answers. */
function* negotiation(steps: Steps<unknown>, messages: number): Steps<void> {
  let step = steps.next(NOTHING);
  for (let left = messages; !step.done; ) {
    if ('write' in step.value && left-- === 0) return;
    step = steps.next(yield step.value);
  }
}

const NOTHING = new Uint8Array();

/** Performs a handshake, and notes how it ended. */
async function request(context: Context, steps: Steps<Bound>, options?: { tail: boolean }): Promise<Outcome> {
  const wire = await context.open();
  const start = performance.now();
  try {
    const bound = await wire.perform(steps);
    if (wire.times.request) context.report.phases.request ??= wire.times.request;
    return { bound, ms: performance.now() - start };
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    const ms = performance.now() - start;
    if (error.reply === undefined || !options?.tail) return { error, ms };
    if (wire.times.request) context.report.phases.request ??= wire.times.request;
    return { error, ms, tail: await wire.rest(300, TAIL) };
  } finally {
    wire.close();
  }
}

/** Milliseconds to wait for the rest of a refusal. Most servers close behind it. */
const TAIL = 200;

/** Requests a name that does not exist. */
async function names(context: Context): Promise<void> {
  const { habits, report } = context;
  const outcome = await request(context, handshake(as5(context), NAME, { auth: authOf(context) ?? 'auto' }), {
    tail: true,
  });
  habits.name = outcome;
  if (outcome.bound) report.early = true;
  else if (outcome.error?.reply !== undefined || isPlainClose(outcome.error)) report.early = false;
  const { error } = outcome;
  if (error && error.reply === undefined && !isPlainClose(error)) throw error;
}

/** The proxy closed or reset the connection in place of a reply, and sent no part of one. */
export function isPlainClose(error: SocksError | undefined): boolean {
  const cut = error?.detail?.endsWith('into an answer');
  return error?.code === 'ERR_SOCKS_PROXY_CLOSED' && error.phase === 'request' && !cut;
}

async function ipv4(context: Context): Promise<void> {
  context.habits.ipv4 = await request(
    context,
    handshake(as5(context), IPV4, { auth: authOf(context) ?? 'auto' }),
  );
}

async function ipv6(context: Context): Promise<void> {
  const outcome = await request(context, handshake(as5(context), IPV6, { auth: authOf(context) ?? 'auto' }));
  context.habits.ipv6 = outcome;
  if (outcome.error?.code === 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED') context.report.ipv6 = false;
}

/** SOCKS4 carries addresses: the destination if it is one, else an address that no host has. */
async function socks4(context: Context): Promise<void> {
  const { habits, destination: given } = context;
  const destination = given && isIPv4(given.host) ? given : IPV4;
  const outcome = await request(context, handshake(as4(context), destination));
  habits.socks4 = outcome;
  if (isRefused4(outcome.error)) habits.readsSocks4 = await waitsForEnd(context, IPV4, outcome.ms);
  if (context.proxy.version === 4 && context.proxy.dns === 'local') throwUnless(outcome, habits.readsSocks4);
}

async function socks4a(context: Context): Promise<void> {
  const { habits, destination: given } = context;
  const destination = !given || isIPv4(given.host) || isIPv6(given.host) ? NAME : given;
  const steps = handshake(as4(context), destination);
  const outcome = await request(context, given && isIPv4(given.host) ? asName(steps, given, context) : steps);
  habits.socks4a = outcome;
  if (isRefused4(outcome.error)) habits.readsSocks4a = await waitsForEnd(context, NAME, outcome.ms);
  if (context.proxy.version === 4 && context.proxy.dns === 'remote')
    throwUnless(outcome, habits.readsSocks4a);
}

/** Throws the error, unless it only says that the destination was refused: most destinations of a check do not exist. */
function throwUnless({ error }: Outcome, reads: boolean | undefined): void {
  if (error && error.code !== 'ERR_SOCKS_REJECTED' && reads !== true) throw error;
}

/*
 *     +----+----+---------+-------+--------+----+------+----+     SOCKS4A memo. Core sends an address as
 *     | 04 | 01 | DSTPORT | 0.0.0.1 | USERID | 00 | NAME | 00 |     DSTIP. Here its text is sent in place of
 *     +----+----+---------+-------+--------+----+------+----+     the name.
 */
function* asName(steps: Steps<Bound>, { host, port }: Destination, context: Context): Steps<Bound> {
  steps.next(NOTHING);
  const user = Buffer.from(as4(context).credentials?.username ?? '');
  const name = Buffer.from(host, 'latin1');
  yield { write: Uint8Array.of(0x04, 0x01, port >> 8, port & 0xff, 0, 0, 0, 1, ...user, 0, ...name, 0) };
  return yield* resumed(steps);
}

function* resumed(steps: Steps<Bound>): Steps<Bound> {
  let step = steps.next(NOTHING);
  while (!step.done) step = steps.next(yield step.value);
  return step.value;
}

function isRefused4(error: SocksError | undefined): boolean {
  return isPlainClose(error) || error?.code === 'ERR_SOCKS_REJECTED';
}

/** True if the server answers or closes only at the end of a SOCKS4 request, which shows that it reads the request. */
async function waitsForEnd(
  context: Context,
  destination: Destination,
  refusedAfter: number,
): Promise<boolean | undefined> {
  const { timeout } = context;
  const step = handshake(as4(context), destination).next();
  if (step.done || !('write' in step.value)) return undefined;
  const wire = await context.open();
  wire.enter('request');
  wire.write(step.value.write.subarray(0, -1));
  // Long enough for a slow server, and shorter than any server waits for the rest of a request.
  const early = await wire.react(Math.min(timeout / 4, 600, Math.max(250, 4 * refusedAfter)));
  if (early) return wire.timedOut ? undefined : false;
  wire.write(step.value.write.subarray(-1));
  await wire.react(timeout);
  return wire.timedOut ? undefined : true;
}

/** Sends the request before the message before it was answered. The result has to be the same as message by message. */
async function pipelining(context: Context): Promise<void> {
  const { report, habits, timeout } = context;
  const { ms, error: expected } = habits.name as Outcome;
  const auth = authOf(context) ?? 'auto';
  const proxy = as5(context);
  const { credentials: _, ...anonymous } = proxy;
  const steps =
    auth === 'required'
      ? withCredentials(handshake(proxy, NAME, { auth }))
      : handshake(anonymous, NAME, { pipeline: true });
  const limit = Math.min(timeout, Math.max(1000, 4 * ms));
  const wire = await context.open({ timeout: limit });
  try {
    await wire.perform(steps);
    report.pipelining = true;
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    const same = error.phase === 'request' && (error.reply !== undefined || error.code === expected?.code);
    report.pipelining = same;
    if (!same)
      throw withHint(error, 'this proxy loses what comes with the greeting: leave pipeline off', true);
  }
}

/**
 * Credentials and request in one segment. The greeting is sent alone, because credentials are for a server that has chosen
 * method 02.
 */
function* withCredentials(steps: Steps<Bound>): Steps<Bound> {
  const next = (bytes: Uint8Array) => steps.next(bytes).value as { write: Uint8Array; read: number };
  yield { write: next(NOTHING).write };
  next(NOTHING);
  const { write: credentials } = next(yield { read: 2, phase: 'greeting' });
  next(NOTHING);
  const { write: message } = next(Uint8Array.of(0x01, 0x00));
  yield { write: Buffer.concat([credentials, message]) };
  const [, status] = yield { read: 2, phase: 'authentication' };
  if (status !== 0x00) throw new SocksError('ERR_SOCKS_AUTH_FAILED', { phase: 'authentication' });
  return yield* resumed(steps);
}

/** Opens a tunnel to the destination as the URL says, and begins TLS in it, which a server of any protocol answers. */
async function tunnel(context: Context): Promise<void> {
  const { proxy, habits, report } = context;
  const destination = context.destination as Destination;
  const wire = await context.open();
  const start = performance.now();
  const version4 = { ...as4(context), dns: proxy.dns };
  const steps =
    proxy.version === 4
      ? handshake(version4, destination)
      : handshake(as5(context), destination, { auth: authOf(context) ?? 'auto' });
  try {
    const bound = await wire.perform(steps);
    habits.destination = { bound, ms: performance.now() - start };
  } catch (error) {
    if (error instanceof SocksError) habits.destination = { error, ms: performance.now() - start };
    report.target = false;
    throw withHint(error, DESTINATION_HINTS[(error as SocksError).code] ?? '');
  }
  if (wire.times.request) report.phases.request = wire.times.request;
  wire.enter('destination-tls');
  const secured = await secure(wire, destination);
  report.target = secured !== undefined || wire.received > 0;
  if (secured !== undefined) report.phases['destination-tls'] = secured;
  if (report.target) return;
  throw wire.error(wire.timedOut ? 'ERR_SOCKS_TIMEOUT' : 'ERR_SOCKS_PROXY_CLOSED', {
    hint: !wire.timedOut
      ? 'the proxy reported success, and closed: it connects later, and could not, or the destination closed at once'
      : 'the proxy reported success, and nothing came: it connects later, or the destination waits for its own protocol',
  });
}

const DESTINATION_HINTS: Readonly<Record<string, string>> = {
  ERR_SOCKS_NOT_ALLOWED: 'the rules of the proxy forbid this destination',
  ERR_SOCKS_CONNECTION_REFUSED: 'the proxy works; nothing listens on this port of the destination',
  ERR_SOCKS_HOST_UNREACHABLE: 'the proxy works; the destination does not exist or is down',
  ERR_SOCKS_NETWORK_UNREACHABLE: 'the proxy has no route to the destination: try its other address family',
};

/** The time of the TLS handshake, or undefined when there was none. The certificate does not matter. */
async function secure(
  wire: Wire,
  { host }: Destination,
): Promise<{ ms: number; roundTrips: number } | undefined> {
  const { connect } = process.getBuiltinModule('node:tls');
  const start = performance.now();
  const name = isIPv4(host) || isIPv6(host) ? {} : { servername: host.replace(/\.$/, '') };
  const socket = connect({ socket: wire.stream(), rejectUnauthorized: false, ...name });
  try {
    return await new Promise((resolve) => {
      socket.on('error', () => resolve(undefined)).once('close', () => resolve(undefined));
      socket.once('secureConnect', () => {
        resolve({ ms: performance.now() - start, roundTrips: socket.getProtocol() === 'TLSv1.3' ? 1 : 2 });
      });
    });
  } finally {
    socket.destroy();
  }
}

/** What an HTTP proxy, an HTTP server and tor answer to HTTP. */
async function http(context: Context): Promise<void> {
  const { habits } = context;
  const { host } = NAME;
  const answer = await say(context, `CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`);
  const status = /^HTTP\/1\.\d (\d{3})/.exec(answer)?.[1];
  if (answer.includes('Tor is not an HTTP Proxy')) habits.http = 'tor';
  else if (status !== undefined) {
    const isProxy =
      /^(?:2..|407|500|50[234])$/.test(status) || /^(?:proxy-\w+|via|x-squid-\w+):/im.test(answer);
    habits.http = isProxy ? 'proxy' : 'server';
  } else if (isUnknown(context) && !habits.silent.has('http')) {
    // The http server of Node closes when it gets a CONNECT.
    if ((await say(context, 'GET / HTTP/1.0\r\n\r\n')).startsWith('HTTP/1')) habits.http = 'server';
  }
}

/** Sends a text, and returns the beginning of the answer; empty if there is none. */
async function say(context: Context, text: string): Promise<string> {
  const { habits, report, timeout, proxy } = context;
  const inside = proxy.tls && report.tls ? { rejectUnauthorized: false } : (false as const);
  try {
    const wire = await context.open({ tls: inside });
    wire.enter('greeting');
    wire.write(Buffer.from(text));
    const reacted = await wire.react(timeout);
    if (!reacted || wire.timedOut) habits.silent.add('http');
    return Buffer.from(await wire.rest(2048, 50)).toString('latin1');
  } catch (error) {
    if (error instanceof SocksError) return '';
    throw error;
  }
}

/** Finds out whether the port speaks TLS, and which protocol is inside. */
async function tls({ habits, report, timeout, open }: Context): Promise<void> {
  try {
    const onCertificate = (certificate: Certificate): void => void (report.tls ||= certificate);
    const wire = await open({ tls: { rejectUnauthorized: false }, onCertificate });
    habits.tls = 'other';
    wire.enter('greeting');
    wire.write(Uint8Array.of(0x05, 0x02, NONE, USERPASS));
    await wire.react(timeout, 2);
    const [first, second] = await wire.rest(2, 0);
    if (first === 0x05) habits.tls = 'socks5';
    if (first === 0x48 && second === 0x54) habits.tls = 'http';
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    if (error.code === 'ERR_SOCKS_TIMEOUT') habits.silent.add('tls');
  }
}

/** How long the proxy keeps a connection on which only the request is missing. */
async function idle(context: Context): Promise<void> {
  const wait = (context.idle ?? 0) * 1000;
  const wire = await context.open({ timeout: wait + context.timeout });
  const auth = authOf(context) ?? 'auto';
  await wire.perform(negotiation(handshake(as5(context), NAME, { auth }), auth === 'required' ? 2 : 1));
  const start = performance.now();
  const closed = await wire.react(wait);
  context.report.idle = { ms: Math.round(performance.now() - start), closed };
}

/** The error with a hint, unless it has one of its own. */
function withHint(error: unknown, hint: string, replace = false): unknown {
  if (!(error instanceof SocksError) || hint === '' || (error.hint !== undefined && !replace)) return error;
  const { code, phase, proxy, destination, detail, reply } = error;
  return new SocksError(code, { phase, proxy, destination, detail, reply, hint });
}
