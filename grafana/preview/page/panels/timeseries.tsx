import { type DataFrame, FieldType } from '@grafana/data';
import { TimeSeries as Graph, type UPlotConfigBuilder } from '@grafana/ui';

import { Marks } from './annotations';
import type { Drawn } from './drawn';
import { Nothing } from './nothing';

const LEGEND = { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] };

function graphable(frames: DataFrame[]): DataFrame[] {
  return frames.filter(
    ({ fields }) => fields.some(({ type }) => type === FieldType.time) && fields.some(({ type }) => type === FieldType.number)
  );
}

/** Lines, bars and points over time. */
export function TimeSeries(drawn: Drawn) {
  const { panel, frames, width, height, range, timeZone, annotations } = drawn;
  const shown = graphable(frames);
  if (shown.every(({ length }) => length === 0)) {
    return <Nothing {...drawn} />;
  }
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
