// handshake() without IO: which bytes it writes in which steps, and which error each wrong answer leads to, with phase,
// detail and hint. vectors.test.ts replays the golden vectors.

import { bytes } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { handshake, SocksError } from '../src/index.ts';
import type { AuthMethod, HandshakeOptions, SocksPhase } from '../src/index.ts';
import { negotiate5 } from '../src/protocol/socks5.ts';
import { hopError } from '../src/protocol/step.ts';

const NAME = { host: 'a.test', port: 80 };
const IPV4 = { host: '192.0.2.7', port: 80 };
// 05 01 00 03 06 "a.test" 0050
const REQUEST = '05010003 06612e74657374 0050'.replaceAll(' ', '');
const GRANTED = '05 00 00 01 7f000001 1f90';
const BOUND = { host: '127.0.0.1', port: 8080 };

interface Conversation {
  readonly url?: string;
  readonly to?: typeof NAME;
  readonly options?: HandshakeOptions;
  /** What the server sends, in hexadecimal. */
  readonly answers: string;
}

/** What the handshake writes and reads when the server sends these bytes, and how it ends. */
function converse({ url = 'socks5://proxy.test', to = NAME, options = {}, answers }: Conversation) {
  const sent: string[] = [];
  const phases: SocksPhase[] = [];
  let rest = bytes(answers);
  const finish = (end: object) => ({ sent, phases, rest: rest.toString('hex'), ...end });
  try {
    const steps = handshake(url, to, options);
    let step = steps.next(Buffer.alloc(0));
    while (!step.done) {
      let taken: Buffer = Buffer.alloc(0);
      if ('write' in step.value) sent.push(Buffer.from(step.value.write).toString('hex'));
      else if ('read' in step.value) {
        const { read, phase } = step.value;
        phases.push(phase);
        if (rest.length < read) return finish({ missing: read - rest.length });
        [taken, rest] = [rest.subarray(0, read), rest.subarray(read)];
      }
      step = steps.next(taken);
    }
    return finish({ bound: step.value });
  } catch (error) {
    return finish({ error });
  }
}

function errorOf(conversation: Conversation): SocksError {
  const { error } = converse(conversation) as { error?: unknown };
  expect(error).toBeInstanceOf(SocksError);
  return error as SocksError;
}

/** What an error says besides its code: an absent hint is undefined. */
function said({ code, phase, detail, reply, hint }: SocksError) {
  return { code, phase, detail, reply, hint };
}

describe('the messages', () => {
  test('of SOCKS5 are greeting, answer, request, answer', () => {
    expect(converse({ answers: `05 00 ${GRANTED} 4142` })).toEqual({
      sent: ['050100', REQUEST],
      phases: ['greeting', 'request', 'request', 'request'],
      rest: '4142',
      bound: BOUND,
    });
  });

  test('of SOCKS5 with credentials have the authentication between the two', () => {
    expect(converse({ url: 'socks5://u:p@h', answers: `05 02 01 00 ${GRANTED}` })).toEqual({
      sent: ['05020200', '0101750170', REQUEST],
      phases: ['greeting', 'authentication', 'request', 'request', 'request'],
      rest: '',
      bound: BOUND,
    });
  });

  test('that are bound to a name are read by its length', () => {
    const { phases, bound } = converse({ answers: '05 00 05 00 00 03 02 e962 0050' }) as {
      phases: string[];
      bound?: unknown;
    };
    expect(bound).toEqual({ host: '\u00e9b', port: 80 });
    expect(phases).toEqual(['greeting', 'request', 'request', 'request', 'request']);
  });

  test.each([
    ['2001:db8:1:2:3:4:5:6', '20010db8000100020003000400050006'],
    ['2001:db8::', '20010db8000000000000000000000000'],
    ['::1', '00000000000000000000000000000001'],
    ['::', '00000000000000000000000000000000'],
    ['1::2', '00010000000000000000000000000002'],
    ['64:ff9b::192.0.2.7', '0064ff9b0000000000000000c0000207'],
  ])('of SOCKS5 carry the IPv6 address %s in 16 octets', (host, octets) => {
    const { sent } = converse({ to: { host, port: 80 }, answers: '05 00' });
    expect(sent[1]).toBe(`05010004${octets}0050`);
  });

  test('of SOCKS4A are one request and one answer', () => {
    // 04 01 0050 00000001 00 "a.test" 00
    expect(converse({ url: 'socks4a://h', answers: '00 5a 1f90 7f000001' })).toEqual({
      sent: ['040100500000000100612e7465737400'],
      phases: ['request', 'request'],
      rest: '',
      bound: BOUND,
    });
  });
});

describe('with pipeline: true', () => {
  const pipelined = (conversation: Conversation) =>
    converse({ ...conversation, options: { ...conversation.options, pipeline: true } });
  const SENT = ['050102' + '0101750170' + REQUEST];

  test('greeting and request are written at once', () => {
    expect(pipelined({ answers: `05 00 ${GRANTED} 41` })).toEqual({
      sent: ['050100' + REQUEST],
      phases: ['greeting', 'request', 'request', 'request'],
      rest: '41',
      bound: BOUND,
    });
  });

  test('credentials are offered alone, and written at once with the rest', () => {
    expect(pipelined({ url: 'socks5://u:p@h', answers: `05 02 01 00 ${GRANTED}` })).toEqual({
      sent: SENT,
      phases: ['greeting', 'authentication', 'request', 'request', 'request'],
      rest: '',
      bound: BOUND,
    });
  });

  test('the answer of tor is accepted, which leaves out the choice of the method', () => {
    expect(pipelined({ url: 'socks5://u:p@h', answers: `01 00 ${GRANTED}` })).toEqual({
      sent: SENT,
      phases: ['greeting', 'request', 'request', 'request'],
      rest: '',
      bound: BOUND,
    });
    const { error } = pipelined({ url: 'socks5://u:p@h', answers: '01 01' }) as { error?: unknown };
    expect(error).toMatchObject({ code: 'ERR_SOCKS_AUTH_FAILED', detail: 'STATUS 1' });
  });

  test('the answer to credentials is none to a greeting without any', () => {
    const { error } = pipelined({ answers: `01 00 ${GRANTED}` }) as { error?: unknown };
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROTOCOL', phase: 'greeting' });
  });

  test('a server that chooses no credentials is refused', () => {
    const { error } = pipelined({ url: 'socks5://u:p@h', answers: '05 00' }) as { error?: unknown };
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROTOCOL', detail: 'METHOD 0x00 was not offered' });
  });

  test('SOCKS4 writes its one request', () => {
    expect(pipelined({ url: 'socks4a://h', answers: '00 5a 1f90 7f000001' })).toMatchObject({
      sent: ['040100500000000100612e7465737400'],
      bound: BOUND,
    });
  });

  test('methods of the caller run message by message, because they may have any number of messages', () => {
    const auth: AuthMethod[] = [{ id: 0x80, *authenticate() {} }];
    expect(pipelined({ options: { auth }, answers: `05 80 ${GRANTED}` })).toMatchObject({
      sent: ['050180', REQUEST],
      bound: BOUND,
    });
  });
});

describe('a refusal says what the server usually means by it', () => {
  const NAMES = 'microsocks sends this when it cannot resolve the name; tor sends it when the port is closed';
  const CREDENTIALS = 'some servers send this when they refuse the credentials';
  const WITH = 'socks5://u:p@h';

  test.each<[answer: string, code: string, detail: string, Omit<Conversation, 'answers'>, hint?: string]>([
    ['01', 'GENERAL_FAILURE', 'REP 0x01', {}, NAMES],
    ['01', 'GENERAL_FAILURE', 'REP 0x01', { to: IPV4 }],
    ['02', 'NOT_ALLOWED', 'REP 0x02', {}],
    ['02', 'NOT_ALLOWED', 'REP 0x02', { url: WITH }, CREDENTIALS],
    ['03', 'NETWORK_UNREACHABLE', 'REP 0x03', { url: WITH }],
    ['06', 'TTL_EXPIRED', 'REP 0x06', {}, 'tor sends this when it found no circuit in time'],
    ['f0', 'UNASSIGNED_REPLY', 'REP 0xf0', {}],
  ])('REP %s: %s', (rep, code, detail, conversation, hint) => {
    const negotiated = conversation.url === WITH ? '05 02 01 00' : '05 00';
    const error = errorOf({ ...conversation, answers: `${negotiated} 05 ${rep}` });
    const reply = Number.parseInt(rep, 16);
    expect(said(error)).toEqual({ code: `ERR_SOCKS_${code}`, phase: 'request', detail, reply, hint });
  });

  const OLD = 'a server without SOCKS4A rejects every name: try socks5://';
  test.each<[cd: number, code: string, to: typeof NAME, hint?: string]>([
    [91, 'REJECTED', NAME, OLD],
    [91, 'REJECTED', IPV4],
    [92, 'IDENTD_UNREACHABLE', NAME],
    [93, 'IDENTD_MISMATCH', NAME],
    [94, 'UNASSIGNED_REPLY', NAME],
  ])('CD %d: %s, requested of %o', (cd, code, to, hint) => {
    const error = errorOf({ url: 'socks4a://h', to, answers: `00 ${cd.toString(16)}` });
    const detail = `CD ${cd}`;
    expect(said(error)).toEqual({ code: `ERR_SOCKS_${code}`, phase: 'request', detail, reply: cd, hint });
  });

  const mine: AuthMethod = { id: 0x80, *authenticate() {} };
  const REQUIRED = "the proxy may take no credentials: leave out auth: 'required'";
  test.each<[Omit<Conversation, 'answers'>, offered: string, hint?: string]>([
    [{}, '0x00', 'the proxy wants credentials: write socks5://user:password@host'],
    [{ url: WITH, options: { auth: 'required' } }, '0x02', REQUIRED],
    [{ url: WITH }, '0x02, 0x00'],
    [{ options: { auth: [mine] } }, '0x80'],
    [{ options: { auth: [mine, { ...mine, id: 0x81 }] } }, '0x80, 0x81'],
  ])('no method is acceptable of those in %o: %s', (conversation, offered, hint) => {
    expect(said(errorOf({ ...conversation, answers: '05 ff' }))).toEqual({
      code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
      phase: 'greeting',
      detail: `offered ${offered}`,
      hint,
    });
  });

  test('the credentials are refused', () => {
    expect(said(errorOf({ url: WITH, answers: '05 02 01 01' }))).toEqual({
      code: 'ERR_SOCKS_AUTH_FAILED',
      phase: 'authentication',
      detail: 'STATUS 1',
      hint: 'check user and password; percent-encode them in the URL',
    });
  });
});

describe('an answer that breaks the protocol', () => {
  test.each<[answers: string, phase: SocksPhase, detail: string, url?: string]>([
    ['06 00', 'greeting', 'VER 0x06 in the METHOD reply'],
    ['05 02', 'greeting', 'METHOD 0x02 was not offered'],
    ['05 02 02 00', 'authentication', 'VER 2 in the answer to the credentials', 'socks5://u:p@h'],
    ['05 00 04 00', 'request', 'VER 0x04 in the reply'],
    ['05 00 05 00 00 02', 'request', 'ATYP 0x02 in the reply'],
    ['03 5a', 'request', 'VN 0x03 in the reply', 'socks4a://h'],
  ])('%s: %s, %s', (answers, phase, detail, url = 'socks5://h') => {
    expect(errorOf({ url, answers })).toMatchObject({ code: 'ERR_SOCKS_PROTOCOL', phase, detail });
  });

  test('is not one that has VER 05 before the status of the credentials', () => {
    expect(converse({ url: 'socks5://u:p@h', answers: `05 02 05 00 ${GRANTED}` })).toMatchObject({
      bound: BOUND,
    });
  });

  test('is not one that has VN 04 in a reply of SOCKS4', () => {
    expect(converse({ url: 'socks4a://h', answers: '04 5a 1f90 7f000001' })).toMatchObject({ bound: BOUND });
  });
});

describe('the first two bytes of the answer', () => {
  const PROTOCOL = { http: /HTTP/, ssh: /ssh -D/, tls: /socks5s:/, socks5: /socks5:/, socks4: /socks4a:/ };

  test.each<[scheme: 'socks5' | 'socks4a', answer: string, peer?: keyof typeof PROTOCOL]>([
    ['socks5', '48 54', 'http'],
    ['socks5', '48 00'],
    ['socks5', '00 54'],
    ['socks5', '53 53', 'ssh'],
    ['socks5', '53 00'],
    ['socks5', '00 53'],
    ['socks5', '15 03', 'tls'],
    ['socks5', '16 03', 'tls'],
    ['socks5', '14 03'],
    ['socks5', '16 00'],
    ['socks5', '00 59'],
    ['socks5', '00 5a', 'socks4'],
    ['socks5', '00 5d', 'socks4'],
    ['socks5', '04 5b', 'socks4'],
    ['socks5', '00 5e'],
    ['socks5', '01 5b'],
    ['socks4a', '48 54', 'http'],
    ['socks4a', '53 53', 'ssh'],
    ['socks4a', '16 03', 'tls'],
    ['socks4a', '05 ff', 'socks5'],
    ['socks4a', '06 ff'],
  ])('of %s, %s, show the protocol %s', (scheme, answers, peer) => {
    const { code, detail, hint } = errorOf({ url: `${scheme}://h`, answers });
    // A server of SSH sends its version to everybody, before it has read a byte.
    expect(code).toBe(`ERR_SOCKS_${peer && peer !== 'ssh' ? 'WRONG_' : ''}PROTOCOL`);
    if (peer) expect({ detail, hint }).toEqual({ detail: peer, hint: expect.stringMatching(PROTOCOL[peer]) });
    else expect(hint).toBe('the port may belong to another server: use the SOCKS port of the proxy');
  });
});

describe('before the first byte', () => {
  test.each<[Omit<Conversation, 'answers'>, code: string, detail: RegExp]>([
    [{ url: 'socks4://h', to: { host: '::1', port: 80 } }, 'DESTINATION', /^SOCKS4 cannot carry IPv6/],
    [{ url: 'socks4://h', to: { host: '0.0.0.1', port: 80 } }, 'DESTINATION', /^0\.0\.0\.x would mean/],
    [{ url: 'socks4://h' }, 'DESTINATION', /^a name for dns: 'local'/],
    [{ url: 'socks4://h', to: { host: 'x.onion', port: 80 } }, 'DESTINATION', /^an onion name/],
    [{ options: { auth: 'required' } }, 'CREDENTIALS', /^auth: 'required' without any$/],
  ])('%o is refused', (conversation, code, detail) => {
    const { sent, error } = converse({ ...conversation, answers: '' }) as { sent: string[]; error?: unknown };
    expect(sent).toEqual([]);
    expect(error).toMatchObject({
      code: `ERR_SOCKS_INVALID_${code}`,
      phase: 'input',
      detail: expect.stringMatching(detail),
      proxy: expect.stringMatching(/^socks[45]:/),
      destination: expect.stringMatching(/:80$/),
    });
  });

  test.each<Omit<Conversation, 'answers'>>([
    { to: { host: '::1', port: 80 } },
    { to: { host: '0.0.0.1', port: 80 } },
    { to: { host: 'x.onion', port: 80 } },
    { url: 'socks4a://h', to: { host: 'x.onion', port: 80 } },
    { url: 'socks4://h', to: IPV4 },
    // SOCKS4 has no methods: its user ID is no proof of anything.
    { url: 'socks4a://h', options: { auth: 'required' } },
    { url: 'socks5://u:p@h', options: { auth: 'required' } },
  ])('%o is allowed', (conversation) => {
    expect(converse({ ...conversation, answers: '' })).toMatchObject({ missing: 2 });
  });

  const method: AuthMethod = { id: 1, *authenticate() {} };
  const methods = (count: number) => Array.from({ length: count }, (_, id) => ({ ...method, id }));
  test.each<[unknown, RegExp]>([
    ['none', /'auto', 'required' or an array/],
    [{}, /'auto', 'required' or an array/],
    [[], /1 to 255/],
    [[...methods(255), method], /1 to 255/],
    [[null], /id from 0 to 254/],
    [[{ ...method, id: '1' }], /id from 0 to 254/],
    [[{ ...method, id: 1.5 }], /id from 0 to 254/],
    [[{ ...method, id: -1 }], /id from 0 to 254/],
    [[method, { ...method, id: 255 }], /id from 0 to 254/],
    [[{ ...method, id: [2] }], /id from 0 to 254/],
    [[method, method], /each method once/],
    [[{ id: 1 }], /with authenticate\(\)/],
    [[method, { id: 2, authenticate: true }], /with authenticate\(\)/],
  ])('a list of methods that is not valid is refused: %o', (auth, message) => {
    const attempt = () => handshake('socks5://h', NAME, { auth: auth as AuthMethod[] });
    expect(attempt).toThrowError(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
    );
    expect(attempt).toThrowError(message);
  });

  test('a list of 255 methods is offered', () => {
    const { sent } = converse({ options: { auth: methods(255) }, answers: '' });
    expect(sent[0]).toBe(
      `05ff${methods(255)
        .map(({ id }) => bytes(id.toString(16).padStart(2, '0')).toString('hex'))
        .join('')}`,
    );
  });
});

describe('a method of the caller', () => {
  const using = (authenticate: AuthMethod['authenticate']) =>
    errorOf({ options: { auth: [{ id: 0x80, authenticate }] }, answers: '05 80' });

  test('that throws gives the cause of the error', () => {
    const cause = new Error('no ticket');
    const error = using(function* () {
      throw cause;
    });
    expect(error).toMatchObject({ code: 'ERR_SOCKS_AUTH_FAILED', phase: 'authentication', cause });
  });

  test('is called as a method of its object and without arguments, because the hop holds credentials', () => {
    const calls: unknown[] = [];
    const own: AuthMethod = {
      id: 0x80,
      *authenticate(this: AuthMethod, ...args: readonly unknown[]) {
        calls.push([this, args]);
      },
    };
    converse({ options: { auth: [own] }, answers: '05 80' });
    expect(calls).toEqual([[own, []]]);
  });

  test('that throws a SocksError is passed on unchanged', () => {
    const thrown = new SocksError('ERR_SOCKS_PROTOCOL', { phase: 'authentication' });
    expect(
      using(function* () {
        throw thrown;
      }),
    ).toBe(thrown);
  });

  test('that encapsulates needs a transport that can', () => {
    const error = using(function* () {
      return {
        seal: (data) => data,
        *open() {
          return new Uint8Array();
        },
      };
    });
    expect(said(error)).toEqual({
      code: 'ERR_SOCKS_AUTH_FAILED',
      phase: 'authentication',
      detail: 'this transport cannot carry the encapsulation of the method',
    });
  });
});

test('the authentication waits for the promise that it is given, once the method is chosen', () => {
  const credentials = { username: 'alice', password: 'secret' };
  const proxy = { version: 5, host: 'p.test', port: 1080, dns: 'remote', credentials } as const;
  const before = Promise.resolve();
  const steps = negotiate5({ proxy, destination: NAME }, 'required', before);
  steps.next(Buffer.alloc(0));
  expect(steps.next(Buffer.alloc(0)).value).toEqual({ read: 2, phase: 'greeting' });
  expect(steps.next(bytes('05 02')).value).toEqual({ wait: before });
  expect(steps.next(Buffer.alloc(0)).value).toHaveProperty('write');
});

describe('an error of a hop', () => {
  const proxy = { version: 5, host: 'p.test', port: 1080, dns: 'remote' } as const;

  test('names both ends, as far as they are known', () => {
    const details = { phase: 'request' } as const;
    expect(hopError({ proxy, destination: NAME }, 'ERR_SOCKS_TIMEOUT', details)).toMatchObject({
      proxy: 'socks5://p.test:1080',
      destination: 'a.test:80',
      blame: 'unclear',
    });
    expect(hopError({}, 'ERR_SOCKS_TIMEOUT', details)).toMatchObject({ proxy: '', destination: '' });
  });

  test('blames a proxy if the request was for the next proxy of a chain', () => {
    const blame = (phase: SocksPhase, code: 'TIMEOUT' | 'HOST_UNREACHABLE' = 'TIMEOUT') =>
      hopError({ proxy, destination: proxy }, `ERR_SOCKS_${code}`, { phase }).blame;
    expect(blame('request')).toBe('proxy');
    expect(blame('request', 'HOST_UNREACHABLE')).toBe('proxy');
    expect(blame('lookup')).toBe('unclear');
    expect(
      hopError({ destination: proxy }, 'ERR_SOCKS_TIMEOUT', { phase: 'request', blame: 'none' }).blame,
    ).toBe('none');
  });
});
