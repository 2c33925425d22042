// Gives the connection of an open tunnel to the socket on which the program waits, so that data flows natively. Uses
// internals of Node's sockets; each name here was checked on Node 20, 22, 24 and 26.

import type { Socket } from 'node:net';

/** The native side of a socket: a TCP connection, or TLS over one. */
interface Handle {
  reading: boolean;
  onread: unknown;
  onerror?: (error: Error) => void;
  onnewsession?: unknown;
  readStop(): void;
  hasRef?(): boolean;
  getAsyncId(): number;
  useUserBuffer(buffer: Uint8Array): void;
  close(done?: () => void): void;
  /** Of TLS alone. */
  receive?(bytes: Uint8Array): void;
  getServername?(): string | false | undefined;
  getSession?(): Buffer | undefined;
  enableSessionCallbacks?(): void;
  enableKeylogCallback?(): void;
  [key: symbol]: unknown;
}

/** Fields of Node's sockets that its types leave out. */
interface Internals {
  _handle: Handle | null;
  _sockname: unknown;
  _peername: unknown;
  _host: string | null;
  _readableState: { ended: boolean };
  _undestroy(): void;
  connecting: boolean;
  ssl?: Handle | null;
  encrypted?: boolean;
  _wrapHandle(wrap: Socket | null, handle: Handle, hasActiveWrite: boolean): Handle;
  _init(socket: Socket | undefined, wrap: Socket | null): void;
  setSession(session: Buffer): void;
  setServername(name: string): void;
  [key: symbol]: unknown;
}

function internalsOf(socket: Socket): Internals {
  return socket as unknown as Internals;
}

/** True for a TLSSocket that dials for itself. */
export function isTls(socket: Socket): boolean {
  return internalsOf(socket).encrypted === true && '_wrapHandle' in socket;
}

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
  for (let bytes; (bytes = tunnel.read() as Buffer | null) !== null; ) early.push(bytes);
  const { ended } = internalsOf(tunnel)._readableState;
  tunnel.on('error', () => {}).setTimeout(0);
  if (isTls(socket)) secure(tunnel, socket, early);
  else move(tunnel, socket);

  const internals = internalsOf(socket);
  internals.connecting = false;
  internals._sockname = null;
  socket.emit('connect');
  socket.emit('ready');
  if (socket.destroyed) return;
  if (!isTls(socket)) {
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
  const buffer = to[symbolOf(to, 'kBuffer')] as Uint8Array | null | undefined;
  if (buffer) handle.useUserBuffer(buffer);
  if (!from.encrypted) return;
  // TLS to the proxy: errors of this layer are those of the connection, and closing it frees its native memory.
  to.ssl = handle;
  handle.onerror = (error) => void socket.destroy(error);
  handle.onnewsession = (): void => {};
}

/** For TLS of the program. Its native part belongs to one connection, so a new one is made over this tunnel. */
function secure(tunnel: Socket, socket: Socket, early: readonly Buffer[]): void {
  const [from, to] = [internalsOf(tunnel), internalsOf(socket)];
  const old = to._handle as Handle;
  const [servername, session] = [old.getServername?.(), old.getSession?.()];
  let handle: Handle;
  if (from.encrypted) {
    handle = to._wrapHandle(tunnel, from._handle as Handle, false);
  } else {
    const tcp = detach(tunnel);
    setOwner(tcp, socket);
    handle = to._wrapHandle(null, tcp, false);
  }
  handle.onread = old.onread;
  setOwner(old, {});
  old.close();
  to._handle = handle;
  to.ssl = handle;
  setOwner(handle, socket);
  to._init(undefined, from.encrypted ? tunnel : null);
  if (session) to.setSession(session);
  if (servername) to.setServername(servername);
  // Listeners that were added earlier enabled these events on the old handle.
  if (socket.listenerCount('session') > 0) handle.enableSessionCallbacks?.();
  if (socket.listenerCount('keylog') > 0) handle.enableKeylogCallback?.();
  for (const bytes of early) handle.receive?.(bytes);
}

function detach(tunnel: Socket): Handle {
  const internals = internalsOf(tunnel);
  const handle = internals._handle as Handle;
  handle.readStop();
  // With true, Node would believe that the handle reads already, and would never start it.
  handle.reading = false;
  internals._handle = null;
  return handle;
}

function setOwner(handle: Handle, owner: object): void {
  handle[symbolOf(handle, 'owner_symbol')] = owner;
}

/** Bytes that came behind the reply of the proxy. */
function deliver(socket: Socket, bytes: Buffer): void {
  const internals = internalsOf(socket);
  const buffer = internals[symbolOf(internals, 'kBuffer')] as Uint8Array | null | undefined;
  if (!buffer) {
    socket.push(bytes);
    return;
  }
  // With `onread` the program reads from a buffer of its own.
  const callback = internals[symbolOf(internals, 'kBufferCb')] as (
    size: number,
    buffer: Uint8Array,
  ) => unknown;
  for (let offset = 0; offset < bytes.length; offset += buffer.length) {
    const size = bytes.copy(buffer, 0, offset);
    Reflect.apply(callback, socket, [size, buffer]);
  }
}

/** The socket of a native handle, if it has one. */
export function ownerOf(handle: object): unknown {
  const symbol = symbols.get('owner_symbol') ?? findSymbol(handle, 'owner_symbol');
  return symbol && (handle as Record<symbol, unknown>)[symbol];
}

const symbols = new Map<string, symbol>();

/** Node exports none of its own symbols, so each is found by its description on an object that has it. */
function findSymbol(object: object, description: string): symbol | undefined {
  let symbol: symbol | undefined;
  for (let at: object | null = object; !symbol && at; at = Object.getPrototypeOf(at) as object | null) {
    symbol = Object.getOwnPropertySymbols(at).find((each) => each.description === description);
  }
  if (symbol) symbols.set(description, symbol);
  return symbol;
}

function symbolOf(object: object, description: string): symbol {
  const symbol = symbols.get(description) ?? findSymbol(object, description);
  if (!symbol) throw new Error(`this Node has no ${description} in its sockets`);
  return symbol;
}
