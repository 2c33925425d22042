// Reads every message of a SOCKS4, SOCKS4A or SOCKS5 client. Each reader yields how many bytes it needs. The callers do
// the IO, and decide whether a request is granted.

import { readAddress, uint16 } from './address.ts';
import type { Destination } from './address.ts';
import { encodeReply, REP } from './reply.ts';
import type { Rep } from './reply.ts';

/** A reader yields this to get exactly so many bytes, never 0. */
export interface Read {
  readonly read: number;
}

/** Reads one message, and no byte beyond it. */
export type Reader<Message> = Generator<Read, Message, Uint8Array>;

/** The last two before `unknown` are Tor's. */
export type Command = 'connect' | 'bind' | 'associate' | 'resolve' | 'resolve-ptr' | 'unknown';

/** The request of a client. */
export interface SocksRequest extends Destination {
  readonly version: 4 | 5;
  /** Which of the three forms of a request: `4a` is version 4 with a name. */
  readonly form: '4' | '4a' | '5';
  readonly command: Command;
  /** SOCKS4: the USERID, often empty. SOCKS5: the user name, if method 02 was used. */
  readonly user?: string;
  /** SOCKS5: the method that the server chose, 0x00 or 0x02. */
  readonly method?: number;
}

/** Offered methods, of a SOCKS5 client. */
export interface Greeting {
  readonly version: 5;
  readonly methods: readonly number[];
}

export interface Userpass {
  readonly username: Buffer;
  readonly password: Buffer;
}

/** The server refuses: it sends `answer`, which may be empty, and closes. */
export class Refusal extends Error {
  override readonly name: string = 'Refusal';
  readonly answer: Uint8Array;
  /** The request, if all of it was read. */
  readonly request: SocksRequest | undefined;

  constructor(reason: string, answer: Uint8Array, request?: SocksRequest) {
    super(reason);
    this.answer = answer;
    this.request = request;
  }
}

const NOTHING: Uint8Array = new Uint8Array();
const NAME_MAX = 255;

/** The first message on a connection; its first byte tells the version. */
export function* readHello(): Reader<SocksRequest | Greeting> {
  const [version] = yield { read: 1 };
  if (version === 4) return yield* readRequest4();
  if (version === 5) return yield* readGreeting();
  throw new Refusal(`neither SOCKS4 nor SOCKS5: first byte ${version}`, NOTHING);
}

/*
 *     +----+-----+---------+-------+--------+------+     VN has been read. SOCKS4A: DSTIP is 0.0.0.x, x
 *     | VN | CMD | DSTPORT | DSTIP | USERID | NULL |     any but 0, and the name with its own NULL follows.
 *     +----+-----+---------+-------+--------+------+
 *     | 1  |  1  |    2    |   4   |  any   |  1   |
 *     +----+-----+---------+-------+--------+------+
 */
function* readRequest4(): Reader<SocksRequest> {
  const [cmd, ...portAndIp] = yield { read: 7 };
  const ip = portAndIp.slice(2);
  const user = (yield* readString('USERID')).toString('utf8');
  const named = ip[0] === 0 && ip[1] === 0 && ip[2] === 0 && ip[3] !== 0;
  const host = named ? (yield* readString('name')).toString('latin1') : ip.join('.');
  const request: SocksRequest = {
    version: 4,
    form: named ? '4a' : '4',
    command: commandOf(cmd, 4),
    atyp: named ? 'name' : 'ipv4',
    host,
    port: uint16(portAndIp),
    user,
  };
  if (host === '') throw refuse('empty name', REP.GENERAL_FAILURE, request);
  if (request.command === 'unknown') throw refuse(`CMD ${cmd}`, REP.COMMAND_NOT_SUPPORTED, request);
  return request;
}

// The NUL ends the text. Its length is limited, because a client may never send the NUL.
function* readString(what: string): Reader<Buffer> {
  const bytes: number[] = [];
  for (;;) {
    const [byte = 0] = yield { read: 1 };
    if (byte === 0) return Buffer.from(bytes);
    if (bytes.push(byte) > NAME_MAX) {
      throw new Refusal(`${what} longer than ${NAME_MAX} bytes`, encodeReply(4, REP.GENERAL_FAILURE));
    }
  }
}

/*
 *     +-----+----------+----------+
 *     | VER | NMETHODS | METHODS  |       RFC 1928 section 3. VER has been read.
 *     +-----+----------+----------+
 *     |  1  |    1     | 0 to 255 |
 *     +-----+----------+----------+
 */
function* readGreeting(): Reader<Greeting> {
  const [count = 0] = yield { read: 1 };
  return { version: 5, methods: count === 0 ? [] : [...(yield { read: count })] };
}

/*
 *     +-----+------+----------+------+----------+
 *     | VER | ULEN |  UNAME   | PLEN |  PASSWD  |       RFC 1929 section 2. Any octet; curl and
 *     +-----+------+----------+------+----------+       others send passwords of no bytes too.
 *     |  1  |  1   | 0 to 255 |  1   | 0 to 255 |
 *     +-----+------+----------+------+----------+
 */
export function* readUserpass(): Reader<Userpass> {
  const [ver, ulen = 0] = yield { read: 2 };
  if (ver !== 0x01) throw new Refusal(`VER ${ver} of the user name and password`, NOTHING);
  // PLEN comes with the name, so that no read is ever empty.
  const name = yield { read: ulen + 1 };
  const plen = name[ulen] ?? 0;
  const password = plen === 0 ? NOTHING : yield { read: plen };
  return { username: Buffer.from(name.subarray(0, ulen)), password: Buffer.from(password) };
}

/*
 *     +-----+-----+-------+------+----------+----------+     RFC 1928 section 4. All of it is read before
 *     | VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |     it is judged: a close with bytes unread is a
 *     +-----+-----+-------+------+----------+----------+     reset, and a reset can overtake the reply.
 *     |  1  |  1  | X'00' |  1   | Variable |    2     |
 *     +-----+-----+-------+------+----------+----------+
 */
export function* readRequest5(client: Pick<SocksRequest, 'method' | 'user'> = {}): Reader<SocksRequest> {
  const [ver, cmd, rsv, atyp = 0] = yield { read: 4 };
  if (ver !== 0x05) throw new Refusal(`VER ${ver} in the request`, NOTHING);
  const destination = yield* readAddress(atyp);
  if (!destination) throw new Refusal(`ATYP ${atyp}`, encodeReply(5, REP.ADDRESS_TYPE_NOT_SUPPORTED));
  const request: SocksRequest = {
    version: 5,
    form: '5',
    command: commandOf(cmd, 5),
    ...destination,
    ...client,
  };
  if (rsv !== 0x00) throw refuse(`RSV ${rsv}`, REP.GENERAL_FAILURE, request);
  if (request.host === '') throw refuse('empty name', REP.GENERAL_FAILURE, request);
  if (request.command === 'unknown') throw refuse(`CMD ${cmd}`, REP.COMMAND_NOT_SUPPORTED, request);
  return request;
}

function refuse(reason: string, rep: Rep, request: SocksRequest): Refusal {
  return new Refusal(reason, encodeReply(request.version, rep), request);
}

// Of Tor's two commands, SOCKS4 cannot answer the second.
function commandOf(cmd: number | undefined, version: 4 | 5): Command {
  if (cmd === 0x01) return 'connect';
  if (cmd === 0x02) return 'bind';
  if (cmd === 0x03 && version === 5) return 'associate';
  if (cmd === 0xf0) return 'resolve';
  return cmd === 0xf1 && version === 5 ? 'resolve-ptr' : 'unknown';
}
