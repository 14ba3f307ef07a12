// Frames as Grafana's two datasources make them of an answer.
import { type DataFrame, type Field, FieldType, type Labels } from '@grafana/data';

import type { Answer, Answered, Series } from './input';

function field(name: string, type: FieldType, values: unknown[], labels?: Labels, config = {}): Field {
  return { name, type, values, labels, config } as Field;
}

function frame(refId: string, fields: Field[], name?: string): DataFrame {
  return { refId, name, fields, length: fields[0]?.values.length ?? 0 };
}

/** A sample as a number; Prometheus sends text so that it can say NaN and infinity. */
function number(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}

function legend(answer: Answer, metric: Labels): string | undefined {
  const template = answer.legend ?? '__auto';
  if (template === '__auto' || template === '') {
    return Object.keys(metric).length > 0 ? undefined : answer.expression;
  }
  return template.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label: string) => metric[label] ?? '');
}

function seriesFrames(answer: Answer): DataFrame[] {
  return (answer.series ?? []).map((one) => {
    const labels = { ...one.metric };
    const metricName = labels.__name__;
    delete labels.__name__;
    const samples = (one.values ?? [one.value!]).map(([at, text]) => [Math.round(at * 1000), number(text)]);
    const shown = legend(answer, labels);
    return frame(
      answer.refId,
      [
        field('Time', FieldType.time, samples.map(([at]) => at), undefined, { interval: answer.step }),
        field(metricName && !shown ? metricName : 'Value', FieldType.number, samples.map(([, value]) => value), labels, {
          displayNameFromDS: shown,
        }),
      ],
      shown
    );
  });
}

/** One row for each series, its labels as columns. */
function tableFrame(answer: Answer, tables: number): DataFrame {
  const series = answer.series ?? [];
  const names = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].sort();
  const last = (one: Series) => one.value ?? one.values!.at(-1)!;
  const value = tables > 1 ? `Value #${answer.refId}` : 'Value';
  return frame(answer.refId, [
    field('Time', FieldType.time, series.map((one) => Math.round(last(one)[0] * 1000))),
    ...names.map((name) => field(name, FieldType.string, series.map((one) => one.metric[name] ?? ''), undefined, { filterable: true })),
    field(value, FieldType.number, series.map((one) => number(last(one)[1]))),
  ]);
}

const TYPES = {
  time: FieldType.time,
  number: FieldType.number,
  boolean: FieldType.boolean,
  string: FieldType.string,
};

function rowsFrame(answer: Answer): DataFrame {
  const columns = answer.columns ?? [];
  const rows = answer.rows ?? [];
  return frame(
    answer.refId,
    columns.map(({ name, type }, at) => field(name, TYPES[type], rows.map((row) => row[at])))
  );
}

/** Rows of a time, texts and numbers as one column for each combination of texts. */
function wide(long: DataFrame): DataFrame {
  const time = long.fields.find(({ type }) => type === FieldType.time);
  const texts = long.fields.filter(({ type }) => type === FieldType.string);
  const numbers = long.fields.filter(({ type }) => type === FieldType.number || type === FieldType.boolean);
  if (!time || texts.length === 0) {
    return long;
  }
  const times = [...new Set(time.values)].sort((a, b) => a - b);
  const place = new Map(times.map((at, index) => [at, index]));
  const made = new Map<string, Field[]>();
  for (let row = 0; row < long.length; row++) {
    const labels = Object.fromEntries(texts.map((text) => [text.name, text.values[row] ?? '']));
    const key = JSON.stringify(labels);
    if (!made.has(key)) {
      const empty = () => new Array(times.length).fill(null);
      made.set(key, numbers.map((one) => field(one.name, one.type, empty(), { ...labels })));
    }
    made.get(key)!.forEach((one, at) => (one.values[place.get(time.values[row])!] = numbers[at].values[row]));
  }
  const fields = [...made.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, each]) => each);
  if (long.fields.length === 3) {
    // As Grafana's SQL datasources: the one label `metric` is the name of the series.
    for (const one of fields) {
      if (one.labels?.metric !== undefined && Object.keys(one.labels).length === 1) {
        one.name = one.labels.metric;
        delete one.labels;
      }
    }
  }
  return frame(long.refId!, [field(time.name, FieldType.time, times), ...fields]);
}

/** The frames of all answers of a panel. */
export function framesOf(answered: Answered): DataFrame[] {
  const tables = answered.answers.filter(({ kind, format }) => kind === 'promql' && format === 'table').length;
  return answered.answers
    .filter(({ error }) => !error)
    .flatMap((answer) => {
      if (answer.kind === 'sql') {
        const rows = rowsFrame(answer);
        return [answer.format === 'time_series' ? wide(rows) : rows];
      }
      return answer.format === 'table' ? [tableFrame(answer, tables)] : seriesFrames(answer);
    });
}
