// The public names of @socksify/undici, and nothing else.

export { socksConnector } from './connector.ts';
export type { AdapterOptions, SocksConnector, SocksConnectorOptions } from './connector.ts';
export { SocksDispatcher } from './dispatcher.ts';
export { setGlobalDispatcher } from './global.ts';
export type { AgentOptions, ConnectorOptions, SocksDispatcherOptions } from './options.ts';
export type {
  AgentClass,
  AgentLike,
  Connector,
  ConnectorCallback,
  ConnectorDestination,
  DispatchOptions,
  Handler,
  Interceptor,
} from './undici-shapes.ts';
