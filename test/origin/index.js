// The former name of @socksify/support, until no test imports it.

export * from '@socksify/support';
export { startSite as startWeb } from '@socksify/support';
