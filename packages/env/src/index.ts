// The public names of @socksify/env, and nothing else.

export { proxyFromEnv } from './env.ts';
export type { EnvironmentSelector } from './env.ts';
