// Bundles the page into dist/, with the icons beside it where Grafana's components look for them.
import { cp, mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { dirname, join } from 'node:path';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, 'dist');
const empty = join(here, 'page', 'empty.ts');

await mkdir(out, { recursive: true });
await build({
  entryPoints: { main: join(here, 'page', 'main.tsx') },
  outdir: out,
  bundle: true,
  format: 'iife',
  jsx: 'automatic',
  target: 'es2022',
  minify: true,
  legalComments: 'linked',
  logLevel: 'warning',
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'globalThis' },
  alias: { 'monaco-editor': empty, '@monaco-editor/react': empty },
  plugins: [
    {
      name: 'no-monaco',
      setup(bundler) {
        bundler.onResolve({ filter: /^monaco-editor\// }, () => ({ path: empty }));
      },
    },
  ],
});
await cp(join(here, 'page', 'index.html'), join(out, 'index.html'));
const images = join(here, 'node_modules', '@grafana', 'ui', 'dist', 'public', 'img');
await cp(images, join(out, 'public', 'build', 'img'), { recursive: true });

// The fonts under the names by which Grafana's style sheet asks for them.
const MONO = 'roboto/L0xTDF4xlVMF-BfR8bXMIhJHg45mwgGEFl0_3vrtSM1J-gEPT5Ese6hmHSh0mQ.woff2';
const fonts = {
  'inter/Inter-Regular.woff2': 'inter/files/inter-latin-400-normal.woff2',
  'inter/Inter-Medium.woff2': 'inter/files/inter-latin-500-normal.woff2',
  'inter/Inter-Italic.woff2': 'inter/files/inter-latin-400-italic.woff2',
  'inter/Inter-MediumItalic.woff2': 'inter/files/inter-latin-500-italic.woff2',
  [MONO]: 'roboto-mono/files/roboto-mono-latin-400-normal.woff2',
};
for (const [wanted, file] of Object.entries(fonts)) {
  await cp(join(here, 'node_modules', '@fontsource', file), join(out, 'public', 'fonts', wanted));
}
console.log('built');
