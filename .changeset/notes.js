// Prints what CHANGELOG.md says of the version of the packages. With a tag, such as `v1.2.3`, fails unless the tag names
// that version: a release is published for a tag.

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [tag] = process.argv.slice(2);

const versions = readdirSync(`${root}packages`, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => JSON.parse(readFileSync(`${root}packages/${name}/package.json`, 'utf8')).version);
const [version] = versions;
if (new Set(versions).size !== 1)
  throw new Error(`the packages have several versions: ${versions.join(', ')}`);
if (tag !== undefined && tag !== `v${version}`)
  throw new Error(`the tag is ${tag}, but the packages have version ${version}`);

const sections = readFileSync(`${root}CHANGELOG.md`, 'utf8').split(/^## /m);
const section = sections.find((text) => text.startsWith(`${version}\n`));
if (section === undefined) throw new Error(`CHANGELOG.md has no heading "## ${version}"`);
console.log(section.slice(version.length).trim());
