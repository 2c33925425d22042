export * from '@socksify/support';
export { startSite as startWeb } from '@socksify/support';
export type { Site as Web } from '@socksify/support';
