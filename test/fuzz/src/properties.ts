// All properties, in the order in which they are run.

import { BRIDGE } from './bridge.ts';
import { CLIENT } from './client.ts';
import { CONFIGURATION } from './configuration.ts';
import { CONVERSATION } from './conversation.ts';
import { OPTIONS } from './options.ts';
import type { Property } from './property.ts';
import { SELECTORS } from './selectors.ts';
import { SERVER } from './server.ts';
import { SOCKETS } from './given-sockets.ts';

export const PROPERTIES: readonly Property[] = [
  ...CLIENT,
  ...CONFIGURATION,
  ...SERVER,
  ...BRIDGE,
  ...CONVERSATION,
  ...OPTIONS,
  ...SOCKETS,
  ...SELECTORS,
];
