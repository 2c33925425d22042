// The mistakes of proxies, by name, as scripts. They know the length of each message of a client that requests an IPv4
// address, and what real servers were seen to answer. The tests say what a client should do.

import type { ScriptStep } from './script.ts';

/** One message of the client by its length, and the answer in hex. */
export type Round = readonly [reads: number, answer: string];

export interface Conversation {
  /** The client's URL, up to the host. */
  readonly client: string;
  readonly rounds: readonly Round[];
}

export interface Misbehaviour {
  /** The client that meets it: its URL, up to the host. */
  readonly client: string;
  readonly script: readonly ScriptStep[];
  /** The real server that does so. */
  readonly like?: string;
}

// 05 01 00; 05 01 00 01 7f000001 port
const GREETING: Round = [3, '05 00'];
const REQUEST: Round = [10, '05 00 00 01 7f000001 1f90'];
// 04 01 port 7f000001 00
const SOCKS4: Round = [9, '00 5a 1f90 7f000001'];

/** As they should be. */
export const CONVERSATIONS: Readonly<
  Record<'SOCKS4' | 'SOCKS4A' | 'SOCKS5' | 'SOCKS5 with a password', Conversation>
> = {
  SOCKS4: { client: 'socks4://', rounds: [SOCKS4] },
  SOCKS4A: { client: 'socks4a://', rounds: [SOCKS4] },
  SOCKS5: { client: 'socks5://', rounds: [GREETING, REQUEST] },
  // 05 02 02 00; 01 04 "user" 04 "pass"
  'SOCKS5 with a password': {
    client: 'socks5://user:pass@',
    rounds: [[4, '05 02'], [11, '01 00'], REQUEST],
  },
};

/** What a server can do in the middle of a conversation. */
export const STOPS: Readonly<Record<'closes' | 'resets' | 'stalls', ScriptStep>> = {
  closes: { close: true },
  resets: { reset: true },
  stalls: { stall: true },
};

/** In bytes, both sides together. */
export function lengthOf({ rounds }: Conversation): number {
  return rounds.reduce((sum, [reads, answer]) => sum + reads + octets(answer).length, 0);
}

/** Behaves well until `n` bytes have been exchanged, then does `last`. From 0 to {@link lengthOf}. */
export function stopping({ client, rounds }: Conversation, n: number, last: ScriptStep): Misbehaviour {
  const script: ScriptStep[] = [];
  let left = n;
  for (const [reads, answer] of rounds) {
    if (left > 0) script.push({ read: Math.min(left, reads) });
    left -= reads;
    const part = octets(answer).slice(0, Math.max(left, 0));
    if (part.length > 0) script.push({ send: part.join('') });
    left -= octets(answer).length;
  }
  return { client, script: [...script, last] };
}

/** Behaves well, and sends one byte at a time. */
export function slowly({ client, rounds }: Conversation): Misbehaviour {
  return { client, script: rounds.flatMap(([read, sendSlowly]): ScriptStep[] => [{ read }, { sendSlowly }]) };
}

/** Refuses with any REP, and with anything behind it; closes, as it should. */
export function refusal(rep: number, rest = '00 01 00000000 0000'): Misbehaviour {
  return answering(`05 ${rep.toString(16).padStart(2, '0')} ${rest}`, { close: true });
}

/** Grants, with the first bytes of the application in the segment of the reply. */
export function granting(early: string, ...then: readonly ScriptStep[]): Misbehaviour {
  return answering(`${REQUEST[1]} ${early}`, ...then);
}

function answering(answer: string, ...then: readonly ScriptStep[]): Misbehaviour {
  return {
    client: 'socks5://',
    script: [{ read: GREETING[0] }, { send: GREETING[1] }, { read: REQUEST[0] }, { send: answer }, ...then],
  };
}

function greeting(answer: string, ...then: readonly ScriptStep[]): Misbehaviour {
  return { client: 'socks5://', script: [{ read: GREETING[0] }, { send: answer }, ...then] };
}

function greetingWithPassword(...then: readonly ScriptStep[]): Misbehaviour {
  return { client: 'socks5://user:pass@', script: [{ read: 4 }, { send: '05 02' }, { read: 11 }, ...then] };
}

function answeringSocks4(answer: string, ...then: readonly ScriptStep[]): Misbehaviour {
  return { client: 'socks4://', script: [{ read: SOCKS4[0] }, { send: answer }, ...then] };
}

const text = (characters: string): string => Buffer.from(characters, 'latin1').toString('hex');
const FIN: ScriptStep = { close: true };
const STATUS_400 = text('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
const STATUS_501 = text('HTTP/1.0 501 Tor is not an HTTP Proxy\r\nContent-Type: text/html\r\n\r\n<html>');

/** Those with which no tunnel opens. */
export const MISBEHAVIOURS: Readonly<Record<string, Misbehaviour>> = {
  'accepts no method and closes': greeting('05 ff', FIN),
  'accepts no method and stays': greeting('05 ff', { stall: true }),
  'chooses a method that was not offered': greeting('05 02'),
  'chooses GSSAPI': greeting('05 01'),
  'answers the greeting with VER 00': greeting('00 00'),
  'answers the greeting with VER 06': greeting('06 00'),
  'answers the greeting with junk': greeting('de ad be ef'.repeat(64)),
  'answers the request with junk': answering('de ad be ef'.repeat(64)),
  'answers the credentials with junk': greetingWithPassword({ send: 'de ad be ef'.repeat(64) }),
  'answers SOCKS4 with junk': answeringSocks4('de ad be ef'.repeat(64)),
  'sends a megabyte of zeros unasked': { client: 'socks5://', script: [{ send: '00'.repeat(1 << 20) }] },
  'speaks first, as SSH does': { client: 'socks5://', script: [{ send: text('SSH-2.0-OpenSSH_9.2p1\r\n') }] },
  'speaks HTTP': greeting(STATUS_400, FIN),
  'speaks HTTP to SOCKS4': answeringSocks4(STATUS_400, FIN),
  'speaks TLS': greeting('15 03 01 00 02 02 16', FIN),
  'speaks SOCKS4 only': greeting('00 5b 0000 00000000', FIN),
  'speaks no TLS': { client: 'socks5s://', script: [{ read: 3 }, { send: '05 00 00 01 00 00 00 00' }] },
  'closes in the TLS handshake': { client: 'socks5s://', script: [{ read: 1 }, FIN] },
  'falls silent in the TLS handshake': { client: 'socks5s://', script: [{ read: 1 }, { stall: true }] },
  'answers the request with VER 00': answering('00 00 00 01 00000000 0000'),
  'grants with ATYP 00': answering('05 00 00 00 00000000 0000'),
  'grants with ATYP 09': answering('05 00 00 09 00000000 0000'),
  'grants in two bytes and closes': answering('05 00', FIN),
  'grants with a name shorter than its length': answering('05 00 00 03 ff 6e616d65 1f90', FIN),
  'refuses in two bytes and stays': answering('05 02', { stall: true }),
  'refuses in two bytes and closes': answering('05 02', FIN),
  'refuses in four bytes': answering('05 04 00 01', FIN),
  'refuses in four bytes with ATYP 00': answering('05 04 00 00', FIN),
  'refuses with a name': answering('05 04 00 03 06 612e74657374 0050', FIN),
  'refuses with IPv6': answering('05 05 00 04 00000000000000000000000000000001 0000', FIN),
  'refuses with ATYP 09 and junk': answering(`05 03 00 09 ${'ff'.repeat(300)}`, FIN),
  'refuses slowly': answering('', { sendSlowly: '05 03 00 01 00000000 0000' }),
  'refuses late': answering('', { delay: 50 }, { send: '05 06 00 01 00000000 0000' }, FIN),
  'refuses and resets': answering('05 05 00 01 00000000 0000', { reset: true }),
  'refuses the credentials with 05': greetingWithPassword({ send: '05 01' }, FIN),
  'answers the credentials with VER 02': greetingWithPassword({ send: '02 00' }),
  'rejects over SOCKS4': answeringSocks4('00 5b 0000 00000000', FIN),
  'cannot connect to identd': answeringSocks4('00 5c 0000 00000000', FIN),
  'gets another name from identd': answeringSocks4('00 5d 0000 00000000', FIN),
  'grants SOCKS4 with an unknown CD': answeringSocks4('00 00 0000 00000000', FIN),

  'dante, unknown name': { like: 'dante', ...answering('05 04 00 03 09 6e6f2e73756368 2e74 0050', FIN) },
  'dante, bad password': { like: 'dante', ...greetingWithPassword({ send: '01 01' }, FIN) },
  'dante, SOCKS4A': {
    like: 'dante',
    client: 'socks4a://',
    script: [{ read: SOCKS4[0] }, { send: '00 5b 0000 00000000' }, FIN],
  },
  'microsocks, bad password': { like: 'microsocks', ...greetingWithPassword({ send: '01 02' }, FIN) },
  'microsocks, SOCKS4': { like: 'microsocks', ...answeringSocks4('05 ff', FIN) },
  'microsocks, unknown name': { like: 'microsocks', ...answering('05 01 00 01 00000000 0000', FIN) },
  'openssh, no acceptable method': { like: 'openssh', client: 'socks5://', script: [{ read: 3 }, FIN] },
  'openssh, refused port': { like: 'openssh', ...answering('', FIN) },
  'tor, failed resolution': { like: 'tor', ...answering('05 04 00 00', FIN) },
  'tor, no circuit': { like: 'tor', ...answering('05 06 00 01 00000000 0000', FIN) },
  'tor, bad onion': { like: 'tor', ...answering('05 f6 00 01 00000000 0000', FIN) },
  'tor, taken for an HTTP proxy': { like: 'tor', ...greeting(STATUS_501, FIN) },
  'ss-local, not CONNECT': { like: 'ss-local', ...answering('05 07 00 01', FIN) },
  'v2ray, bad password': { like: 'v2ray', ...greetingWithPassword({ send: '01 ff' }, FIN) },
  'stunnel, without TLS': { like: 'stunnel', client: 'socks5://', script: [{ read: 3 }, { reset: true }] },
  'stunnel, nothing behind it': {
    like: 'stunnel',
    client: 'socks5s://',
    script: [{ read: 1 }, { reset: true }],
  },
};

const GRANTED = REQUEST[1];
const UNBOUND = '05 00 00 01 00000000 0000';

/** Those that grant a tunnel and break it before a byte of the destination has come. */
export const BROKEN_TUNNELS: Readonly<Record<string, Misbehaviour>> = {
  'grants and closes': answering(GRANTED, FIN),
  'grants and resets': answering(GRANTED, { reset: true }),
  'grants, reads, and closes': answering(GRANTED, { read: 1 }, FIN),
  'grants, reads, and resets': answering(GRANTED, { read: 1 }, { reset: true }),
  'grants slowly and closes': answering('', { sendSlowly: GRANTED }, FIN),
  'grants, waits, and closes': answering(GRANTED, { delay: 50 }, FIN),
  'grants SOCKS4 and closes': answeringSocks4(SOCKS4[1], FIN),
  'grants, with junk in the same segment': answering(`${GRANTED} ${'de ad be ef'.repeat(64)}`, FIN),
  'ss-local, refused port': { like: 'ss-local', ...answering('05 00 00 01 00000000 0000', FIN) },
  // BND.PORT is that of its own inbound.
  'v2ray, refused port': { like: 'v2ray', ...answering('05 00 00 01 00000000 0438', { delay: 20 }, FIN) },
};

/** Those for a client that sends greeting, credentials and request in one segment. */
export const PIPELINED: Readonly<Record<string, Misbehaviour>> = {
  'microsocks, pipelined': {
    like: 'microsocks',
    client: 'socks5://',
    script: [{ read: 3 }, { drop: true }, { send: '05 00' }, { read: 10 }, { send: UNBOUND }],
  },
  // 05 01 02, 01 04 "user" 04 "pass", 05 01 00 01 7f000001 port. No 05 02.
  'tor, pipelined': {
    like: 'tor',
    client: 'socks5://user:pass@',
    script: [{ read: 24 }, { send: `01 00 ${UNBOUND}` }],
  },
  'dante, banner in the segment of the reply': {
    like: 'dante',
    client: 'socks5://',
    script: [{ read: 13 }, { send: `05 00 ${GRANTED} ${text('220 hello\r\n')}` }],
  },
};

function octets(hex: string): string[] {
  return hex.match(/[0-9a-f]{2}/g) ?? [];
}
