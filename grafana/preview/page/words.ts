// Fills variables into titles and links as Grafana does.
import { type ScopedVars, formattedValueToString } from '@grafana/data';

import type { Input } from './input';

const PATTERN = /\$\{([^}:]+)(?::(\w+))?\}|\$(\w+)/g;

function ofRow(path: string, scoped?: ScopedVars): string | undefined {
  const context = (scoped?.__dataContext as any)?.value;
  const name = /^__data\.fields(?:\.(.+)|\["?(.+?)"?\])$/.exec(path);
  if (!context || !name) {
    return undefined;
  }
  const wanted = name[1] ?? name[2];
  const { frame, rowIndex } = context;
  const found = frame.fields.find((one: any) => (one.state?.displayName ?? one.name) === wanted || one.name === wanted);
  if (!found || rowIndex === undefined) {
    return undefined;
  }
  const value = found.values[rowIndex] ?? '';
  return found.display ? formattedValueToString(found.display(value)) : String(value);
}

function ofField(path: string, scoped?: ScopedVars): string | undefined {
  const context = (scoped?.__dataContext as any)?.value;
  if (!context?.field) {
    return undefined;
  }
  if (path === '__field.name' || path === '__field.displayName' || path === '__series.name') {
    return context.field.state?.displayName ?? context.field.name;
  }
  if (path.startsWith('__field.labels.')) {
    return context.field.labels?.[path.slice(15)] ?? '';
  }
  if (path === '__value.text' || path === '__value.raw' || path === '__value.numeric') {
    return context.rowIndex === undefined ? '' : String(context.field.values[context.rowIndex] ?? '');
  }
  return undefined;
}

/** The function that replaces variables in a text of this board. */
export function replacing(input: Input) {
  const known = new Map(input.variables.map((one) => [one.name, one]));
  return (text: string, scoped?: ScopedVars, format?: unknown): string =>
    (text ?? '').replace(PATTERN, (whole: string, braced?: string, form?: string, plain?: string) => {
      const name = (braced ?? plain)!;
      if (name === '__url_time_range') {
        return `from=${input.span.from}&to=${input.span.to}`;
      }
      if (name === '__from' || name === '__to') {
        return String(name === '__from' ? input.span.from : input.span.to);
      }
      const found = ofRow(name, scoped) ?? ofField(name, scoped);
      if (found !== undefined) {
        return format || form ? encodeURIComponent(found) : found;
      }
      if (scoped?.[name]) {
        return String(scoped[name]!.text ?? scoped[name]!.value);
      }
      const variable = known.get(name);
      if (!variable) {
        return whole;
      }
      const value = Array.isArray(variable.value) ? variable.value.join(',') : variable.value;
      return form === 'queryparam' ? `var-${name}=${encodeURIComponent(value)}` : form === 'text' ? variable.text : value;
    });
}
