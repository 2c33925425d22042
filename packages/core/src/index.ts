// The public names of @socksify/core, and nothing else.

export type { Destination } from './destination.ts';
export { SocksError } from './errors.ts';
export type { SocksErrorCode, SocksPhase } from './errors.ts';
export { handshake } from './protocol/handshake.ts';
export type { HandshakeOptions } from './protocol/handshake.ts';
export type { AuthPolicy } from './protocol/socks5.ts';
export type { Bound, Step, Steps } from './protocol/step.ts';
export { parseProxy } from './proxy.ts';
export type { ProxyLike, ProxyRoute, ProxySelector, SocksCredentials, SocksProxy, Via } from './proxy.ts';
export { SocksClient } from './tunnel/client.ts';
export { connect } from './tunnel/connect.ts';
export type { ConnectOptions, SocksOptions, Tunnel } from './tunnel/connect.ts';
