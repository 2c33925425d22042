// The public names of @socksify/agent, and nothing else.

export { SocksAgent } from './agent.ts';
export type { SocksAgentOptions } from './agent.ts';
