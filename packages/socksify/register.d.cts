// The preload exports nothing.
export {};
