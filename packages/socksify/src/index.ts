// The public names of socksify, and nothing else.

export type { Bridge } from './bridge/bridge.ts';
export type { BridgeOptions } from './bridge/options.ts';
export { startBridge } from './bridge/start.ts';
export { checkProxy } from './check-proxy.ts';
export type { CheckOptions } from './check/check.ts';
export type { Certificate, CheckError, CheckReport, PhaseTime } from './check/report.ts';
export { install } from './install.ts';
export type { InstallOptions } from './install.ts';
