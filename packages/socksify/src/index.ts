// The public names of socksify, and nothing else.

export { install } from './install.ts';
export type { InstallOptions } from './install.ts';
