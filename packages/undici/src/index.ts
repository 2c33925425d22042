// The public names of @socksify/undici, and nothing else.

export type { AgentClass, AgentLike } from './agent.ts';
export { socksConnector } from './connector.ts';
export type {
  AdapterOptions,
  ConnectorCallback,
  ConnectorTarget,
  SocksConnector,
  SocksConnectorOptions,
} from './connector.ts';
export { SocksDispatcher } from './dispatcher.ts';
export type { Interceptor } from './dispatcher.ts';
export { setGlobalDispatcher } from './global.ts';
export type { Handler } from './handlers.ts';
export type { AgentOptions, ConnectorOptions, SocksDispatcherOptions } from './options.ts';
export type { DispatchOptions } from './request.ts';
