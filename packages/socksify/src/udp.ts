// Refuses UDP, and the membership messages of multicast. Addresses that are listed pass; names do not, because what they
// stand for is looked up later.

import type { Socket } from 'node:dgram';
import { isIP } from 'node:net';
import { bySymbol, prototypeOfHandle } from './internals.ts';
import type { Patches } from './patches.ts';
import { print, refusal } from './policy.ts';
import type { Policy } from './policy.ts';
import { fieldOf } from './unknown.ts';

export function watchUdp(patches: Patches, policy: Policy): void {
  const dgram = process.getBuiltinModule('node:dgram');
  const passes = (host: string, port: unknown): boolean =>
    isIP(host) !== 0 && policy.isDirect({ host, port: Number(port) });
  const { prototype } = dgram.Socket;
  patches.wrap(prototype, 'send', (original, socket: Socket, args) => {
    // A connected socket was checked in connect().
    if (isConnected(socket)) return Reflect.apply(original, socket, args);
    const isSlice = args[4] || (args[3] && typeof args[3] !== 'function');
    const [port, host] = isSlice ? [args[3], args[4]] : [args[1], args[2]];
    const to = typeof host === 'string' && host !== '' ? host : ownLoopback(socket);
    if (passes(to, port)) return Reflect.apply(original, socket, args);
    return report(socket, args, refusedDatagram(to, port));
  });
  patches.wrap(prototype, 'connect', (original, socket: Socket, args) => {
    const to = typeof args[1] === 'string' && args[1] !== '' ? args[1] : ownLoopback(socket);
    if (passes(to, args[0])) return Reflect.apply(original, socket, args);
    return report(socket, args, refusedDatagram(to, args[0]));
  });
  for (const name of ['addMembership', 'addSourceSpecificMembership']) {
    patches.wrap(prototype, name, (_original, _socket, args) => {
      throw refusal('multicast', String(args[0]), 'there is no UDP through this proxy');
    });
  }
  // Below: the native side of every UDP socket.
  const socket = dgram.createSocket('udp4');
  const native = prototypeOfHandle(fieldOf(bySymbol(socket, 'state symbol'), 'handle'));
  for (const name of [
    'send',
    'send6',
    'connect',
    'connect6',
    'addMembership',
    'addSourceSpecificMembership',
  ]) {
    patches.wrap(native, name, (original, self, args) => {
      const [host, port] = name.startsWith('send') ? [args[4], args[3]] : [args[0], args[1]];
      // With fewer arguments the socket is connected.
      if (typeof host !== 'string' || passes(host, port)) return Reflect.apply(original, self, args);
      throw refusedDatagram(host, port);
    });
  }
  socket.close();
}

function isConnected(socket: Socket): boolean {
  try {
    return Boolean(socket.remoteAddress());
  } catch {
    return false;
  }
}

/** Where Node sends when no address is given. */
function ownLoopback(socket: Socket): string {
  return fieldOf(socket, 'type') === 'udp6' ? '::1' : '127.0.0.1';
}

function refusedDatagram(host: string, port: unknown): Error {
  const to = print({ host, port: Number(port) });
  return refusal(
    'a datagram',
    to,
    `there is no UDP through this proxy; to allow an address, list it: NO_PROXY=${host}`,
  );
}

function report(socket: Socket, args: readonly unknown[], error: Error): void {
  const callback = args.at(-1);
  if (typeof callback === 'function') process.nextTick(callback, error);
  else process.nextTick(() => socket.emit('error', error));
}
