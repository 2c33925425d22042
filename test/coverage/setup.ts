// Vitest ends its processes without letting Node write what V8 has counted.

import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

afterAll(takeCoverage);
