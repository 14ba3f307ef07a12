import { renderMarkdown } from '@grafana/data';

import type { Drawn } from './drawn';

/** A text in Markdown. */
export function Text({ panel, replace, height }: Drawn) {
  const html = renderMarkdown(replace(panel.options?.content ?? ''));
  return <div className="markdown-html" style={{ height, overflow: 'auto' }} dangerouslySetInnerHTML={{ __html: html }} />;
}
