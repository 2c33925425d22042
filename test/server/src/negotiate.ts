// Reads from the first byte of a client to its request, and decides whether the client may use the server. No IO.

import { createHash, timingSafeEqual } from 'node:crypto';
import { encodeReply, REP } from './reply.ts';
import { readHello, readRequest5, readUserpass, Refusal } from './request.ts';
import type { Read, SocksRequest, Userpass } from './request.ts';

/** Bytes to send, or exactly so many to read. */
export type Step = Read | { readonly write: Uint8Array };

/** Yields {@link Step}s, is resumed with the bytes of a `read`, throws a {@link Refusal}. */
export type Steps<Result> = Generator<Step, Result, Uint8Array>;

/** Who may use the server. Without options everybody may. */
export interface Policy {
  /**
   * Names and passwords of RFC 1929. With them SOCKS5 clients must offer method 02, and SOCKS4 clients, who have no
   * password, are refused. `any` accepts whatever comes, as tor does to keep its users' circuits apart.
   */
  readonly users?: Readonly<Record<string, string>> | 'any' | undefined;
  /** With `users`: serve SOCKS4 and clients that offer only method 00 all the same. Default false. */
  readonly allowAnonymous?: boolean | undefined;
  /** A SOCKS4 client has to send one of these USERIDs. A USERID proves nothing. */
  readonly userIds?: readonly string[] | undefined;
}

const METHOD = { NONE: 0x00, USERPASS: 0x02, NONE_ACCEPTABLE: 0xff } as const;
const STATUS = { SUCCESS: 0x00, FAILURE: 0x01 } as const;

/** The whole of a client's part before the outgoing connection, for all versions. */
export function* negotiate(policy: Policy): Steps<SocksRequest> {
  const hello = yield* readHello();
  if (!('methods' in hello)) return checkUserId(hello, policy);

  const method = chooseMethod(hello.methods, policy);
  yield { write: Uint8Array.of(0x05, method) };
  if (method === METHOD.NONE) return yield* readRequest5({ method });

  const given = yield* readUserpass();
  const user = given.username.toString('utf8');
  if (!isUser(given, policy)) {
    throw new Refusal(`wrong credentials of ${JSON.stringify(user)}`, Uint8Array.of(0x01, STATUS.FAILURE));
  }
  yield { write: Uint8Array.of(0x01, STATUS.SUCCESS) };
  return yield* readRequest5({ method, user });
}

function checkUserId(request: SocksRequest, { users, allowAnonymous, userIds }: Policy): SocksRequest {
  const welcome = userIds
    ? userIds.includes(request.user ?? '')
    : users === undefined || users === 'any' || allowAnonymous === true;
  if (!welcome) throw new Refusal('USERID refused', encodeReply(4, REP.NOT_ALLOWED), request);
  return request;
}

// Of 00 and 02 it chooses 02, as tor does.
function chooseMethod(offered: readonly number[], { users, allowAnonymous }: Policy): 0x00 | 0x02 {
  if (users && offered.includes(METHOD.USERPASS)) return METHOD.USERPASS;
  if ((!users || allowAnonymous) && offered.includes(METHOD.NONE)) return METHOD.NONE;
  throw new Refusal(
    `no acceptable method among ${offered.length}`,
    Uint8Array.of(0x05, METHOD.NONE_ACCEPTABLE),
  );
}

// Name and password of every user are compared, even after a match, so that the time says nothing about them.
function isUser({ username, password }: Userpass, { users = {} }: Policy): boolean {
  if (users === 'any') return true;
  let found = 0;
  for (const [name, secret] of Object.entries(users)) found |= same(name, username) & same(secret, password);
  return found === 1;
}

function same(expected: string, given: Buffer): number {
  return Number(timingSafeEqual(digest(Buffer.from(expected, 'utf8')), digest(given)));
}

function digest(value: Buffer): Buffer {
  return createHash('sha256').update(value).digest();
}
