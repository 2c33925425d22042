// The public names of @socksify/fuzz, and nothing else.

export { PROPERTIES } from './properties.ts';
export type { Property } from './property.ts';
