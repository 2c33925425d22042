// Builds the API reference from the doc comments of the packages and the examples of this folder: `pnpm run docs`. A
// public name without a doc comment or without an example fails, and so does everything that TypeDoc warns of.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Application, Comment, CommentTag, Converter, LiteralType, ReflectionKind, UnionType } from 'typedoc';

const REPOSITORY = 'https://github.com/socksify/socksify';
const FOLDERS = ['core', 'agent', 'undici', 'env', 'socksify'];

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));
const packages = FOLDERS.map((folder) => {
  const manifest = JSON.parse(readFileSync(`${root}packages/${folder}/package.json`, 'utf8'));
  return { folder, ...manifest, examples: readExamples(`${here}${folder}.md`) };
});

const app = await Application.bootstrap({
  name: 'socksify',
  includeVersion: false,
  entryPoints: FOLDERS.map((folder) => `${root}packages/${folder}/src/index.ts`),
  tsconfig: `${here}tsconfig.json`,
  out: `${here}html`,
  basePath: root,
  readme: `${here}index.md`,
  navigationLinks: { Repository: REPOSITORY },
  disableGit: true,
  sourceLinkTemplate: `${REPOSITORY}/blob/main/{path}#L{line}`,
  excludeExternals: true,
  excludeInternal: true,
  excludePrivate: true,
  sort: ['source-order'],
  hideGenerator: true,
  treatWarningsAsErrors: true,
  validation: { notExported: true, invalidLink: true, notDocumented: true },
  requiredToBeDocumented: ['Class', 'Enum', 'Function', 'Interface', 'TypeAlias', 'Variable'],
  packagesRequiringDocumentation: packages.map(({ name }) => name),
  intentionallyNotDocumented: [
    // Node calls these.
    ...['addRequest', 'createSocket', 'createConnection', 'connect'].map(
      (name) => `@socksify/agent.SocksAgent.${name}`,
    ),
    // They mean what they mean in undici's Agent.
    ...['dispatch', 'close', 'destroy', 'on'].map((name) => `@socksify/undici.AgentLike.${name}`),
  ],
});
app.converter.on(Converter.EVENT_RESOLVE_BEGIN, (context) => {
  for (const module of context.project.getReflectionsByKind(ReflectionKind.Module)) describe(module);
  for (const alias of context.project.getReflectionsByKind(ReflectionKind.TypeAlias)) {
    // A type such as `keyof typeof MEANING` says nothing to a reader: list what it stands for.
    if (alias.type.type !== 'typeOperator') continue;
    const { types } = context.programs[0]
      .getTypeChecker()
      .getDeclaredTypeOfSymbol(context.getSymbolFromReflection(alias));
    alias.type = new UnionType(types.map(({ value }) => new LiteralType(value)));
  }
});

const project = await app.convert();
if (project !== undefined) {
  app.validate(project);
  await app.generateOutputs(project);
}
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exitCode = 1;

/** Names a module after its package, and adds the examples to its names. */
function describe(module) {
  const { name, description, folder, examples } = packages.find((one) =>
    module.name.startsWith(`packages/${one.folder}/`),
  );
  module.name = name;
  module.comment = new Comment([
    { kind: 'text', text: `${description}. [README](${REPOSITORY}/tree/main/packages/${folder}#readme)` },
  ]);
  for (const reflection of module.children) {
    const example = examples.get(reflection.name);
    examples.delete(reflection.name);
    const [{ comment }] = reflection.kindOf(ReflectionKind.Function) ? reflection.signatures : [reflection];
    if (!comment?.hasVisibleComponent()) app.logger.error(`${name}: ${reflection.name} has no doc comment`);
    if (example !== undefined)
      comment?.blockTags.push(new CommentTag('@example', [{ kind: 'text', text: example }]));
    if (comment?.getTag('@example') === undefined)
      app.logger.error(
        `${name}: ${reflection.name} has no example, neither here nor in docs/reference/${folder}.md`,
      );
  }
  for (const unknown of examples.keys())
    app.logger.error(`docs/reference/${folder}.md: ${unknown} is no public name of ${name}`);
}

/** What stands below a heading is for each of the names in the heading. Comments in it are for the test that runs it. */
function readExamples(path) {
  const [, ...sections] = readFileSync(path, 'utf8').split(/^## /m);
  return new Map(
    sections.flatMap((section) => {
      const [heading, ...lines] = section.split('\n');
      const example = lines
        .join('\n')
        .replaceAll(/<!--[\s\S]*?-->\n/g, '')
        .trim();
      return heading.split(', ').map((name) => [name, example]);
    }),
  );
}
