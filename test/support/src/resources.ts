// What a process holds: file descriptors, sockets, memory.

import { existsSync, readdirSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

/** The open file descriptors of this process, 0 where the system does not list them. */
export function countDescriptors(): number {
  return existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0;
}

/** Sockets and listeners of this process, those of servers in it included. */
export function countSockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => /^(?:TCP|TLS|Pipe)/.test(kind)).length;
}

/** The bytes that are in use on the heap. The process has to be started with --expose-gc. */
export async function measureHeap(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    await turn();
    globalThis.gc?.();
  }
  return process.memoryUsage().heapUsed;
}
