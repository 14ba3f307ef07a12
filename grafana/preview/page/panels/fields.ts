// How panels read the fields of their frames.
import { type Field, type FieldDisplay, FieldType, getFieldDisplayValues } from '@grafana/data';

import type { Drawn } from './drawn';

/** The name that a legend or a label shows. */
export const nameOf = (field: Field): string => field.state?.displayName ?? field.name;

/** A number that is not hidden. */
export const isShown = ({ type, config }: Field): boolean => type === FieldType.number && !(config.custom as any)?.hideFrom?.viz;

/** The numbers of a stat, gauge or bar gauge, reduced as its options say; what is shown of them is noted. */
export function reduced({ panel, frames, config, theme, timeZone, replace, note }: Drawn): FieldDisplay[] {
  const options = panel.options ?? {};
  const values = getFieldDisplayValues({
    fieldConfig: config,
    reduceOptions: { calcs: ['lastNotNull'], ...options.reduceOptions },
    replaceVariables: replace,
    theme,
    data: frames,
    sparkline: panel.type === 'stat' && options.graphMode !== 'none',
    percentChange: options.showPercentChange,
    timeZone,
  });
  note({ values: values.map(described) });
  return values;
}

/** `isTime`: the number is a time, and its unit does not say so. */
function described({ display, view, colIndex, field }: FieldDisplay) {
  const source = colIndex === undefined ? undefined : view?.dataFrame.fields[colIndex];
  const meant = (field.unit ?? '').startsWith('dateTime');
  return { title: display.title, text: display.text, isTime: source?.type === FieldType.time && !meant };
}
