// Queries the machine of a client for the user of a connection. ident.ts has the query and reads the answer.

import type { Socket } from 'node:net';
import { canonical } from './address.ts';
import { converse } from './converse.ts';
import { askIdent } from './ident.ts';
import { dial } from './tunnel.ts';

export interface IdentOptions {
  /** The port of the client's machine to which the query is sent. Default 113. */
  readonly port?: number;
  /** Milliseconds for the dial, the query and the answer. Default 10 s. */
  readonly timeout?: number;
}

/** The user id that the client's machine gives. @throws the error for which there is none */
export async function identify(
  client: Socket,
  { port = 113, timeout = 10_000 }: IdentOptions,
  onSocket: (socket: Socket) => void,
): Promise<Buffer> {
  const { remoteAddress, remotePort: theirs, localAddress, localPort: ours } = client;
  if (
    remoteAddress === undefined ||
    theirs === undefined ||
    localAddress === undefined ||
    ours === undefined
  ) {
    throw new Error('a client without an address has no ident service');
  }
  const start = performance.now();
  const machine = await dial({
    addresses: [canonical(remoteAddress)],
    // A machine answers only about connections with the address from which the query comes.
    localAddress: canonical(localAddress),
    port,
    timeout,
    client,
    onSocket,
  });
  const left = Math.max(0, timeout - (performance.now() - start));
  const timer = setTimeout(() => machine.destroy(), left);
  const onClose = (): void => void machine.destroy();
  client.once('close', onClose);
  if (client.destroyed) onClose();
  try {
    return await converse(machine, askIdent({ theirs, ours }));
  } finally {
    clearTimeout(timer);
    client.off('close', onClose);
    machine.destroy();
  }
}
