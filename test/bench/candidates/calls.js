// How many functions of the packages one request calls, as path.js counts them.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PATH = fileURLToPath(new URL('../path.js', import.meta.url));

const candidates = {};
for (const client of ['fetch', 'https.get']) {
  for (const connection of ['new connection', 'kept-alive connection']) {
    const name = `${client}, ${connection}`;
    candidates[name] = () => () => {
      const { stdout, stderr } = spawnSync(process.execPath, [PATH], { encoding: 'utf8' });
      const found = stdout.split('\n').find((line) => line.startsWith(`${name}: `));
      if (found === undefined) throw new Error(`path.js printed ${stdout}${stderr}`);
      return Number(/(\d+) calls/.exec(found)[1]);
    };
  }
}
export default candidates;
