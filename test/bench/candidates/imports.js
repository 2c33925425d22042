// What importing a package costs: milliseconds of CPU, of all threads, of a process that imports it beside net, tls, http
// and https. `plain` imports those alone.

import { spawnSync } from 'node:child_process';

const candidates = {};
for (const name of ['plain', 'core', 'env', 'agent', 'undici']) {
  candidates[name] = () => {
    const modules = ['net', 'tls', 'http', 'https'].map((module) => `node:${module}`);
    if (name !== 'plain')
      modules.push(new URL(`../../../packages/${name}/dist/index.js`, import.meta.url).href);
    const source = modules.map((module) => `import '${module}';`).join('');
    const report = `process.on('exit', () => { const { user, system } = process.cpuUsage(); console.log(user + system); });`;
    const args = ['--input-type=module', '--eval', source + report];
    return () => {
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env: {} });
      if (status !== 0) throw new Error(`the program ended with ${status}: ${stderr}`);
      return Number(stdout) / 1000;
    };
  };
}
export default candidates;
