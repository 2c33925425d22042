// Checked by tsc, never run: one SocksDispatcher fits every undici's types, whichever is installed.

import * as undici5 from 'undici5';
import * as undici6 from 'undici6';
import * as undici7 from 'undici7';
import * as undici8 from 'undici8';
import { setGlobalDispatcher, socksConnector, SocksDispatcher } from '../src/index.ts';

const dispatcher: SocksDispatcher = new SocksDispatcher('socks5://127.0.0.1:1080');

// @types/node: the global fetch.
export const ofNode: Promise<Response> = fetch('https://example.com', { dispatcher });
export const init: NonNullable<RequestInit['dispatcher']> = dispatcher;
export const composed: NonNullable<RequestInit['dispatcher']> = dispatcher.compose();
// @ts-expect-error it is no `any` that the lines above fit into
export const none: NonNullable<RequestInit['dispatcher']> = {};

export const five: undici5.Dispatcher = dispatcher;
export const six: undici6.Dispatcher = dispatcher;
export const seven: undici7.Dispatcher = dispatcher;
export const eight: undici8.Dispatcher = dispatcher;

void undici5.fetch('https://example.com', { dispatcher });
void undici6.fetch('https://example.com', { dispatcher });
void undici7.fetch('https://example.com', { dispatcher });
void undici8.fetch('https://example.com', { dispatcher });
void undici5.request('https://example.com', { dispatcher });
void undici6.request('https://example.com', { dispatcher });
void undici7.request('https://example.com', { dispatcher });
void undici8.request('https://example.com', { dispatcher });
undici5.setGlobalDispatcher(dispatcher);
undici6.setGlobalDispatcher(dispatcher);
undici7.setGlobalDispatcher(dispatcher);
undici8.setGlobalDispatcher(dispatcher);
void new undici8.WebSocket('wss://example.com', { dispatcher });

// Any Agent to build on, any interceptor.
void new SocksDispatcher('socks5://127.0.0.1:1080', { Agent: undici5.Agent });
void new SocksDispatcher('socks5://127.0.0.1:1080', { Agent: undici6.Agent });
void new SocksDispatcher('socks5://127.0.0.1:1080', { Agent: undici7.Agent });
void new SocksDispatcher('socks5://127.0.0.1:1080', {
  Agent: undici8.Agent,
  connect: { ca: 'PEM' },
  connections: 4,
});
void dispatcher.compose(undici6.interceptors.retry());
void dispatcher.compose(undici7.interceptors.retry(), undici8.interceptors.redirect());
void dispatcher.compose([undici8.interceptors.dump()]);

// The connector.
const connect = socksConnector('socks5://127.0.0.1:1080');
void new undici5.Agent({ connect });
void new undici6.Agent({ connect });
void new undici7.Pool('https://example.com', { connect });
void new undici8.Client('https://example.com', { connect });

export const undo: () => void = setGlobalDispatcher(dispatcher);
setGlobalDispatcher(dispatcher.compose());

// @ts-expect-error a misspelt option
void new SocksDispatcher('socks5://127.0.0.1:1080', { connection: 4 });
// @ts-expect-error the time limit is connectTimeout
void new SocksDispatcher('socks5://127.0.0.1:1080', { timeout: 4 });
// @ts-expect-error no dispatcher
setGlobalDispatcher({});
