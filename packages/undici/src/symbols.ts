// The two places where a global dispatcher lives.

/** Read by Node 20, 22 and 24, and by undici 5, 6 and 7. */
export const NODE_20: unique symbol = Symbol.for('undici.globalDispatcher.1');

/** Read by Node 26 and undici 8. */
export const NODE_26: unique symbol = Symbol.for('undici.globalDispatcher.2');
