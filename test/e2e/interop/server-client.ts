// A client of a real server that sends typed bytes.

import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import { dialRaw, RawClient } from '@socksify/support';
import type { RunningServer } from './server-traits.ts';

export async function dialServer({ host, port, path, tls }: RunningServer): Promise<RawClient> {
  if (tls === undefined) return dialRaw(path === undefined ? { host, port } : { path });
  const stream = connectTls({ host, port, ...tls });
  await once(stream, 'secureConnect');
  return new RawClient(stream);
}
