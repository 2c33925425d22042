// Gives the connection of an open tunnel to the socket on which the program waits, so that data flows natively.

import type { Socket } from 'node:net';
import { bySymbol, checkHandle, internalsOf, isTls, symbolOf } from './internals.ts';
import type { Handle, TlsInternals } from './internals.ts';
import { isFunction } from './unknown.ts';

// Not imported: an import reads every export of a module of Node, and some of them load much.
const { isUint8Array } = process.getBuiltinModule('node:util').types;

/** Puts a socket into the state in which Node waits for a connection. */
export function beginConnecting(socket: Socket): void {
  const internals = internalsOf(socket);
  if (socket.destroyed) {
    // Node lets a closed socket connect again.
    internals._handle = null;
    internals._peername = undefined;
    internals._sockname = undefined;
    internals._undestroy();
  }
  internals.connecting = true;
}

/** @param tunnel our open socket, of TCP or of TLS to a proxy; it cannot be used afterwards */
export function giveHandle(tunnel: Socket, socket: Socket): void {
  const early: Buffer[] = [];
  for (let bytes: Buffer | null; (bytes = tunnel.read()) !== null; ) early.push(bytes);
  const { ended } = internalsOf(tunnel)._readableState;
  tunnel.on('error', () => {}).setTimeout(0);
  const isSecure = isTls(socket);
  if (isSecure) secure(tunnel, socket, early);
  else move(tunnel, socket);

  const internals = internalsOf(socket);
  internals.connecting = false;
  internals._sockname = null;
  socket.emit('connect');
  socket.emit('ready');
  if (socket.destroyed) return;
  if (!isSecure) {
    for (const bytes of early) deliver(socket, bytes);
    if (ended) socket.push(null);
  }
  if (!socket.isPaused()) socket.read(0);
}

function move(tunnel: Socket, socket: Socket): void {
  const [from, to] = [internalsOf(tunnel), internalsOf(socket)];
  const handle = detach(tunnel);
  // The socket is not reinitialised: that would forget an end() that was called while it was connecting.
  to._handle = handle;
  setOwner(handle, socket);
  const buffer = bySymbol(socket, 'kBuffer');
  if (isUint8Array(buffer)) handle.useUserBuffer(buffer);
  if (!from.encrypted) return;
  // TLS to the proxy: errors of this layer are those of the connection, and closing it frees its native memory.
  to.ssl = handle;
  handle.onerror = (error) => void socket.destroy(error);
  handle.onnewsession = (): void => {};
}

/** For TLS of the program. Its native part belongs to one connection, so a new one is made over this tunnel. */
function secure(tunnel: Socket, socket: Socket & TlsInternals, early: readonly Buffer[]): void {
  const from = internalsOf(tunnel);
  const old = checkHandle(socket._handle);
  const [servername, session] = [old.getServername?.(), old.getSession?.()];
  const handle = checkHandle(wrap(tunnel, socket));
  handle.onread = old.onread;
  setOwner(old, {});
  old.close();
  socket._handle = handle;
  socket.ssl = handle;
  setOwner(handle, socket);
  socket._init(undefined, from.encrypted ? tunnel : null);
  if (session) socket.setSession(session);
  if (servername) socket.setServername(servername);
  // Listeners that were added earlier enabled these events on the old handle.
  if (socket.listenerCount('session') > 0) handle.enableSessionCallbacks?.();
  if (socket.listenerCount('keylog') > 0) handle.enableKeylogCallback?.();
  for (const bytes of early) handle.receive?.(bytes);
}

/** The handle for TLS of the program over this tunnel. */
function wrap(tunnel: Socket, socket: Socket & TlsInternals): unknown {
  const { encrypted, _handle } = internalsOf(tunnel);
  if (encrypted) return socket._wrapHandle(tunnel, checkHandle(_handle), false);
  const tcp = detach(tunnel);
  setOwner(tcp, socket);
  return socket._wrapHandle(null, tcp, false);
}

function detach(tunnel: Socket): Handle {
  const internals = internalsOf(tunnel);
  const handle = checkHandle(internals._handle);
  handle.readStop();
  // With true, Node would believe that the handle reads already, and would never start it.
  handle.reading = false;
  internals._handle = null;
  return handle;
}

function setOwner(handle: Handle, owner: object): void {
  handle[symbolOf(handle, 'owner_symbol')] = owner;
}

/** Passes on bytes that came behind the reply of the proxy. */
function deliver(socket: Socket, bytes: Buffer): void {
  const buffer = bySymbol(socket, 'kBuffer');
  const callback = isUint8Array(buffer) ? bySymbol(socket, 'kBufferCb') : undefined;
  if (!isUint8Array(buffer) || !isFunction(callback)) {
    socket.push(bytes);
    return;
  }
  // With `onread` the program reads from a buffer of its own.
  for (let offset = 0; offset < bytes.length; offset += buffer.length) {
    const size = bytes.copy(buffer, 0, offset);
    Reflect.apply(callback, socket, [size, buffer]);
  }
}
