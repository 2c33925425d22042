// The entries of the server's log, and how one is printed in a line. No entry has a password.

import { isIPv6 } from 'node:net';
import type { Refusal, SocksRequest } from './request.ts';
import type { Traffic } from './tunnel.ts';

/** A request, from the moment it was read. The fields that are not read-only change until its client has left. */
export interface Entry extends SocksRequest, Traffic {
  /** The client's port, if it came by TCP. */
  readonly remotePort: number | undefined;
  /** The second byte of the last answer: REP (00 is success), or CD of SOCKS4 (90 is). Undefined: not answered. */
  reply: number | undefined;
  /** The local port of the connection to the destination, or the port at which a peer is awaited. */
  outgoingPort: number | undefined;
  /** From the client to the destination, and back; behind the handshake. */
  bytesUp: number;
  bytesDown: number;
  /** Datagrams of an association that went nowhere, from either side. Without their headers, the others are bytes. */
  dropped: number;
  /** True once the client's socket is closed. */
  closed: boolean;
}

/** A client that was refused before it had made a whole request. */
export interface RefusedClient {
  readonly reason: string;
  /** The answer that it got, in hex: `05ff`, `0101`, or nothing. */
  readonly answer: string;
  readonly remotePort: number | undefined;
}

export function enter(request: SocksRequest, remotePort: number | undefined): Entry {
  return {
    ...request,
    remotePort,
    reply: undefined,
    outgoingPort: undefined,
    bytesUp: 0,
    bytesDown: 0,
    dropped: 0,
    closed: false,
  };
}

export function enterRefused(refusal: Refusal, remotePort: number | undefined): RefusedClient {
  return { reason: refusal.message, answer: Buffer.from(refusal.answer).toString('hex'), remotePort };
}

const COMMAND = {
  connect: 'CONNECT',
  bind: 'BIND',
  associate: 'UDP ASSOCIATE',
  resolve: 'RESOLVE',
  'resolve-ptr': 'RESOLVE_PTR',
  unknown: 'unknown command',
} as const;

/**
 * One line, whatever bytes the client sent.
 * @example SOCKS5 CONNECT name origin.test:443 user=alice -> 00
 * @example SOCKS4 CONNECT ipv4 127.0.0.1:80 -> 90
 */
export function printEntry({ form, version, command, atyp, host, port, user, reply }: Entry): string {
  const destination = `${isIPv6(host) ? `[${host}]` : printable(host)}:${port}`;
  const who = user === undefined || user === '' ? '' : ` user=${printable(user)}`;
  const answer =
    reply === undefined ? 'pending' : version === 4 ? reply : reply.toString(16).padStart(2, '0');
  return `SOCKS${form.toUpperCase()} ${COMMAND[command]} ${atyp} ${destination}${who} -> ${answer}`;
}

function printable(text: string): string {
  return text.replaceAll(/[^\x21-\x7e]/gu, (character) => encodeURIComponent(character.toWellFormed()));
}
