import { type DataFrame, type Field, FieldType } from '@grafana/data';
import { TimeSeries as Graph, type UPlotConfigBuilder } from '@grafana/ui';

import { Marks } from './annotations';
import type { Drawn } from './drawn';
import { isShown } from './fields';
import { Nothing } from './nothing';

const LEGEND = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };

/** Grafana draws no number that is not finite, and a truth as 1 or 0. */
function finite(field: Field): Field {
  if (field.type === FieldType.boolean) {
    return { ...field, type: FieldType.number, values: field.values.map((value) => (value === null ? null : Number(value))) };
  }
  return field.type === FieldType.number
    ? { ...field, values: field.values.map((value) => (Number.isFinite(value) ? value : null)) }
    : field;
}

function graphable(frames: DataFrame[]): DataFrame[] {
  return frames
    .map((frame) => ({ ...frame, fields: frame.fields.map(finite) }))
    .filter(({ fields }) => [FieldType.time, FieldType.number].every((wanted) => fields.some(({ type }) => type === wanted)));
}

/** A number that is drawn: neither hidden nor without a value. */
const isLine = (field: Field): boolean => isShown(field) && field.values.some((value) => value !== null);

/** Lines, bars and points over time. */
export function TimeSeries(drawn: Drawn) {
  const { panel, frames, width, height, range, timeZone, annotations, note } = drawn;
  const shown = graphable(frames);
  if (shown.every(({ length }) => length === 0)) {
    return <Nothing {...drawn} />;
  }
  note({ lines: shown.flatMap(({ fields }) => fields).filter(isLine).length });
  return (
    <Graph
      frames={shown}
      structureRev={1}
      width={width}
      height={height}
      timeRange={range}
      timeZone={timeZone}
      legend={{ ...LEGEND, ...panel.options?.legend }}
      options={panel.options}
    >
      {(builder: UPlotConfigBuilder) => <Marks builder={builder} annotations={annotations} />}
    </Graph>
  );
}
