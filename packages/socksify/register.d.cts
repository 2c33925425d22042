// The preload exports nothing.
// oxlint-disable-next-line unicorn/require-module-specifiers -- it makes this file a module
export {};
