// Sends Tor's RESOLVE to the last proxy of a chain. Core's handshake makes a CONNECT, and its command is changed here.

import { connect as dialPath } from 'node:net';
import type { Socket } from 'node:net';
import { connect as startTls } from 'node:tls';
import { once } from 'node:events';
import { connect, handshake, SocksError } from '@socksify/core';
import type { Bound, Selection, SocksProxy, Steps } from '@socksify/core';
import { drive, Ended } from './read.ts';

const RESOLVE = 0xf0;
/** Tor ignores the port, and core does not accept port 0. */
export const PORT = 80;

/**
 * The address that the last proxy of the chain gives for the name. Not for a group: RESOLVE has no fail-over, and the
 * proxy that gives the address need not be the one that later gets the CONNECT.
 *
 * @throws SocksError; `ERR_SOCKS_COMMAND_NOT_SUPPORTED` when the last hop is no SOCKS5 proxy
 */
export async function resolve(
  chain: Selection,
  { host }: { readonly host: string },
  { signal, timeout }: { readonly signal: AbortSignal; readonly timeout: number },
): Promise<Bound> {
  const proxies: readonly SocksProxy[] = Array.isArray(chain) ? chain : [];
  const proxy = proxies.at(-1);
  if (proxy === undefined || proxy.version !== 5)
    throw new SocksError('ERR_SOCKS_COMMAND_NOT_SUPPORTED', { phase: 'request' });
  const destination = { host, port: PORT };
  const socket = await open(proxies, proxy, signal, timeout);
  const stop = (): void => void socket.destroy();
  const timer = setTimeout(stop, timeout);
  signal.addEventListener('abort', stop);
  try {
    return await drive(socket, asResolve(handshake(proxy, destination)));
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    throw new SocksError('ERR_SOCKS_PROXY_CLOSED', { phase: 'request', cause: error });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
    socket.destroy();
  }
}

/** A connection to the last proxy of the chain, through the others. */
async function open(
  chain: readonly SocksProxy[],
  proxy: SocksProxy,
  signal: AbortSignal,
  timeout: number,
): Promise<Socket> {
  const before = chain.slice(0, -1);
  const { path, tls } = proxy;
  if (path !== undefined && before.length === 0) {
    const plain = dialPath({ path });
    const socket = tls ? startTls({ ...tls, socket: plain }) : plain;
    for (const each of [plain, socket]) each.on('error', () => {});
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
    try {
      await once(socket, tls ? 'secureConnect' : 'connect', { signal: limit });
    } catch (error) {
      // once() leaves the socket open when the client has left or the time is over.
      for (const each of [socket, plain]) each.destroy();
      throw error;
    }
    return socket;
  }
  const { socket } = await connect(before.length > 0 ? before : () => undefined, proxy, {
    signal,
    timeout,
    tls,
    prepare: (opened) => void opened.on('error', () => {}),
  });
  return socket;
}

/*
 *     +-----+-----+-----+------+----------+----------+     Tor's socks-extensions, section 2: CMD F0 and a name.
 *     | VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT |     The reply has the address as its BND.ADDR.
 *     +-----+-----+-----+------+----------+----------+
 */
function* asResolve(steps: Steps<Bound>): Steps<Bound> {
  let step = steps.next(new Uint8Array());
  while (!step.done) {
    const { value } = step;
    // The greeting begins with 05 too, but it has four bytes at most.
    const bytes = 'write' in value ? Buffer.from(value.write) : undefined;
    if (bytes && bytes.length > 4 && bytes[0] === 0x05) {
      bytes[1] = RESOLVE;
      step = steps.next(yield { write: bytes });
    } else step = steps.next(yield value);
  }
  return step.value;
}
