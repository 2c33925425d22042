// All properties, in the order in which they are run.

import { CLIENT } from './client.ts';
import { CONFIGURATION } from './configuration.ts';
import { CONVERSATION } from './conversation.ts';
import type { Property } from './property.ts';
import { SERVER } from './server.ts';

export const PROPERTIES: readonly Property[] = [...CLIENT, ...CONFIGURATION, ...SERVER, ...CONVERSATION];
