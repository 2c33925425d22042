// The public names of @socksify/core, and nothing else.

export type { Blame } from './blame.ts';
export type { Chain } from './chain.ts';
export { chainKey } from './chain-key.ts';
export { parseHost } from './destination.ts';
export type { Destination, DestinationLike } from './destination.ts';
export { SocksError } from './errors.ts';
export type { SocksErrorCode, SocksErrorDetails, SocksPhase } from './errors.ts';
export { proxyGroup } from './group/group.ts';
export type { Alternatives, GroupOptions, ProxyGroup } from './group/group.ts';
export type { GroupMessage, MemberState } from './group/member.ts';
export type { ConnectOptions, SocksOptions } from './options.ts';
export { handshake } from './protocol/handshake.ts';
export type { HandshakeOptions } from './protocol/handshake.ts';
export type { AuthMethod, AuthPolicy, Encapsulation } from './protocol/method.ts';
export type { Bound, Step, Steps } from './protocol/step.ts';
export { parseProxy } from './proxy.ts';
export type { ProxyLike, ProxyObject, SocksCredentials, SocksProxy } from './proxy.ts';
export type { ProxyChoice, ProxyRoute, ProxySelector, Selection } from './route.ts';
export { SecureContexts } from './secure-contexts.ts';
export { connect, SocksClient } from './tunnel/client.ts';
export type { ClientOptions, Tunnel } from './tunnel/client.ts';
export type { AttemptMessage, TunnelMessage } from './tunnel/trace.ts';
export type { SecureOptions } from './tunnel/secure.ts';
export { SessionCache } from './tunnel/sessions.ts';
