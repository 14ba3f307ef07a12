// What every panel gets.
import type { DataFrame, FieldConfigSource, GrafanaTheme2, InterpolateFunction, TimeRange } from '@grafana/data';

import type { Annotation, Panel } from '../input';

export interface Drawn {
  panel: Panel;
  frames: DataFrame[];
  config: FieldConfigSource;
  theme: GrafanaTheme2;
  timeZone: string;
  range: TimeRange;
  width: number;
  height: number;
  replace: InterpolateFunction;
  annotations: Annotation[];
  note: (facts: Record<string, unknown>) => void;
}

/** What a panel without data shows in Grafana. */
export const noData = (config: FieldConfigSource) => config.defaults.noValue || 'No data';
