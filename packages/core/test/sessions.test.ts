// TLS sessions for resumption: what keeps one, and what drops it.

import { EventEmitter } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { SessionCache } from '../src/index.ts';

const SESSION = Buffer.from('a session');

/** A cache with one session, and a socket whose handshake has begun with it. */
function resuming(): { sessions: SessionCache; socket: EventEmitter } {
  const sessions = new SessionCache();
  const first = new EventEmitter();
  sessions.watch('key', first as TLSSocket);
  first.emit('secureConnect');
  first.emit('session', SESSION);
  const socket = new EventEmitter();
  sessions.watch('key', socket as TLSSocket);
  return { sessions, socket };
}

describe('a session', () => {
  test('is dropped in the moment in which a handshake with it fails, before the socket is closed', () => {
    const { sessions, socket } = resuming();
    expect(sessions.get('key')).toBe(SESSION);
    socket.emit('error', new Error('handshake failure'));
    expect(sessions.get('key')).toBeUndefined();
  });

  test('is dropped when the socket closes during the handshake', () => {
    const { sessions, socket } = resuming();
    socket.emit('close');
    expect(sessions.get('key')).toBeUndefined();
  });

  test('is kept however a connection ends after its handshake', () => {
    const { sessions, socket } = resuming();
    socket.emit('secureConnect');
    socket.on('error', () => {});
    socket.emit('error', new Error('reset'));
    socket.emit('close', true);
    expect(sessions.get('key')).toBe(SESSION);
    expect(socket.listenerCount('error')).toBe(1);
  });

  test('makes room for a new one if it is the oldest, and becomes the newest when its key gets another', () => {
    const sessions = new SessionCache(2);
    const receive = (key: string, session = SESSION): void => {
      const socket = new EventEmitter();
      sessions.watch(key, socket as TLSSocket);
      socket.emit('secureConnect');
      socket.emit('session', session);
    };
    const newer = Buffer.from('a newer session');
    receive('one');
    receive('two');
    receive('one', newer);
    receive('three');
    expect(['one', 'two', 'three'].map((key) => sessions.get(key))).toEqual([newer, undefined, SESSION]);
  });

  test('is not kept by a cache of size 0', () => {
    const sessions = new SessionCache(0);
    const socket = new EventEmitter();
    sessions.watch('key', socket as TLSSocket);
    socket.emit('session', SESSION);
    expect(sessions.get('key')).toBeUndefined();
  });
});
