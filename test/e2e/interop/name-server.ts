// A name server on the loopback, for programs that do not read the hosts file. It has the names of machine.ts, and
// records the queries.

import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { HOSTS } from './machine.ts';

export interface NameServer {
  readonly port: number;
  /** Each name of a query, in lower case, in the order of the queries. */
  readonly queried: readonly string[];
  readonly close: () => Promise<void>;
}

// RFC 1035, section 4.1: a header of twelve bytes, then one question of labels, QTYPE and QCLASS.
const HEADER = 12;
const TYPE = { A: 1, AAAA: 28 } as const;
const CLASS_IN = 1;
/** QR, RD and RA; the last four bits are the RCODE. */
const ANSWER = 0x81_80;
const NAME_ERROR = 3;
/** Instead of a name: the one at this offset. */
const SAME_NAME = 0xc0_00 | HEADER;
/** In seconds. */
const TTL = 60;

const ADDRESSES = parseHosts(HOSTS);

export async function startNameServer(): Promise<NameServer> {
  const queried: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (query, { port, address }) => {
    const { name, type, end } = readQuestion(query);
    queried.push(name);
    socket.send(encodeAnswer(query.subarray(0, end), type, ADDRESSES.get(name)), port, address);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject).bind(0, '127.0.0.1', resolve);
  });
  const { port } = socket.address();
  return { port, queried, close: () => new Promise((resolve) => socket.close(() => resolve())) };
}

function parseHosts(hosts: string): Map<string, string[]> {
  const addresses = new Map<string, string[]>();
  for (const line of hosts.trim().split('\n')) {
    const [address = '', ...names] = line.split(' ');
    for (const name of names) addresses.set(name, [...(addresses.get(name) ?? []), address]);
  }
  return addresses;
}

function readQuestion(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = HEADER;
  for (let size = query.readUInt8(at); size > 0; size = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + size));
    at += 1 + size;
  }
  // Resolvers mix the case of a name against forged answers, and need the question back unchanged.
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function encodeAnswer(query: Buffer, type: number, known: readonly string[] | undefined): Buffer {
  const records = (known ?? [])
    .filter((address) => type === (isIPv6(address) ? TYPE.AAAA : TYPE.A))
    .map((address) => encodeRecord(type, bytesOf(address)));
  const header = Buffer.from(query);
  header.writeUInt16BE(known ? ANSWER : ANSWER | NAME_ERROR, 2);
  header.writeUInt16BE(records.length, 6);
  header.fill(0, 8, HEADER);
  return Buffer.concat([header, ...records]);
}

function encodeRecord(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(SAME_NAME, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(CLASS_IN, 4);
  head.writeUInt32BE(TTL, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

/** Of IPv6 the loopback only, which is all that the names have. */
function bytesOf(address: string): Buffer {
  return isIPv6(address) ? Buffer.alloc(16).fill(1, 15) : Buffer.from(address.split('.').map(Number));
}
