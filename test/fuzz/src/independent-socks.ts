// SOCKS a second time, from the RFCs and memos alone: what the bytes of a client mean, and how a client must take the
// bytes of a server. Imports nothing of the package, so that the package can be held against it.

export interface Asked {
  readonly methods: readonly number[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly form: 'ipv4' | 'ipv6' | 'name';
  /** Four or sixteen octets, or the name. */
  readonly address: Buffer;
  readonly port: number;
}

/** One message, read from its front. Wanting more than there is throws, and so does leaving something. */
class Message {
  #rest: Buffer;

  constructor(bytes: Buffer | undefined) {
    if (bytes === undefined) throw new RangeError('a message is missing');
    this.#rest = bytes;
  }

  take(count: number): Buffer {
    if (count > this.#rest.length) throw new RangeError('the message is cut short');
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }

  expect(...octets: readonly number[]): void {
    const found = this.take(octets.length);
    if (!found.equals(Buffer.from(octets))) throw new RangeError(`${found.toString('hex')} is wrong here`);
  }

  byte(): number {
    return this.take(1).readUInt8();
  }

  counted(): Buffer {
    return this.take(this.byte());
  }

  untilNul(): Buffer {
    const text = this.take(this.#rest.indexOf(0));
    this.expect(0);
    return text;
  }

  end(): void {
    if (this.#rest.length > 0) throw new RangeError('there are bytes behind the message');
  }
}

const utf8 = (bytes: Buffer): string =>
  new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);

/** What a client requests with these messages, of which each is whole. @throws RangeError, TypeError */
export function decode(messages: readonly Buffer[]): Asked {
  return messages[0]?.[0] === 4 ? decode4(messages) : decode5(messages);
}

function decode4([bytes, ...more]: readonly Buffer[]): Asked {
  if (more.length > 0) throw new RangeError('SOCKS4 is one message');
  const message = new Message(bytes);
  message.expect(4, 1);
  const port = message.take(2).readUInt16BE();
  const ip = message.take(4);
  const username = utf8(message.untilNul());
  const named = ip.readUInt32BE() > 0 && ip.readUInt32BE() < 256;
  const address = named ? message.untilNul() : ip;
  message.end();
  return { methods: [], username, password: undefined, form: named ? 'name' : 'ipv4', address, port };
}

function decode5(messages: readonly Buffer[]): Asked {
  const greeting = new Message(messages[0]);
  greeting.expect(5);
  const methods = [...greeting.counted()];
  greeting.end();
  let [username, password]: (string | undefined)[] = [];
  if (messages.length === 3) {
    const login = new Message(messages[1]);
    login.expect(1);
    username = utf8(login.counted());
    password = utf8(login.counted());
    login.end();
  }
  const request = new Message(messages.at(-1));
  request.expect(5, 1, 0);
  const atyp = request.byte();
  const form = ({ 1: 'ipv4', 3: 'name', 4: 'ipv6' } as const)[atyp];
  if (form === undefined) throw new RangeError(`ATYP ${atyp}`);
  const address = form === 'name' ? request.counted() : request.take(form === 'ipv4' ? 4 : 16);
  const port = request.take(2).readUInt16BE();
  request.end();
  return { methods, username, password, form, address, port };
}

/** How many bytes the answers of a proxy take up that grants the request; or why there is no such number. */
export type Verdict = number | 'refused' | 'short';

/** @param offered the methods of SOCKS5; none: SOCKS4 */
export function verdictOn(bytes: Buffer, offered: readonly number[]): Verdict {
  const at = (index: number): number => bytes[index] ?? -1;
  if (offered.length === 0) {
    if (bytes.length < 2) return 'short';
    if (![0, 4].includes(at(0)) || at(1) !== 90) return 'refused';
    return bytes.length < 8 ? 'short' : 8;
  }
  if (bytes.length < 2) return 'short';
  if (at(0) !== 5 || !offered.includes(at(1))) return 'refused';
  let start = 2;
  if (at(1) === 2) {
    if (bytes.length < 4) return 'short';
    if (at(3) !== 0 || ![1, 5].includes(at(2))) return 'refused';
    start = 4;
  }
  if (bytes.length < start + 2) return 'short';
  if (at(start) !== 5 || at(start + 1) !== 0) return 'refused';
  if (bytes.length < start + 4) return 'short';
  const atyp = at(start + 3);
  if (![1, 3, 4].includes(atyp)) return 'refused';
  if (atyp === 3 && bytes.length < start + 5) return 'short';
  const end = start + (atyp === 1 ? 10 : atyp === 4 ? 22 : 7 + at(start + 4));
  return bytes.length < end ? 'short' : end;
}
